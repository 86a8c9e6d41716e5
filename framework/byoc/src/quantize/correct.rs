//! The mean that quantised weights and inputs move the result of each product by.

use std::collections::HashMap;
use std::sync::Arc;

use byoc_graph::{Graph, Model, NodeId, NodeSpec, ValueId};
use indexmap::IndexMap;

use super::observe::observe;
use super::range::Params;
use super::samples::Samples;
use super::units::{Unit, Weights};
use super::weights::Stored;
use super::{Activations, QuantizeOptions};
use crate::Error;

/// By the product: what each channel moves by, to be taken from its bias.
pub type Corrections = HashMap<NodeId, Vec<f64>>;

/// A product, and its twin that computes from quantised inputs and weights.
struct Pair {
    core: NodeId,
    results: [ValueId; 2],
    channel: isize,
}

/// Computes each product twice for all samples.
pub fn corrections(
    model: &Model,
    units: &[Unit],
    params: &IndexMap<ValueId, Params>,
    samples: &Samples,
    options: &QuantizeOptions,
) -> Result<Corrections, Error> {
    let mut twins = Twins { model: model.clone(), inputs: HashMap::new() };
    let mut pairs = Vec::new();
    for unit in units {
        if let Some(weights) = unit.weights.filter(|w| w.bias.is_some()) {
            pairs.push(twins.pair(unit, weights, params, options)?);
        }
    }
    let wanted: Vec<ValueId> = pairs.iter().flat_map(|pair| pair.results).collect();
    let mut sums: Vec<Vec<f64>> = wanted.iter().map(|_| Vec::new()).collect();
    let mut counts = vec![0usize; wanted.len()];
    let dims: Vec<Option<(usize, usize)>> =
        pairs.iter().flat_map(|p| [channels(&model.graph, p); 2]).collect();
    observe(&twins.model, &wanted, samples, options.threads, &mut |at, values| {
        let Some((count, behind)) = dims[at] else { return };
        sums[at].resize(count, 0.0);
        for (i, part) in values.chunks(behind).enumerate() {
            sums[at][i % count] += part.iter().map(|v| f64::from(*v)).sum::<f64>();
        }
        counts[at] += values.len() / count;
    })?;
    let moved = pairs.iter().enumerate().filter_map(|(i, pair)| {
        let (float, twin) = (&sums[2 * i], &sums[2 * i + 1]);
        let count = counts[2 * i].max(1) as f64;
        let moved: Vec<f64> = twin.iter().zip(float).map(|(t, f)| (t - f) / count).collect();
        (!moved.is_empty() && moved.iter().all(|m| m.is_finite())).then_some((pair.core, moved))
    });
    Ok(moved.collect())
}

/// How many channels a product has, and how many elements each has in one piece.
fn channels(graph: &Graph, pair: &Pair) -> Option<(usize, usize)> {
    let shape = graph.value(pair.results[0]).ty.as_ref()?.shape()?;
    let axis = if pair.channel < 0 { shape.len().checked_sub(1)? } else { pair.channel as usize };
    let size = |dim: &byoc_graph::Dim| dim.value().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let behind: Option<Vec<usize>> = shape.get(axis + 1..)?.iter().map(size).collect();
    Some((size(shape.get(axis)?)?, behind?.iter().product()))
}

struct Twins {
    model: Model,
    /// What is read back of quantised inputs.
    inputs: HashMap<ValueId, ValueId>,
}

impl Twins {
    fn pair(
        &mut self,
        unit: &Unit,
        weights: Weights,
        params: &IndexMap<ValueId, Params>,
        options: &QuantizeOptions,
    ) -> Result<Pair, Error> {
        let graph = &self.model.graph;
        let input = unit.inputs[0];
        let axis = weights.axis.filter(|_| !options.per_tensor);
        let tensor = graph.constant(weights.value).expect("weights are constant");
        let stored = Stored::of(tensor, axis, None, params[&input].scale)?.real()?;
        let read = self.read_back(input, params[&input])?;
        let graph = &mut self.model.graph;
        let name = graph.fresh_name("twin.weights");
        let failed = |e: byoc_graph::GraphError| Error::Other(e.to_string());
        let constant = graph.add_constant(name, Arc::new(stored)).map_err(failed)?;
        let node = graph.node(unit.core).clone();
        let result = node.output(0).expect("a product has a result");
        let ty = graph.value(result).ty.clone();
        let twin = graph.add_value(graph.fresh_name("twin"), ty).map_err(failed)?;
        let bias = node.input(2).map(Some);
        graph
            .add_node(NodeSpec {
                name: graph.value(twin).name.clone(),
                op: node.op.name.clone(),
                opset: node.opset,
                inputs: [Some(read), Some(constant)].into_iter().chain(bias).collect(),
                outputs: vec![Some(twin)],
                attrs: node.attrs.clone(),
                position: node.position,
                ..NodeSpec::default()
            })
            .map_err(failed)?;
        Ok(Pair { core: unit.core, results: [result, twin], channel: weights.channel })
    }

    /// The value as it is when it has been stored.
    fn read_back(&mut self, value: ValueId, params: Params) -> Result<ValueId, Error> {
        if let Some(&made) = self.inputs.get(&value) {
            return Ok(made);
        }
        let graph = &mut self.model.graph;
        let opset = self.model.opsets.get("").copied().unwrap_or(byoc_graph::raise::VERSION);
        let made = super::insert::Writer { graph, opset }.quantised(value, params, "twin")?;
        self.inputs.insert(value, made);
        Ok(made)
    }
}

impl Activations {
    pub(super) fn tensor(self, zero_point: i32) -> byoc_graph::Tensor {
        match self {
            Activations::U8 => byoc_graph::Tensor::scalar(zero_point as u8),
            Activations::I8 => byoc_graph::Tensor::scalar(zero_point as i8),
        }
    }
}
