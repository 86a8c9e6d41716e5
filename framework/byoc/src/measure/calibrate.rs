//! From models and vendors to entries of a profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::{Model, onnx};
use byoc_host::CallEnv;
use byoc_partitioner::cost::{Rates, TargetProfile};
use byoc_partitioner::{CostModel, Options, Partition, partition};
use indexmap::IndexMap;
use serde::Serialize;

use super::fit::{Sample, error_elsewhere, fit, rounded};
use super::switch::{self, Whole};
use super::vendor::{RegionTimer, VendorTimes};
use super::{copies, host, median, profile, samples};
use crate::ask::Ask;
use crate::regions::Pool;
use crate::vendors::{self, PluginOptions, Vendor, VendorSource};
use crate::{Error, Loaded, ModelOptions, Timings};

/// Rates for what has no entry of its own, with a compute-heavy operator and without.
const CLASSES: [(&str, bool); 2] = [("compute", true), ("memory", false)];

/// How far rates are off where no operator has more than one sample, as a deviation of the logarithm.
const USUAL_ERROR: f64 = 0.25;

/// What is to be measured.
pub struct Calibrate<'a> {
    /// A small set that is built for this, where there are none.
    pub models: &'a [PathBuf],
    pub model_options: ModelOptions,
    pub vendors: &'a [VendorSource],
    pub plugin_options: PluginOptions,
    pub threads: usize,
    /// Told of each part of the work before it begins.
    pub progress: &'a dyn Fn(&str),
}

/// What was measured.
pub struct Calibration {
    pub targets: Vec<TargetProfile>,
    pub samples: Vec<SampleReport>,
    pub warnings: Vec<String>,
}

/// One measured piece of work beside what the rates make of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleReport {
    pub target: String,
    /// An operator, or a pattern.
    pub of: String,
    pub flops: Option<u64>,
    pub bytes: Option<u64>,
    pub measured_us: f64,
    pub predicted_us: Option<f64>,
}

impl Calibrate<'_> {
    pub fn run(&self) -> Result<Calibration, Error> {
        let vendors = vendors::load(self.vendors, &self.plugin_options, &mut Timings::default())?;
        let pool = Arc::new(ThreadPool::new(self.threads));
        let mut done = Calibration { targets: Vec::new(), samples: Vec::new(), warnings: Vec::new() };
        let mut of_host = Vec::new();
        let mut of_vendors: Vec<VendorTimes> = vendors.iter().map(|_| VendorTimes::default()).collect();
        // By the model's and the vendor's numbers.
        let mut wholes: Vec<(usize, usize, Whole)> = Vec::new();
        let mut models = Vec::new();
        for (path, model) in self.models()? {
            (self.progress)(&format!("host: {}", path.display()));
            let samples = host::measure(&path, &model, &self.model_options, self.threads)?;
            of_host.extend(samples.into_iter().map(|(_, sample)| sample));
            let loaded = self.load(&path, model)?;
            for (v, vendor) in vendors.iter().enumerate() {
                (self.progress)(&format!("{}: {}", vendor.name(), path.display()));
                let place = |options: &Options| place(&loaded, vendor, &pool, options);
                let placed = place(&Options::default())?;
                let alone = std::slice::from_ref(vendor);
                let timer = RegionTimer { vendors: alone, model: &loaded.model, pool: pool.clone() };
                extend(&mut of_vendors[v], timer.measure(&placed, 0));
                let whole = Whole::measure(&timer, &placed, &place)?;
                wholes.extend(whole.map(|whole| (models.len(), v, whole)));
            }
            models.push(loaded.model);
        }
        (self.progress)("copies");
        let host = TargetProfile { threads: Some(self.threads), ..profile::host_identity() };
        let copy = copies::within_host();
        done.add(TargetProfile { copy_in: copy, copy_out: copy, ..host }, of_host);
        for (vendor, times) in vendors.iter().zip(of_vendors) {
            let Some((plugin, device)) = vendor.on_device() else {
                done.warnings.push(format!("{} has no code that could be measured", vendor.name()));
                continue;
            };
            let name = vendor.name();
            done.warnings.extend(times.warnings.iter().map(|w| format!("{name}: {w}")));
            let mut target = TargetProfile { threads: Some(self.threads), ..profile::identity(vendor) };
            if let Some(memory) = plugin.memory(device.id) {
                (target.copy_in, target.copy_out) = copies::with_device(&memory)?;
            }
            done.add_vendor(target, times);
        }
        let mut cost = CostModel::default();
        done.targets.iter().for_each(|target| cost.set(target.clone()));
        for (v, vendor) in vendors.iter().enumerate() {
            let Some(target) = done.targets.iter_mut().find(|t| t.name == vendor.name()) else { continue };
            let own = wholes.iter().filter(|(_, of, _)| *of == v);
            let excess = own.flat_map(|(m, _, whole)| whole.excess(&models[*m], &vendor.table, &cost));
            target.switch = switch::estimate(excess.collect());
        }
        Ok(done)
    }

    fn models(&self) -> Result<Vec<(PathBuf, Model)>, Error> {
        if self.models.is_empty() {
            return samples::models();
        }
        let load = |path: &PathBuf| Ok((path.clone(), onnx::load(path)?));
        self.models.iter().map(load).collect()
    }

    fn load(&self, path: &Path, model: Model) -> Result<Loaded, Error> {
        Loaded::from_model(path, model, &self.model_options, &ReferenceEvaluator, &mut Timings::default())
    }
}

/// What the vendor takes of the model where it is alone.
fn place(
    loaded: &Loaded,
    vendor: &Vendor,
    pool: &Arc<ThreadPool>,
    options: &Options,
) -> Result<Partition, Error> {
    let (vendors, tables) = (std::slice::from_ref(vendor), std::slice::from_ref(&vendor.table));
    let threads = Pool(pool);
    let env = CallEnv { pool: &threads, stop: None };
    let mut ask = Ask::new(vendors, &loaded.model, env);
    Ok(partition(&loaded.model, tables, options, &mut ask)?)
}

fn fusion(samples: &[&Sample]) -> f64 {
    samples.iter().map(|s| s.fusion).sum::<f64>() / samples.len().max(1) as f64
}

fn extend(times: &mut VendorTimes, more: VendorTimes) {
    times.samples.extend(more.samples);
    times.launches.extend(more.launches);
    times.regions.extend(more.regions);
    times
        .warnings
        .extend(more.warnings.into_iter().filter(|w| !times.warnings.contains(w)).collect::<Vec<_>>());
}

impl Calibration {
    /// A region is its call and its composites; a composite that was timed alone has its call taken off.
    fn add_vendor(&mut self, mut target: TargetProfile, times: VendorTimes) {
        let VendorTimes { mut samples, mut launches, regions, .. } = times;
        let shortest = samples.iter().map(|s| s.us).fold(f64::INFINITY, f64::min);
        // The shortest composite keeps some time of its own.
        let launch = if launches.is_empty() { 0.0 } else { median(&mut launches).min(shortest / 2.0) };
        // What composites take less together than alone, beyond their calls, is spread over all.
        let whole: f64 = regions.iter().map(|(whole, ..)| (whole - launch).max(0.0)).sum();
        let parts: f64 = regions.iter().map(|(_, parts, count)| parts - launch * *count as f64).sum();
        let scale = if parts > 0.0 { (whole / parts).clamp(1e-3, 1.0) } else { 1.0 };
        for sample in &mut samples {
            sample.us = (sample.us - launch) * scale;
            sample.fusion = -scale.ln();
        }
        target.launch_us = Some(launch);
        self.add(target, samples);
    }

    fn add(&mut self, mut target: TargetProfile, mut samples: Vec<Sample>) {
        let all = samples.len();
        samples.retain(Sample::is_known);
        if samples.len() < all {
            let (left_out, name) = (all - samples.len(), &target.name);
            self.warnings.push(format!(
                "{name}: {left_out} of {all} samples are of unknown size and tell no rate; --dim and --input-shape set it"
            ));
        }
        let mut by_key: IndexMap<&str, Vec<&Sample>> = IndexMap::new();
        samples.iter().for_each(|s| by_key.entry(&s.key).or_default().push(s));
        by_key.sort_keys();
        let errors: IndexMap<&str, Option<f64>> =
            by_key.iter().map(|(key, samples)| (*key, error_elsewhere(samples))).collect();
        // One sample says nothing of other work: it is taken to be off as others are.
        let usual = match median(&mut errors.values().copied().flatten().collect::<Vec<_>>()) {
            0.0 => USUAL_ERROR,
            error => error,
        };
        for (key, samples) in by_key {
            if let Some(rates) = fit(&samples) {
                let error = Some(rounded(errors[key].unwrap_or(usual) + fusion(&samples)));
                target.rates.insert(key.to_owned(), Rates { error, ..rates });
            }
        }
        for (class, heavy) in CLASSES {
            let of_class: Vec<&Sample> = samples.iter().filter(|s| s.heavy == heavy).collect();
            if let Some(rates) = fit(&of_class) {
                let error = Some(rounded(error_elsewhere(&of_class).unwrap_or(usual) + fusion(&of_class)));
                target.rates.insert(class.to_owned(), Rates { error, ..rates });
            }
        }
        self.samples.extend(samples.iter().map(|s| SampleReport {
            target: target.name.clone(),
            of: s.key.clone(),
            flops: s.work.flops,
            bytes: s.work.bytes,
            measured_us: s.us,
            predicted_us: target.rates.get(&s.key).and_then(|rates: &Rates| rates.time(s.work)),
        }));
        self.targets.push(target);
    }
}
