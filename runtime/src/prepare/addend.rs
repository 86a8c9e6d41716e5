//! Conv or MatMul → Add (or Sum) of a value of the same shape (a residual connection): added on the way out.

use byoc_graph::{Graph, NodeId, ValueId};

use super::{Pass, Product, absorb, only_output, product, same_shape, set_input, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "fuse_addend",
    about: "makes the addition of a value of the same shape part of the product before it",
    run,
};

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some((add, addend)) = addend_of(graph, id) {
            absorb(graph, id, add, |spec| set_input(spec, 3, addend));
        }
    }
}

fn addend_of(graph: &Graph, id: NodeId) -> Option<(NodeId, ValueId)> {
    let kind = product(graph, id)?;
    let node = graph.node(id);
    if kind == Product::Gemm || node.input(3).is_some() {
        return None;
    }
    let output = only_output(node)?;
    let (add, i) = sole_use(graph, output)?;
    let sums = graph.node(add).is("Add") && graph.node(add).opset >= 7 || graph.node(add).is("Sum");
    if !sums || graph.node(add).inputs().len() != 2 {
        return None;
    }
    let addend = graph.node(add).input(1 - i)?;
    same_shape(graph, output, addend).then_some((add, addend))
}
