//! A product by a transposed constant reads the constant as it was: packing goes along its columns instead, and
//! nobody computes the transposed bytes.

use std::sync::Arc;

use byoc_graph::{Attr, Graph, NodeId, Tensor};

use super::{Pass, Product, add_constant, product};

pub(super) const PASS: Pass =
    Pass { name: "transposed_weights", about: "reads the origin of a transposed constant in a product", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(origin) = origin_of(graph, id) {
            let weights = add_constant(graph, "weights", origin);
            graph.set_input(id, 1, Some(weights));
            let node = graph.node_mut(id);
            if node.op.domain.is_empty() && &*node.op.name == "MatMul" {
                // The standard's has no such attribute.
                (node.op.domain, node.opset) = (Arc::from("host"), 1);
            }
            let trans = node.attrs.get("transB").and_then(Attr::as_int).unwrap_or(0);
            node.attrs.insert("transB".into(), Attr::Int(i64::from(trans == 0)));
        }
    }
}

/// What the right operand of a product is the transposed of.
fn origin_of(graph: &Graph, id: NodeId) -> Option<Tensor> {
    product(graph, id).filter(|kind| *kind != Product::Conv)?;
    let weights = graph.constant(graph.node(id).input(1)?)?;
    let (origin, perm) = weights.transposed_origin()?;
    (perm == [1, 0]).then(|| origin.clone())
}
