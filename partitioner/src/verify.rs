//! Proves that a partition is one, from scratch, on every result.
//!
//! - With each region contracted, each graph is acyclic.
//! - Every node is in at most one region, and a region's nodes in exactly one composite each.
//! - The nodes of a composite hang together, by an edge or by a shared input.
//! - A region's inputs, outputs and constants are just the values that cross its border, each once.

use std::collections::{HashMap, HashSet};

use byoc_graph::{Graph, NodeId, ValueId};
use smallvec::SmallVec;

use crate::region::{Member, Region, RegionComposite};

/// Checks the regions of one graph; `Err` says what is wrong.
pub fn verify(graph: &Graph, regions: &[&Region]) -> Result<(), String> {
    let mut owner: Vec<Option<usize>> = vec![None; graph.node_bound()];
    for (index, region) in regions.iter().enumerate() {
        for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
            if owner[member.node.index()].replace(index).is_some() {
                return Err(format!("`{}` is in two regions", graph.node(member.node).label));
            }
        }
        check_composites(graph, region)?;
    }
    let mut is_output = vec![false; graph.value_bound()];
    graph.outputs().iter().for_each(|v| is_output[v.index()] = true);
    let borders = Borders { graph, owner: &owner, is_output, copies: Copies::of(regions) };
    for (index, region) in regions.iter().enumerate() {
        borders.check(region, index)?;
    }
    check_acyclic(graph, regions, &owner)
}

fn check_composites(graph: &Graph, region: &Region) -> Result<(), String> {
    let mut members: Vec<Member> = region.composites.iter().flat_map(|c| c.members.clone()).collect();
    let mut listed = region.members.clone();
    let key = |m: &Member| (m.node, m.copy_for);
    members.sort_unstable_by_key(key);
    listed.sort_unstable_by_key(key);
    if members != listed || members.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format!("the composites of {} do not cover its nodes once each", region.name));
    }
    match region.composites.iter().find(|c| !hangs_together(graph, c)) {
        Some(c) => Err(format!("composite `{}` of {} does not hang together", c.pattern, region.name)),
        None => Ok(()),
    }
}

fn hangs_together(graph: &Graph, composite: &RegionComposite) -> bool {
    if composite.members.len() == 1 {
        return true;
    }
    let mut by_value: HashMap<ValueId, Vec<usize>> = HashMap::new();
    for (i, member) in composite.members.iter().enumerate() {
        let node = graph.node(member.node);
        for value in node.dependencies().chain(node.outputs().iter().flatten().copied()) {
            by_value.entry(value).or_default().push(i);
        }
    }
    let mut reached = vec![false; composite.members.len()];
    let mut open = vec![0];
    while let Some(i) = open.pop() {
        if std::mem::replace(&mut reached[i], true) {
            continue;
        }
        let node = graph.node(composite.members[i].node);
        for value in node.dependencies().chain(node.outputs().iter().flatten().copied()) {
            open.extend(by_value.remove(&value).into_iter().flatten());
        }
    }
    reached.iter().all(|r| *r)
}

/// What regions have copies of.
#[derive(Default)]
struct Copies {
    /// (copied node, user) pairs in which the user has a copy: its use of the original is none.
    uses: HashSet<(NodeId, NodeId)>,
    /// By copied node: the regions with a copy.
    regions: HashMap<NodeId, Vec<usize>>,
}

impl Copies {
    fn of(regions: &[&Region]) -> Copies {
        let mut copies = Copies::default();
        for (index, region) in regions.iter().enumerate() {
            for composite in &region.composites {
                for copy in composite.members.iter().filter(|m| m.copy_for.is_some()) {
                    copies.uses.extend(composite.members.iter().map(|m| (copy.node, m.node)));
                    copies.regions.entry(copy.node).or_default().push(index);
                }
            }
        }
        copies
    }

    /// Whether a region besides this one has a copy of the node.
    fn is_elsewhere(&self, node: NodeId, index: usize) -> bool {
        self.regions.get(&node).is_some_and(|regions| regions.iter().any(|r| *r != index))
    }
}

/// What crosses the borders of regions, found without what the regions say of themselves.
struct Borders<'a> {
    graph: &'a Graph,
    owner: &'a [Option<usize>],
    /// By index of a value.
    is_output: Vec<bool>,
    copies: Copies,
}

impl Borders<'_> {
    fn check(&self, region: &Region, index: usize) -> Result<(), String> {
        let (inputs, constants) = self.taken(region, index);
        let outputs = self.given(region, index);
        for (what, listed, wanted) in [
            ("inputs", &region.inputs, inputs),
            ("outputs", &region.outputs, outputs),
            ("constants", &region.constants, constants),
        ] {
            let mut listed = listed.clone();
            listed.sort_unstable();
            if listed != once(wanted) {
                return Err(format!(
                    "the {what} of {} are not the values that cross its border",
                    region.name
                ));
            }
        }
        Ok(())
    }

    fn is_inside(&self, node: NodeId, index: usize) -> bool {
        self.owner[node.index()] == Some(index)
    }

    /// Inputs and constants.
    fn taken(&self, region: &Region, index: usize) -> (Vec<ValueId>, Vec<ValueId>) {
        let (mut inputs, mut constants) = (Vec::new(), Vec::new());
        for member in &region.members {
            for value in self.graph.node(member.node).dependencies() {
                let made_here = self.graph.value(value).producer().is_some_and(|(p, _)| {
                    let is_copy = || self.copies.uses.contains(&(p, member.node));
                    self.is_inside(p, index) || (member.copy_for.is_none() && is_copy())
                });
                if self.graph.is_constant(value) {
                    constants.push(value);
                } else if !made_here {
                    inputs.push(value);
                }
            }
        }
        (inputs, constants)
    }

    fn given(&self, region: &Region, index: usize) -> Vec<ValueId> {
        let graph = self.graph;
        let mut outputs = Vec::new();
        for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
            for &value in graph.node(member.node).outputs().iter().flatten() {
                let used = graph.value(value).uses().iter().any(|u| {
                    let is_copy = || self.copies.uses.contains(&(member.node, u.node));
                    let itself = !self.is_inside(u.node, index) && !is_copy();
                    itself || self.copies.is_elsewhere(u.node, index)
                });
                if used || self.is_output[value.index()] {
                    outputs.push(value);
                }
            }
        }
        outputs
    }
}

/// The values in order, each once.
fn once(mut values: Vec<ValueId>) -> Vec<ValueId> {
    values.sort_unstable();
    values.dedup();
    values
}

/// Kahn's algorithm over regions and host nodes.
fn check_acyclic(graph: &Graph, regions: &[&Region], owner: &[Option<usize>]) -> Result<(), String> {
    let host: Vec<NodeId> = graph.node_ids().filter(|id| owner[id.index()].is_none()).collect();
    let mut block: Vec<usize> = owner.iter().map(|o| o.unwrap_or(0)).collect();
    host.iter().enumerate().for_each(|(i, id)| block[id.index()] = regions.len() + i);
    let count = regions.len() + host.len();
    let mut edges: Vec<SmallVec<[u32; 2]>> = vec![SmallVec::new(); count];
    let mut waiting = vec![0usize; count];
    let mut connect = |value: ValueId, to: usize| {
        let from = graph.value(value).producer().map(|(p, _)| block[p.index()]);
        if let Some(from) = from.filter(|f| *f != to) {
            edges[from].push(to as u32);
            waiting[to] += 1;
        }
    };
    for (index, region) in regions.iter().enumerate() {
        region.inputs.iter().for_each(|v| connect(*v, index));
    }
    for (i, id) in host.iter().enumerate() {
        graph.node(*id).dependencies().for_each(|v| connect(v, regions.len() + i));
    }
    let mut ready: Vec<usize> = (0..count).filter(|b| waiting[*b] == 0).collect();
    let mut done = 0;
    while let Some(at) = ready.pop() {
        done += 1;
        for &to in &edges[at] {
            waiting[to as usize] -= 1;
            if waiting[to as usize] == 0 {
                ready.push(to as usize);
            }
        }
    }
    if done < count {
        let stuck = regions.iter().enumerate().find(|(i, _)| waiting[*i] > 0).map(|(_, r)| &r.name);
        return Err(format!("regions wait for each other, {} among them", stuck.map_or("?", |n| n)));
    }
    Ok(())
}
