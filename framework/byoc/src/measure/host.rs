//! Times of the host's operators, from runs of whole models.

use std::collections::HashMap;
use std::path::Path;

use byoc_graph::Model;
use byoc_partitioner::cost::{is_heavy, work_of};
use byoc_runtime::{TOGETHER, prepare};

use super::fit::Sample;
use crate::bench::{BenchOptions, bench, profile};
use crate::{Error, ModelOptions, Session, random};

const SEED: u64 = 11;
const RUNS: BenchOptions = BenchOptions { warmup: 2, seconds: 0.3 };

/// One sample for each node of the main graph, by the node's label.
///
/// Nodes are timed one by one, with nothing fused; then all times are scaled so that together they are what the
/// model takes as the host really runs it. What fusion saves is thereby spread over all.
pub(crate) fn measure(
    path: &Path,
    model: &Model,
    options: &ModelOptions,
    threads: usize,
) -> Result<Vec<(String, Sample)>, Error> {
    let session = |options: ModelOptions| {
        Session::builder(path).model(model.clone()).model_options(options).threads(threads).build()
    };
    let fused = session(options.clone())?;
    let mut plain = options.clone();
    let off = prepare::PASSES.iter().map(|p| p.name).chain([TOGETHER]);
    plain.disabled_passes.extend(off.map(str::to_owned));
    let plain = session(plain)?;
    let graph = plain.graph();
    let inputs: Vec<_> =
        random::fill(graph, &HashMap::new(), &mut HashMap::new(), SEED)?.into_iter().collect();
    let whole = bench(&fused, &inputs, RUNS)?.median_ms;
    let steps = profile(&plain, &plain.arrange(&inputs)?)?;

    let nodes: HashMap<&str, _> = graph.node_ids().map(|id| (&*graph.node(id).label, id)).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    steps.iter().for_each(|step| *counts.entry(&step.label).or_default() += 1);
    let mut samples = Vec::new();
    for step in &steps {
        // A node in a body may have the label of another in the main graph.
        let Some(&id) = nodes.get(step.label.as_str()).filter(|_| counts[step.label.as_str()] == 1) else {
            continue;
        };
        let op = &graph.node(id).op;
        let key =
            if op.domain.is_empty() { op.name.to_string() } else { format!("{}.{}", op.domain, op.name) };
        let work = work_of(graph, &[id]);
        let sample = Sample { key, heavy: is_heavy(graph, id), work, us: step.ms * 1e3, fusion: 0.0 };
        samples.push((step.label.clone(), sample));
    }
    let alone: f64 = samples.iter().map(|(_, s)| s.us).sum();
    let scale = if alone > 0.0 { (whole * 1e3 / alone).clamp(1e-3, 1.0) } else { 1.0 };
    for (_, sample) in &mut samples {
        sample.us *= scale;
        sample.fusion = -scale.ln();
    }
    Ok(samples)
}
