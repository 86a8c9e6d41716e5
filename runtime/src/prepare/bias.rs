//! Conv or MatMul → Add of one constant for each output channel or column: the constant is a bias.

use byoc_graph::{Graph, NodeId, Tensor};

use super::{Pass, Product, absorb, add_constant, f32s, only_output, product, set_input, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "fuse_bias",
    about: "makes the addition of a constant for each channel part of the product before it",
    run,
};

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some((add, bias)) = bias_of(graph, id) {
            let bias = add_constant(graph, "bias", bias);
            absorb(graph, id, add, |spec| set_input(spec, 2, bias));
        }
    }
}

/// The addition behind a product, and what it adds, as a vector.
fn bias_of(graph: &Graph, id: NodeId) -> Option<(NodeId, Tensor)> {
    let kind = product(graph, id)?;
    let node = graph.node(id);
    if node.input(2).is_some() || node.input(3).is_some() {
        return None;
    }
    let output = only_output(node)?;
    let (add, i) = sole_use(graph, output)?;
    if !graph.node(add).is("Add") || graph.node(add).inputs().len() != 2 {
        return None;
    }
    let constant = graph.node(add).input(1 - i)?;
    let (values, dims) = (f32s(graph, constant)?, graph.constant(constant)?.dims());
    let weights = graph.node(id).input(1).and_then(|w| graph.constant(w))?.dims();
    let fits = match kind {
        // [C, 1, 1], possibly with ones in front.
        Product::Conv => {
            let spatial = weights.len() - 2;
            let channel = dims.len().checked_sub(spatial + 1)?;
            let ones = dims.iter().enumerate().all(|(axis, &d)| axis == channel || d == 1);
            ones && dims.len() <= weights.len() && dims[channel] == weights[0]
        }
        Product::MatMul => {
            let ones = dims.iter().rev().skip(1).all(|&d| d == 1);
            let columns = weights.len() == 2 && values.len() == weights[1] && dims.last() == weights.last();
            // More dimensions than the product's would give the result more, too.
            ones && columns && super::rank(graph, output).is_some_and(|rank| dims.len() <= rank)
        }
        Product::Gemm => false,
    };
    let len = values.len();
    fits.then(|| Some((add, Tensor::from_vec(&[len], values).ok()?)))?
}
