//! Bodies know outer values by name; these functions keep the two sides in step.

use std::sync::Arc;

use crate::{Graph, NodeId, Origin, Slot, ValueId};

use super::Constants;

/// The constants among the values that a node's bodies use.
pub(super) fn constants(graph: &Graph, node: NodeId) -> Constants {
    let captures = graph.node(node).captures().iter();
    captures.filter_map(|&v| Some((graph.value(v).name.clone(), graph.constant(v)?.clone()))).collect()
}

/// Tells a body which of the values that it captures are constant.
pub(super) fn tell(body: &mut Graph, constants: &Constants) {
    for id in body.captured().collect::<Vec<_>>() {
        let constant = constants.get(&body.value(id).name).cloned();
        body.set_captured_constant(id, constant);
    }
}

/// Brings a node's list of captured values up to date with what its bodies still use.
pub(super) fn recount(graph: &mut Graph, node: NodeId) {
    for attr in graph.node_mut(node).attrs.values_mut() {
        for body in attr.graphs_mut() {
            drop_unused(body);
        }
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    for (_, body) in graph.bodies(node) {
        for id in body.captured() {
            let name = &body.value(id).name;
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let found = names.iter().filter_map(|name| graph.value_by_name(name));
    let captures: Vec<ValueId> = found.collect();
    if captures != graph.node(node).captures() {
        graph.set_captures(node, captures);
    }
}

/// Drops captured values that a body no longer uses.
fn drop_unused(body: &mut Graph) {
    for id in body.captured().collect::<Vec<_>>() {
        if body.value(id).uses().is_empty() && !body.is_output(id) {
            body.remove_value(id);
        }
    }
}

/// Makes all bodies that capture `value` as `from` capture it as `to`. Refused, with nothing changed, where
/// a body has a value of its own called `to`.
pub(super) fn rename(graph: &mut Graph, value: ValueId, from: &str, to: &str) -> bool {
    let uses = graph.value(value).uses().iter();
    let mut nodes: Vec<NodeId> =
        uses.filter(|u| matches!(u.slot, Slot::Capture(_))).map(|u| u.node).collect();
    nodes.dedup();
    let clash = nodes.iter().any(|&n| graph.bodies(n).any(|(_, body)| clashes(body, from, to)));
    if clash {
        return false;
    }
    for node in nodes {
        for attr in graph.node_mut(node).attrs.values_mut() {
            attr.graphs_mut().iter_mut().for_each(|body| rename_in(body, from, to));
        }
    }
    true
}

fn clashes(body: &Graph, from: &str, to: &str) -> bool {
    let own = |id: ValueId| !matches!(body.value(id).origin(), Origin::Captured);
    let captures_it = body.value_by_name(from).is_some_and(|id| !own(id));
    let here = captures_it && body.value_by_name(to).is_some_and(own);
    here || body.node_ids().any(|n| body.bodies(n).any(|(_, inner)| clashes(inner, from, to)))
}

fn rename_in(body: &mut Graph, from: &str, to: &str) {
    let Some(id) = body.value_by_name(from) else { return };
    if !matches!(body.value(id).origin(), Origin::Captured) {
        return;
    }
    for node in body.node_ids().collect::<Vec<_>>() {
        for attr in body.node_mut(node).attrs.values_mut() {
            attr.graphs_mut().iter_mut().for_each(|inner| rename_in(inner, from, to));
        }
    }
    match body.value_by_name(to) {
        Some(existing) => {
            body.replace_uses(id, existing);
            body.remove_value(id);
        }
        None => body.rename(id, to).expect("the name is free"),
    }
}
