//! BatchNormalization behind a product: when it can be folded into the product's weights.

use byoc_graph::{Graph, NodeId};

/// The node whose weights could take in the BatchNormalization `id`: a product with constant weights that
/// nothing but this inference-mode normalisation, with constant parameters, uses.
pub fn foldable(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let norm = graph.node(id);
    let trains = norm.attrs.get("training_mode").is_some_and(|a| a.as_int() != Some(0));
    let further = norm.outputs().iter().skip(1).any(Option::is_some);
    if !norm.is("BatchNormalization") || trains || further || norm.inputs().len() != 5 {
        return None;
    }
    let is_constant = |i: usize| norm.input(i).is_some_and(|v| graph.is_constant(v));
    let between = norm.input(0)?;
    let alone = graph.value(between).uses().len() == 1 && !graph.is_output(between);
    let (product, output) = graph.value(between).producer()?;
    let node = graph.node(product);
    let rank = graph.value(between).ty.as_ref().and_then(|t| t.shape()).map(|s| s.len());
    let fits = match &*node.op.name {
        "Conv" | "ConvTranspose" => true,
        // The normalised axis is the second; in a product that is the one of the weights only at rank 2.
        "Gemm" | "MatMul" => rank == Some(2),
        _ => false,
    };
    let weights = node.input(1).is_some_and(|v| graph.is_constant(v));
    let bias = node.input(2).is_none_or(|v| graph.is_constant(v));
    let ready = fits && node.op.domain.is_empty() && weights && bias && alone && output == 0;
    (ready && (1..5).all(is_constant)).then_some(product)
}
