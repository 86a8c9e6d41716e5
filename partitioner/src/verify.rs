//! Proves that a partition is one, from scratch, on every result.
//!
//! - With each region contracted, each graph is acyclic.
//! - Every node is in at most one region, and a region's nodes in exactly one composite each.
//! - The nodes of a composite hang together, by an edge or by a shared input.
//! - A region's inputs, outputs and constants are just the values that cross its border, each once.

use std::collections::{HashMap, HashSet};

use byoc_graph::{Graph, NodeId, ValueId};

use crate::region::{Member, Region, RegionComposite};

/// Checks the regions of one graph; `Err` says what is wrong.
pub fn verify(graph: &Graph, regions: &[&Region]) -> Result<(), String> {
    let mut owner: HashMap<NodeId, usize> = HashMap::new();
    for (index, region) in regions.iter().enumerate() {
        for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
            if owner.insert(member.node, index).is_some() {
                return Err(format!("`{}` is in two regions", graph.node(member.node).label));
            }
        }
        check_composites(graph, region)?;
    }
    // What each region has copies of, by consumer: uses of the original that are none.
    let copied = copied_uses(regions);
    for (index, region) in regions.iter().enumerate() {
        check_border(graph, region, index, &owner, regions, &copied)?;
    }
    check_acyclic(graph, regions, &owner)
}

fn check_composites(graph: &Graph, region: &Region) -> Result<(), String> {
    let mut members: Vec<Member> = region.composites.iter().flat_map(|c| c.members.clone()).collect();
    let count = members.len();
    let all: HashSet<Member> = members.drain(..).collect();
    if all.len() != count || count != region.members.len() || !region.members.iter().all(|m| all.contains(m))
    {
        return Err(format!("the composites of {} do not cover its nodes once each", region.name));
    }
    match region.composites.iter().find(|c| !hangs_together(graph, c)) {
        Some(c) => Err(format!("composite `{}` of {} does not hang together", c.pattern, region.name)),
        None => Ok(()),
    }
}

fn hangs_together(graph: &Graph, composite: &RegionComposite) -> bool {
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

/// (copied node, user) pairs in which the user has a copy.
fn copied_uses(regions: &[&Region]) -> HashSet<(NodeId, NodeId)> {
    let mut copied = HashSet::new();
    for composite in regions.iter().flat_map(|r| &r.composites) {
        for copy in composite.members.iter().filter(|m| m.copy_for.is_some()) {
            copied.extend(composite.members.iter().map(|m| (copy.node, m.node)));
        }
    }
    copied
}

fn check_border(
    graph: &Graph,
    region: &Region,
    index: usize,
    owner: &HashMap<NodeId, usize>,
    regions: &[&Region],
    copied: &HashSet<(NodeId, NodeId)>,
) -> Result<(), String> {
    let (mut inputs, mut constants) = (HashSet::new(), HashSet::new());
    for member in &region.members {
        for value in graph.node(member.node).dependencies() {
            let made_here = graph.value(value).producer().is_some_and(|(p, _)| {
                owner.get(&p) == Some(&index)
                    || (member.copy_for.is_none() && copied.contains(&(p, member.node)))
            });
            if graph.is_constant(value) {
                constants.insert(value);
            } else if !made_here {
                inputs.insert(value);
            }
        }
    }
    let copied_elsewhere = |node: NodeId| {
        let others = regions.iter().enumerate().filter(|(i, _)| *i != index);
        others.flat_map(|(_, r)| &r.members).any(|m| m.node == node && m.copy_for.is_some())
    };
    let is_copied: HashSet<NodeId> = copied.iter().map(|(node, _)| *node).collect();
    let mut outputs: HashSet<ValueId> = HashSet::new();
    for member in region.members.iter().filter(|m| m.copy_for.is_none()) {
        for &value in graph.node(member.node).outputs().iter().flatten() {
            let used = graph.value(value).uses().iter().any(|u| {
                let itself = owner.get(&u.node) != Some(&index) && !copied.contains(&(member.node, u.node));
                itself || (is_copied.contains(&u.node) && copied_elsewhere(u.node))
            });
            if used {
                outputs.insert(value);
            }
        }
    }
    for value in graph.outputs() {
        if graph.value(*value).producer().is_some_and(|(p, _)| owner.get(&p) == Some(&index)) {
            outputs.insert(*value);
        }
    }
    for (what, listed, wanted) in [
        ("inputs", &region.inputs, &inputs),
        ("outputs", &region.outputs, &outputs),
        ("constants", &region.constants, &constants),
    ] {
        let once: HashSet<ValueId> = listed.iter().copied().collect();
        if once.len() != listed.len() || once != *wanted {
            return Err(format!("the {what} of {} are not the values that cross its border", region.name));
        }
    }
    Ok(())
}

/// Kahn's algorithm over regions and host nodes.
fn check_acyclic(graph: &Graph, regions: &[&Region], owner: &HashMap<NodeId, usize>) -> Result<(), String> {
    let host: Vec<NodeId> = graph.node_ids().filter(|id| !owner.contains_key(id)).collect();
    let mut block: HashMap<NodeId, usize> = owner.clone();
    block.extend(host.iter().enumerate().map(|(i, id)| (*id, regions.len() + i)));
    let count = regions.len() + host.len();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut waiting = vec![0usize; count];
    let mut connect = |value: ValueId, to: usize| {
        let from = graph.value(value).producer().map(|(p, _)| block[&p]);
        if let Some(from) = from.filter(|f| *f != to) {
            edges[from].push(to);
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
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    if done < count {
        let stuck = regions.iter().enumerate().find(|(i, _)| waiting[*i] > 0).map(|(_, r)| &r.name);
        return Err(format!("regions wait for each other, {} among them", stuck.map_or("?", |n| n)));
    }
    Ok(())
}
