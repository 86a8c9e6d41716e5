//! The work of nodes: arithmetic from the schemas, memory traffic from what goes in and out.

use std::collections::HashSet;

use byoc_graph::{Graph, NodeId, Type, ValueId, cost, schema};

use super::rates::Work;

/// Work of nodes that are computed in one piece. Values between them need not pass through memory, so traffic
/// is what crosses the set's border, or what the nodes move one by one where that is less (a lookup in a
/// large table).
pub fn of_nodes(graph: &Graph, nodes: &[NodeId]) -> Work {
    let costs: Vec<cost::Cost> = nodes.iter().map(|id| cost::of(graph, *id)).collect();
    let sum = |part: &dyn Fn(&cost::Cost) -> Option<u64>| {
        costs.iter().try_fold(0u64, |total, c| Some(total.saturating_add(part(c)?)))
    };
    let each = sum(&|c| c.bytes);
    let bytes = match (each, crossing(graph, nodes)) {
        (Some(each), Some(crossing)) => Some(each.min(crossing)),
        (each, _) => each,
    };
    Work { flops: sum(&|c| c.flops), bytes }
}

fn crossing(graph: &Graph, nodes: &[NodeId]) -> Option<u64> {
    let inside: HashSet<NodeId> = nodes.iter().copied().collect();
    let mut seen: HashSet<ValueId> = HashSet::new();
    let mut bytes = 0u64;
    for &id in nodes {
        let node = graph.node(id);
        let made_inside = |v: ValueId| graph.value(v).producer().is_some_and(|(n, _)| inside.contains(&n));
        let read = node.dependencies().filter(|v| !made_inside(*v));
        let leaves = |v: ValueId| {
            let uses = graph.value(v).uses();
            graph.is_output(v) || uses.is_empty() || uses.iter().any(|u| !inside.contains(&u.node))
        };
        let written = node.outputs().iter().flatten().copied().filter(|v| leaves(*v));
        for value in read.chain(written) {
            if seen.insert(value) {
                bytes = bytes.saturating_add(size(graph, value)?);
            }
        }
    }
    Some(bytes)
}

/// Bytes of a value, where its type says.
pub fn size(graph: &Graph, value: ValueId) -> Option<u64> {
    let tensor = graph.value(value).ty.as_ref().and_then(Type::as_tensor)?;
    tensor.byte_len().map(|bytes| bytes as u64)
}

pub fn is_heavy(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
    schema.is_some_and(schema::OpSchema::is_compute_heavy)
}
