//! Cast to the type that a value has already: its users take the value itself.

use byoc_graph::{Graph, NodeId, Slot, ValueId};

use super::{Pass, dtype, only_output};

pub(super) const PASS: Pass =
    Pass { name: "remove_casts", about: "removes casts to the type that a tensor has already", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some((from, to)) = needless(graph, id) {
            graph.remove_node(id);
            graph.replace_uses(to, from);
            graph.remove_value(to);
        }
    }
}

/// Input and output of a Cast that changes nothing and whose output nobody knows by name.
fn needless(graph: &Graph, id: NodeId) -> Option<(ValueId, ValueId)> {
    let node = graph.node(id);
    let (from, to) = (node.input(0)?, only_output(node)?);
    let captured = graph.value(to).uses().iter().any(|u| matches!(u.slot, Slot::Capture(_)));
    let same = dtype(graph, from)? == dtype(graph, to)?;
    (node.is("Cast") && same && !captured && !graph.is_output(to)).then_some((from, to))
}
