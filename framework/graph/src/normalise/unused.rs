//! Nodes whose results nobody uses go away, and with them what only they used.

use crate::{Graph, NodeId, Origin};

use super::{Context, Pass, Why};

pub(super) const PASS: Pass = Pass { name: "unused", about: "nodes whose results nobody uses go away", run };

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    let order = graph.model_order();
    // Backwards, so that one sweep finds chains of unused nodes.
    for &id in order.iter().rev() {
        if is_unused(graph, id) {
            let outputs: Vec<_> = graph.node(id).outputs().iter().flatten().copied().collect();
            context.remove(graph, id, Why::Unused);
            outputs.into_iter().for_each(|v| graph.remove_value(v));
        }
    }
    drop_unused_constants(graph);
}

fn is_unused(graph: &Graph, id: NodeId) -> bool {
    let mut outputs = graph.node(id).outputs().iter().flatten();
    outputs.all(|&v| graph.value(v).uses().is_empty() && !graph.is_output(v))
}

fn drop_unused_constants(graph: &mut Graph) {
    let unused = graph.values().filter(|(id, value)| {
        matches!(value.origin(), Origin::Constant(_)) && value.uses().is_empty() && !graph.is_output(*id)
    });
    for id in unused.map(|(id, _)| id).collect::<Vec<_>>() {
        graph.remove_value(id);
    }
}
