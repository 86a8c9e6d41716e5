//! Post-training static quantisation: from a float model and some inputs to an int8 model in QDQ form.

mod correct;
mod errors;
mod fold;
mod histogram;
mod insert;
mod observe;
mod range;
mod report;
mod samples;
mod target;
#[cfg(test)]
mod tests;
mod units;
mod weights;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Model, ValueId, onnx, raise};
use indexmap::IndexMap;

use crate::bundle::is_bundle;
use crate::loaded::{Loaded, ModelOptions};
use crate::{Error, PluginOptions, Timings, VendorSource};

pub(crate) use errors::Distance;
pub use range::Method;
pub use report::{QuantizeReport, TensorReport};
pub use samples::Samples;

use histogram::Histogram;
use insert::Plan;
use range::Params;
use units::Unit;

/// The type that activations are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    #[default]
    U8,
    I8,
}

/// How a model is quantised.
#[derive(Clone, Debug, Default)]
pub struct QuantizeOptions {
    pub method: Method,
    pub per_tensor: bool,
    pub activations: Activations,
    pub no_bias_correction: bool,
    /// Nodes, by name, or operators that stay float.
    pub exclude: Vec<String>,
    /// Operators that may be quantised; all of the standard set, where it is empty.
    pub only_ops: Vec<String>,
    /// Quantise only what these take; everything, where there is none.
    pub vendors: Vec<VendorSource>,
    pub plugin_options: PluginOptions,
    pub threads: Option<usize>,
    /// Leave float what costs most, until every output keeps this cosine.
    pub cosine: Option<f64>,
}

/// A quantised model, and how far it is from the float one.
#[derive(Debug)]
pub struct Quantized {
    pub model: Model,
    pub report: QuantizeReport,
}

/// Quantises the model in a file.
pub fn quantize(
    path: &std::path::Path,
    model_options: &ModelOptions,
    samples: &Samples,
    options: &QuantizeOptions,
    timings: &mut Timings,
) -> Result<Quantized, Error> {
    if is_bundle(path) {
        return Err(Error::Other(format!("{}: is compiled already; quantise the model", path.display())));
    }
    let mut model = timings.time("load", || onnx::load(path))?;
    // Weights that callers could override are weights all the same.
    model.graph.fix_defaults();
    let loaded = Loaded::from_model(path, model, model_options, &ReferenceEvaluator, timings)?;
    let mut job = Job::new(loaded, samples, options)?;
    let params = timings.time("observe", || job.params())?;
    let biases = timings.time("correct", || job.biases(&params))?;
    loop {
        let (model, plan) = timings.time("place", || job.settle(&params, &biases))?;
        let distances = timings
            .time("compare", || errors::errors(&job.model, &model, &plan, samples, options.threads))?;
        let least = distances.outputs.iter().map(|(_, d)| d.cosine()).fold(1.0, f64::min);
        if options.cosine.is_none_or(|wanted| least >= wanted) {
            let report = QuantizeReport::of(&job, &plan, &params, &distances);
            return Ok(Quantized { model, report });
        }
        job.spare(&plan, &distances)?;
    }
}

/// How many units become float at a time: one of so many.
const SPARED: usize = 16;
/// What counts as no noise, in decibels.
const CLEAN: f64 = 60.0;

/// A float model on the way.
struct Job<'a> {
    path: PathBuf,
    /// Raised and folded.
    model: Model,
    units: Vec<Unit>,
    samples: &'a Samples,
    options: &'a QuantizeOptions,
}

impl<'a> Job<'a> {
    fn new(loaded: Loaded, samples: &'a Samples, options: &'a QuantizeOptions) -> Result<Job<'a>, Error> {
        let Loaded { path, mut model, .. } = loaded;
        let other = |error: raise::RaiseError| Error::Other(format!("{}: {error}", path.display()));
        raise::raise(&mut model).map_err(other)?;
        fold::fold(&mut model.graph)?;
        infer(&mut model, &InferOptions::default())?;
        let units = units::find(&model.graph, &options.exclude, &options.only_ops)?;
        if units.is_empty() {
            let why = "nothing of it is quantised: no convolution, Gemm or MatMul on float32 that may be";
            return Err(Error::Other(format!("{}: {why}", path.display())));
        }
        Ok(Job { path, model, units, samples, options })
    }

    /// Scale and zero point of every tensor that some unit reads or makes.
    fn params(&self) -> Result<IndexMap<ValueId, Params>, Error> {
        let wanted = units::tensors(&self.units);
        // A selection has the range of what it selects from.
        let shared: HashMap<ValueId, ValueId> = self.units.iter().filter_map(Unit::shares).collect();
        let own: Vec<ValueId> = wanted.iter().copied().filter(|v| !shared.contains_key(v)).collect();
        let mut seen: Vec<Histogram> = own.iter().map(|_| Histogram::default()).collect();
        observe::observe(&self.model, &own, self.samples, self.options.threads, &mut |at, values| {
            seen[at].add(values);
        })?;
        let mut params: IndexMap<ValueId, Params> = IndexMap::new();
        for (value, seen) in own.iter().zip(&seen) {
            let range = self.options.method.range(seen).ok_or_else(|| {
                let name = &self.model.graph.value(*value).name;
                Error::Other(format!("`{name}` has no finite number for any sample; look at the data"))
            })?;
            params.insert(*value, Params::of(range, self.options.activations));
        }
        for value in wanted {
            let mut from = value;
            while let Some(next) = shared.get(&from) {
                from = *next;
            }
            let found = params[&from];
            params.insert(value, found);
        }
        Ok(params)
    }

    fn biases(&self, params: &IndexMap<ValueId, Params>) -> Result<correct::Corrections, Error> {
        if self.options.no_bias_correction {
            return Ok(correct::Corrections::default());
        }
        correct::corrections(&self.model, &self.units, params, self.samples, self.options)
    }

    /// The quantised model; units that no vendor takes are left out, where there are vendors.
    fn settle(
        &mut self,
        params: &IndexMap<ValueId, Params>,
        biases: &correct::Corrections,
    ) -> Result<(Model, Plan), Error> {
        const ROUNDS: usize = 8;
        for _ in 0..ROUNDS {
            let (model, plan) = insert::insert(&self.model, &self.units, params, biases, self.options)?;
            if self.options.vendors.is_empty() {
                return Ok((model, plan));
            }
            let taken = target::taken(&self.path, &model, self.options)?;
            let cores: HashSet<_> = plan.cores.iter().filter(|(_, label)| !taken.contains(*label)).collect();
            if cores.is_empty() {
                return Ok((model, plan));
            }
            let left: HashSet<_> = cores.into_iter().map(|(core, _)| *core).collect();
            self.units.retain(|unit| !left.contains(&unit.core));
            // What selected from a tensor that is float now has nothing to select from.
            units::drop_loose(&mut self.units);
            if self.units.is_empty() {
                let why = "no vendor takes anything of it when it is quantised";
                return Err(Error::Other(format!("{}: {why}", self.path.display())));
            }
        }
        insert::insert(&self.model, &self.units, params, biases, self.options)
    }

    /// Leaves float the units whose results are noisier than what they read by most.
    fn spare(&mut self, plan: &Plan, distances: &errors::Distances) -> Result<(), Error> {
        let tensors = plan.tensors.iter().map(|(value, _)| *value).zip(&distances.tensors);
        let clean: HashMap<ValueId, f64> =
            tensors.map(|(v, d)| (v, d.sqnr_db().unwrap_or(CLEAN).min(CLEAN))).collect();
        let loss = |unit: &Unit| {
            let of = |value: &ValueId| clean.get(value).copied().unwrap_or(CLEAN);
            unit.inputs.iter().map(of).fold(CLEAN, f64::min) - of(&unit.output)
        };
        let mut losses: Vec<(f64, byoc_graph::NodeId)> =
            self.units.iter().map(|unit| (loss(unit), unit.core)).collect();
        losses.sort_by(|a, b| b.0.total_cmp(&a.0));
        losses.truncate(self.units.len().div_ceil(SPARED));
        self.units.retain(|unit| !losses.iter().any(|(_, core)| *core == unit.core));
        units::drop_loose(&mut self.units);
        match self.units.is_empty() {
            true => {
                Err(Error::Other(format!("{}: nothing of it can be quantised so well", self.path.display())))
            }
            false => Ok(()),
        }
    }
}
