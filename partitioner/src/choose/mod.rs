//! Chooses composites among the candidates of one graph, by one of the policies.

pub mod cost;
mod foresee;
mod greedy;

use std::collections::HashMap;

use byoc_graph::ValueId;

use crate::fold::Folded;
use crate::misses::Misses;
use crate::quotient::Quotient;
use crate::refusal::Refusal;
use crate::report::Kind;
use crate::view::View;

pub use greedy::{Chooser, choose as greedily, look_past_takers};

/// A match that was chosen.
#[derive(Debug, Clone)]
pub struct Composite {
    pub program: usize,
    /// Place of the last node of the root.
    pub root: u32,
    /// Places of the nodes that belong to it.
    pub nodes: Vec<u32>,
    /// Places of nodes of which it has copies of its own: DequantizeLinear that others use as well.
    pub copies: Vec<u32>,
    pub bindings: Vec<(String, ValueId)>,
    pub folded: Vec<Folded>,
}

/// What users and vendors have ruled out or asked for in one graph.
#[derive(Debug, Default)]
pub struct Rules {
    /// By vendor and place.
    pub denied: HashMap<(usize, u32), (Kind, String)>,
    /// The vendor that a node has to go to.
    pub forced: HashMap<u32, usize>,
    /// Neighbours, the producer first, that no region may hold both of.
    pub severed: Vec<(u32, u32)>,
}

pub struct Chosen {
    pub composites: Vec<Composite>,
    /// By place: the composite that has the node.
    pub owner: Vec<Option<u32>>,
    /// By place of a copied node: composites with a copy.
    pub copiers: HashMap<u32, Vec<u32>>,
    pub quotient: Quotient,
    pub misses: Misses,
}

impl Chosen {
    pub fn nothing(view: &View<'_>, misses: Misses) -> Chosen {
        Chosen {
            composites: Vec::new(),
            owner: vec![None; view.order.len()],
            copiers: HashMap::new(),
            quotient: quotient(view),
            misses,
        }
    }

    /// Contracts the match, unless that would close a cycle.
    pub fn take(&mut self, view: &View<'_>, composite: Composite) -> Result<(), Refusal> {
        let mut bypassed = Vec::new();
        for &copy in &composite.copies {
            for &user in &composite.nodes {
                if view.node(user).dependencies().any(|v| view.producer(v) == Some(copy)) {
                    self.quotient.bypass(copy, user);
                    bypassed.push((copy, user));
                }
            }
        }
        if let Err(path) = self.quotient.contract(&composite.nodes) {
            for (copy, user) in bypassed.into_iter().rev() {
                self.quotient.restore(copy, user);
            }
            return Err(Refusal::Cycle(path));
        }
        let id = self.composites.len() as u32;
        composite.nodes.iter().for_each(|n| self.owner[*n as usize] = Some(id));
        for &copy in &composite.copies {
            self.copiers.entry(copy).or_default().push(id);
        }
        self.composites.push(composite);
        Ok(())
    }
}

fn quotient(view: &View<'_>) -> Quotient {
    let before = view.order.iter().map(|id| {
        let producers = view.graph.node(*id).dependencies().filter_map(|v| view.producer(v));
        let mut producers: smallvec::SmallVec<[u32; 4]> = producers.collect();
        producers.sort_unstable();
        producers.dedup();
        producers
    });
    Quotient::new(before.collect())
}
