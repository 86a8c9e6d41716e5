//! What stands behind a product and is better part of it: normalisations and biases.

use std::sync::Arc;

use byoc_graph::{DType, Graph, NodeId};
use byoc_partitioner::fold_into_product;

use crate::Error;

/// Folds BatchNormalization into weights and sums with a constant into biases, until there is nothing left to fold.
pub fn fold(graph: &mut Graph) -> Result<(), Error> {
    for id in graph.model_order() {
        if graph.contains_node(id) && !fold_into_product(graph, id) {
            add_into_bias(graph, id).map_err(|e| Error::Other(e.to_string()))?;
        }
    }
    Ok(())
}

/// Add of a constant for each channel behind a convolution without a bias.
fn add_into_bias(graph: &mut Graph, add: NodeId) -> Result<(), byoc_graph::GraphError> {
    let Some((conv, bias)) = added_bias(graph, add) else { return Ok(()) };
    let Some(result) = graph.node(add).output(0) else { return Ok(()) };
    let Some(between) = graph.node(conv).output(0) else { return Ok(()) };
    let name = graph.fresh_name(&format!("{}.bias", graph.node(conv).label));
    let bias = graph.add_constant(name, Arc::new(bias))?;
    graph.set_input(conv, 2, Some(bias));
    graph.remove_node(add);
    graph.replace_uses(result, between);
    let name = graph.value(result).name.clone();
    graph.remove_value(result);
    graph.rename(between, name)
}

fn added_bias(graph: &Graph, add: NodeId) -> Option<(NodeId, byoc_graph::Tensor)> {
    let node = graph.node(add);
    let inputs = (node.is("Add") && node.inputs().len() == 2).then(|| [node.input(0), node.input(1)])?;
    let at = inputs.iter().position(|v| v.is_some_and(|v| graph.is_constant(v)))?;
    let (between, tensor) = (inputs[1 - at]?, graph.constant(inputs[at]?)?);
    let (id, _) = graph.value(between).producer()?;
    let conv = graph.node(id);
    let alone = graph.value(between).uses().len() == 1 && !graph.is_output(between);
    let fits = alone && (conv.is("Conv") || conv.is("ConvTranspose")) && conv.input(2).is_none();
    let rank = graph.value(between).ty.as_ref()?.shape()?.len();
    let channels = graph.value(between).ty.as_ref()?.shape()?.get(1)?.value()?;
    // Broadcast along everything but channels.
    let dims = tensor.dims();
    let is_per_channel = dims.len() <= rank
        && tensor.dtype() == DType::F32
        && tensor.len() as i64 == channels
        && (dims.len() + 1 >= rank && dims[dims.len() + 1 - rank] as i64 == channels);
    let tensor = (fits && is_per_channel).then(|| tensor.reshaped(&[tensor.len()]))?;
    Some((id, tensor.ok()?))
}
