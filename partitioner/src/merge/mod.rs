//! Merges composites of one vendor into regions, as long as the quotient stays acyclic.
//!
//! Nodes are visited in model order and join the regions of their producers, in input order; this is repeated
//! until nothing merges, so no two neighbouring regions could still be one. Then, where that is asked for, regions
//! that no edge joins are merged as well.

mod siblings;
mod sweep;

use std::collections::{BTreeMap, HashSet};

use byoc_graph::ValueId;

use crate::choose::{Chosen, Rules};
use crate::program::Programs;
use crate::quotient::Quotient;
use crate::view::View;
use siblings::{Start, Tried};

/// Composites that one vendor gets in one piece.
#[derive(Debug, Clone)]
pub struct Group {
    pub vendor: usize,
    /// In the order of their first nodes.
    pub composites: Vec<u32>,
    /// Nodes, copies included.
    pub size: usize,
    /// Place of the first node.
    pub first: u32,
    /// What the cost policy expects of it, compared with the host.
    pub saves_us: Option<f64>,
}

/// The regions of one graph, in the order of their first nodes.
pub fn merge(
    view: &View<'_>,
    programs: &Programs,
    chosen: &mut Chosen,
    rules: &Rules,
    siblings: bool,
) -> Vec<Group> {
    let mut merger = Merger::new(view, programs, chosen, &rules.severed);
    while merger.join_producers() {}
    if siblings {
        merger.join_siblings();
    }
    merger.groups()
}

/// The regions as they are, one for each block of the quotient that holds composites.
pub fn groups(view: &View<'_>, programs: &Programs, chosen: &mut Chosen) -> Vec<Group> {
    Merger::new(view, programs, chosen, &[]).groups()
}

impl AsRef<Quotient> for Merger<'_, '_, '_> {
    fn as_ref(&self) -> &Quotient {
        &self.chosen.quotient
    }
}

struct Merger<'a, 'v, 'g> {
    view: &'v View<'g>,
    programs: &'v Programs,
    chosen: &'a mut Chosen,
    /// Neighbours that no region may hold both of.
    severed: &'a [(u32, u32)],
    /// By block: how many nodes it has.
    size: Vec<usize>,
}

impl<'a, 'v, 'g> Merger<'a, 'v, 'g> {
    fn new(
        view: &'v View<'g>,
        programs: &'v Programs,
        chosen: &'a mut Chosen,
        severed: &'a [(u32, u32)],
    ) -> Merger<'a, 'v, 'g> {
        let mut size = vec![0; view.order.len()];
        for composite in &chosen.composites {
            let block = chosen.quotient.block(composite.nodes[0]);
            size[block as usize] += composite.nodes.len() + composite.copies.len();
        }
        Merger { view, programs, chosen, severed, size }
    }

    fn vendor(&self, composite: u32) -> usize {
        self.programs.all[self.chosen.composites[composite as usize].program].vendor
    }

    /// Makes one region of those of two nodes of one vendor, where that is possible.
    fn try_join(&mut self, a: u32, b: u32, vendor: usize) -> bool {
        let (a, b) = (self.chosen.quotient.block(a), self.chosen.quotient.block(b));
        let size = self.size[a as usize] + self.size[b as usize];
        if size > self.room(vendor) {
            return false;
        }
        let mut ends = self
            .severed
            .iter()
            .map(|(p, n)| (self.chosen.quotient.block(*p), self.chosen.quotient.block(*n)));
        if ends.any(|pair| pair == (a, b) || pair == (b, a)) {
            return false;
        }
        let Ok(block) = self.chosen.quotient.contract(&[a, b]) else { return false };
        self.size[block as usize] = size;
        true
    }

    /// Nodes that a region of the vendor may have.
    fn room(&self, vendor: usize) -> usize {
        self.programs.vendors[vendor].limits.max_region_nodes
    }

    fn join_producers(&mut self) -> bool {
        let mut merged = false;
        let mut failed: HashSet<(u32, u32)> = HashSet::new();
        for place in 0..self.view.order.len() as u32 {
            let Some(owner) = self.chosen.owner[place as usize] else { continue };
            let vendor = self.vendor(owner);
            for producer in self.producers(place, owner) {
                let theirs = self.chosen.owner[producer as usize];
                if theirs.is_none_or(|t| self.vendor(t) != vendor) {
                    continue;
                }
                let pair = (self.chosen.quotient.block(place), self.chosen.quotient.block(producer));
                if pair.0 == pair.1 || failed.contains(&pair) {
                    continue;
                }
                if self.try_join(place, producer, vendor) {
                    merged = true;
                } else {
                    failed.insert(pair);
                }
            }
        }
        merged
    }

    /// Nodes that make what a node uses; behind a copied node, those that make what the copy uses.
    fn producers(&self, place: u32, owner: u32) -> Vec<u32> {
        let copies = &self.chosen.composites[owner as usize].copies;
        let mut found = Vec::new();
        let mut values: Vec<ValueId> = self.view.node(place).dependencies().collect();
        values.reverse();
        while let Some(value) = values.pop() {
            let Some(producer) = self.view.producer(value) else { continue };
            if copies.contains(&producer) {
                let before = values.len();
                values.extend(self.view.node(producer).dependencies());
                values[before..].reverse();
            } else {
                found.push(producer);
            }
        }
        found
    }

    fn join_siblings(&mut self) {
        let groups = self.groups();
        let mut smallest = vec![usize::MAX; self.programs.vendors.len()];
        groups.iter().for_each(|g| smallest[g.vendor] = smallest[g.vendor].min(g.size));
        let starts: Vec<Start> = groups.iter().map(|g| Start { first: g.first, vendor: g.vendor }).collect();
        let vendor = |node: usize| self.chosen.owner[node].map(|owner| self.vendor(owner));
        let vendors: Vec<Option<usize>> = (0..self.view.order.len()).map(vendor).collect();
        siblings::join(self, &starts, &vendors, &mut |merger, i, j| {
            let Group { first, vendor, .. } = groups[i];
            let size = merger.size[merger.chosen.quotient.block(first) as usize];
            if size + smallest[vendor] > merger.room(vendor) {
                return Tried::Full;
            }
            match merger.try_join(first, groups[j].first, vendor) {
                true => Tried::Joined,
                false => Tried::Refused,
            }
        });
    }

    fn groups(&self) -> Vec<Group> {
        let mut composites: Vec<u32> = (0..self.chosen.composites.len() as u32).collect();
        composites.sort_by_key(|c| self.chosen.composites[*c as usize].nodes[0]);
        let mut found: BTreeMap<u32, usize> = BTreeMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for id in composites {
            let first = self.chosen.composites[id as usize].nodes[0];
            let block = self.chosen.quotient.block(first);
            let index = *found.entry(block).or_insert_with(|| {
                let size = self.size[block as usize];
                let vendor = self.vendor(id);
                groups.push(Group { vendor, composites: Vec::new(), size, first, saves_us: None });
                groups.len() - 1
            });
            groups[index].composites.push(id);
        }
        groups
    }
}
