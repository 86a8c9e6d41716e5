//! Identity, Dropout in inference and Cast to the same type only pass their input on: what used their output
//! uses their input instead. One that gives a graph output its name from a graph input, a constant or
//! another graph output has to stay.

use crate::{DType, Graph, Node, NodeId};

use super::{Context, Pass, Why, substitute};

pub(super) const PASS: Pass = Pass {
    name: "look-through",
    about: "Identity, Dropout in inference and Cast to the same type go away",
    run,
};

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    for id in graph.model_order() {
        if passes_on(graph, id) {
            take_out(graph, id, context);
        }
    }
}

/// Whether the node gives its first input on unchanged and makes nothing else that is used.
fn passes_on(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    if !node.op.domain.is_empty() {
        return false;
    }
    match &*node.op.name {
        "Identity" => true,
        "Dropout" => !trains(graph, node) && mask_is_unused(graph, node),
        "Cast" => casts_to_the_same_type(graph, node),
        _ => false,
    }
}

fn trains(graph: &Graph, node: &Node) -> bool {
    let Some(mode) = node.input(2) else { return false };
    graph.constant(mode).is_none_or(|t| t.bytes().iter().any(|&b| b != 0))
}

fn mask_is_unused(graph: &Graph, node: &Node) -> bool {
    node.output(1).is_none_or(|mask| graph.value(mask).uses().is_empty() && !graph.is_output(mask))
}

fn casts_to_the_same_type(graph: &Graph, node: &Node) -> bool {
    let to = node.attrs.get("to").and_then(|a| a.as_int());
    let to = to.and_then(|code| DType::from_onnx(i32::try_from(code).ok()?));
    let from = node.input(0).and_then(|v| graph.value(v).ty.as_ref()?.dtype());
    to.is_some() && to == from
}

fn take_out(graph: &mut Graph, id: NodeId, context: &mut Context<'_>) -> Option<()> {
    let node = graph.node(id);
    let (input, output) = (node.input(0)?, node.output(0)?);
    let mask = node.output(1);
    if !substitute(graph, output, input) {
        return None;
    }
    context.remove(graph, id, Why::Identity);
    [Some(output), mask].into_iter().flatten().for_each(|v| graph.remove_value(v));
    Some(())
}
