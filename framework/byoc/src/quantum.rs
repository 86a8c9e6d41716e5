//! The step of an output's quantisation: what one unit of a quantised value is worth.

use std::collections::HashMap;

use byoc_graph::{Graph, ValueId};

/// Steps of the outputs that are read back from a quantised value, by name.
pub fn quanta(graph: &Graph) -> HashMap<String, f64> {
    let named = |&id: &ValueId| Some((graph.value(id).name.to_string(), step(graph, id)?));
    graph.outputs().iter().filter_map(named).collect()
}

/// The scale of the DequantizeLinear behind a value, looking through what only moves elements.
fn step(graph: &Graph, mut id: ValueId) -> Option<f64> {
    const MOVES: [&str; 6] = ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"];
    loop {
        let (producer, _) = graph.value(id).producer()?;
        let node = graph.node(producer);
        if &*node.op.name == "DequantizeLinear" {
            return content(graph, node.input(1)?)?.into_iter().reduce(f64::max);
        }
        id = node.input(0).filter(|_| MOVES.contains(&&*node.op.name))?;
    }
}

/// The elements of a constant; in a model that was not normalised it may be a Constant node, with Identity behind it.
fn content(graph: &Graph, mut id: ValueId) -> Option<Vec<f64>> {
    loop {
        if let Some(tensor) = graph.constant(id) {
            return tensor.to_f64s();
        }
        let (producer, _) = graph.value(id).producer()?;
        let node = graph.node(producer);
        if let Some(value) = node.attrs.get("value") {
            return value.as_tensor()?.to_f64s();
        }
        id = node.input(0).filter(|_| &*node.op.name == "Identity")?;
    }
}
