//! From models and vendors to entries of a profile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::{Model, onnx};
use byoc_host::CallEnv;
use byoc_partitioner::cost::{Rates, TargetProfile};
use byoc_partitioner::{Options, partition};
use indexmap::IndexMap;
use serde::Serialize;

use super::fit::{Sample, fit};
use super::vendor::{RegionTimer, VendorTimes};
use super::{copies, host, median, profile, samples};
use crate::ask::Ask;
use crate::regions::Pool;
use crate::vendors::{self, PluginOptions, Vendor, VendorSource};
use crate::{Error, Loaded, ModelOptions, Timings};

/// Rates for what has no entry of its own, with a compute-heavy operator and without.
const CLASSES: [(&str, bool); 2] = [("compute", true), ("memory", false)];

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
        for (path, model) in self.models()? {
            (self.progress)(&format!("host: {}", path.display()));
            let samples = host::measure(&path, &model, &self.model_options, self.threads)?;
            of_host.extend(samples.into_iter().map(|(_, sample)| sample));
            let loaded = self.load(&path, model)?;
            for (vendor, times) in vendors.iter().zip(&mut of_vendors) {
                (self.progress)(&format!("{}: {}", vendor.name(), path.display()));
                extend(times, measure_vendor(&loaded, vendor, &pool)?);
            }
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

/// Times what the vendor takes of the model where it is alone.
fn measure_vendor(loaded: &Loaded, vendor: &Vendor, pool: &Arc<ThreadPool>) -> Result<VendorTimes, Error> {
    let (vendors, tables) = ([vendor.clone()], [vendor.table.clone()]);
    let threads = Pool(pool);
    let env = CallEnv { pool: &threads, stop: None };
    let mut ask = Ask::new(&vendors, &loaded.model, env);
    let placed = partition(&loaded.model, &tables, &Options::default(), &mut ask)?;
    let timer = RegionTimer { vendors: &vendors, model: &loaded.model, pool: pool.clone() };
    Ok(timer.measure(&placed, 0))
}

fn extend(times: &mut VendorTimes, more: VendorTimes) {
    times.samples.extend(more.samples);
    times.launches.extend(more.launches);
    times
        .warnings
        .extend(more.warnings.into_iter().filter(|w| !times.warnings.contains(w)).collect::<Vec<_>>());
}

impl Calibration {
    /// A region is its call and its composites; a composite that was timed alone has its call taken off.
    fn add_vendor(&mut self, mut target: TargetProfile, times: VendorTimes) {
        let VendorTimes { mut samples, mut launches, .. } = times;
        let shortest = samples.iter().map(|s| s.us).fold(f64::INFINITY, f64::min);
        // The shortest composite keeps some time of its own.
        let launch = if launches.is_empty() { 0.0 } else { median(&mut launches).min(shortest / 2.0) };
        samples.iter_mut().for_each(|s| s.us -= launch);
        target.launch_us = Some(launch);
        self.add(target, samples);
    }

    fn add(&mut self, mut target: TargetProfile, samples: Vec<Sample>) {
        let mut by_key: IndexMap<&str, Vec<&Sample>> = IndexMap::new();
        samples.iter().for_each(|s| by_key.entry(&s.key).or_default().push(s));
        by_key.sort_keys();
        for (key, samples) in by_key {
            if let Some(rates) = fit(&samples) {
                target.rates.insert(key.to_owned(), rates);
            }
        }
        for (class, heavy) in CLASSES {
            let of_class: Vec<&Sample> = samples.iter().filter(|s| s.heavy == heavy).collect();
            if let Some(rates) = fit(&of_class) {
                target.rates.insert(class.to_owned(), rates);
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
