//! What was quantised, how, and how far it is from the float model.

use byoc_graph::ValueId;
use indexmap::IndexMap;
use serde::Serialize;

use super::Job;
use super::errors::{Distance, Distances};
use super::insert::Plan;
use super::range::Params;

/// The report of a quantisation.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizeReport {
    pub schema: &'static str,
    pub samples: usize,
    /// Nodes of the float model, and those of them that compute between quantised tensors.
    pub nodes: usize,
    pub quantised: usize,
    /// In the order in which they are made.
    pub tensors: Vec<TensorReport>,
    pub outputs: Vec<OutputReport>,
    /// The float nodes, by operator.
    pub float: IndexMap<String, usize>,
}

/// A quantised tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    pub name: String,
    /// The operator that makes it; empty for an input of the model.
    pub op: String,
    pub scale: f32,
    pub zero_point: i32,
    pub cosine: f64,
    /// Signal to noise in decibels; absent where there is no noise.
    pub sqnr_db: Option<f64>,
}

/// A float output of the model.
#[derive(Clone, Debug, Serialize)]
pub struct OutputReport {
    pub name: String,
    pub cosine: f64,
    pub sqnr_db: Option<f64>,
}

impl QuantizeReport {
    pub(super) fn of(
        job: &Job<'_>,
        plan: &Plan,
        params: &IndexMap<ValueId, Params>,
        distances: &Distances,
    ) -> QuantizeReport {
        let graph = &job.model.graph;
        let quantised: std::collections::HashSet<_> =
            job.units.iter().flat_map(|unit| unit.nodes.iter().copied()).collect();
        let mut float: IndexMap<String, usize> = IndexMap::new();
        for id in graph.model_order().into_iter().filter(|id| !quantised.contains(id)) {
            *float.entry(graph.node(id).op.name.to_string()).or_default() += 1;
        }
        let op = |value: ValueId| {
            let producer = graph.value(value).producer();
            producer.map_or(String::new(), |(node, _)| graph.node(node).op.name.to_string())
        };
        let tensor = |((value, _), distance): (&(ValueId, String), &Distance)| TensorReport {
            name: graph.value(*value).name.to_string(),
            op: op(*value),
            scale: params[value].scale,
            zero_point: params[value].zero_point,
            cosine: distance.cosine(),
            sqnr_db: distance.sqnr_db(),
        };
        let output = |(name, distance): &(String, Distance)| OutputReport {
            name: name.clone(),
            cosine: distance.cosine(),
            sqnr_db: distance.sqnr_db(),
        };
        QuantizeReport {
            schema: "byoc.quantize/1",
            samples: job.samples.len(),
            nodes: graph.node_count(),
            quantised: quantised.len(),
            tensors: plan.tensors.iter().zip(&distances.tensors).map(tensor).collect(),
            outputs: distances.outputs.iter().map(output).collect(),
            float,
        }
    }
}
