//! A model that is ready to run: placed, compiled, prepared. Runs take `&self`, from any number of threads.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use byoc_cpu::fast::Exec;
use byoc_cpu::fast::gemm::Precision;
use byoc_cpu::peak::Peak;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{KernelError, Observer, Registry, View};
use byoc_graph::{Datum, Graph, Model};
use byoc_host::isolate::Restored;
use byoc_host::{ArtefactBytes, Category, Plugin, PluginError};
use byoc_partitioner::{Plan, RegionReport, Report};
use byoc_runtime::{InputSpec, OutputBuffer, OutputSpec, RunError, align_datum, signature};
use indexmap::IndexMap;

use crate::bundle::{Artefacts, Bundle, is_bundle};
use crate::compile::{Compiled, LeftOut, Placement, place_and_compile};
use crate::loaded::{Loaded, ModelOptions};
use crate::program::{ProgramParts, Runner};
use crate::standby::{Parts, Standby, Standbys, Without, heirs};
use crate::vendors::{self, PluginOptions, Vendor, VendorSource};
use crate::{Error, Isolation, Timings};
use byoc_cpu::reference::ReferenceEvaluator;

/// Settles what a session is made of.
#[derive(Default)]
pub struct SessionBuilder {
    model: Option<Model>,
    path: PathBuf,
    options: ModelOptions,
    sources: Vec<VendorSource>,
    plugin_options: PluginOptions,
    placement: Placement,
    threads: Option<usize>,
    reference: bool,
    precision: Precision,
    check_types: bool,
}

/// A model that is ready to run.
pub struct Session {
    compiled: Compiled,
    vendors: Vec<Vendor>,
    inputs: Vec<InputSpec>,
    outputs: Vec<OutputSpec>,
    runner: Arc<Runner>,
    /// Programs that do without vendors that have failed, or take inputs that have defaults.
    standbys: Standbys,
    host: Host,
    placement: Placement,
    load_ms: f64,
    fallbacks: Mutex<IndexMap<String, usize>>,
    /// Vendors that are not to be called any more, with the reason.
    dismissed: Mutex<IndexMap<String, String>>,
    /// Regions for which there was no room on their device: the host has them from then on.
    without_room: Mutex<Vec<String>>,
    timings: Timings,
}

impl SessionBuilder {
    /// A model in memory instead of the file.
    pub fn model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    pub fn model_options(mut self, options: ModelOptions) -> Self {
        self.options = options;
        self
    }

    /// Adds a plugin, by path or by name.
    pub fn plugin(mut self, name: impl Into<String>) -> Self {
        self.sources.push(VendorSource::Plugin(name.into()));
        self
    }

    pub fn vendors(mut self, sources: Vec<VendorSource>) -> Self {
        self.sources = sources;
        self
    }

    pub fn plugin_options(mut self, options: PluginOptions) -> Self {
        self.plugin_options = options;
        self
    }

    /// Runs plugins in worker processes.
    pub fn isolate(mut self, isolation: Isolation) -> Self {
        self.plugin_options.isolation = Some(isolation);
        self
    }

    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Threads of the host, the caller's own included; as many as there are cores by default.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Uses reference kernels only.
    pub fn reference(mut self, reference: bool) -> Self {
        self.reference = reference;
        self
    }

    /// Keeps large weights of the host's products in fewer bits. Reference kernels do not.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Fails runs in which a value is not of the type that was inferred for it.
    pub fn check_types(mut self, check: bool) -> Self {
        self.check_types = check;
        self
    }

    /// Takes model and decisions of the bundle that the file is.
    fn unpack(&mut self, timings: &mut Timings) -> Result<(), Error> {
        let at = self.path.display();
        if !self.options.dims.is_empty() || !self.options.input_shapes.is_empty() {
            return Err(Error::Other(format!("{at}: the dimensions of a bundle were settled by `compile`")));
        }
        if self.placement.is_choice() {
            return Err(Error::Other(format!("{at}: the placement of a bundle was settled by `compile`")));
        }
        let bundle = timings.time("load", || Bundle::open(&self.path))?;
        self.sources = bundle.sources(&self.sources)?;
        self.plugin_options.values = bundle.plugin_options(&self.plugin_options.values);
        let extra = std::mem::take(&mut self.options.disabled_passes);
        self.options = bundle.model_options();
        self.options.disabled_passes.extend(extra);
        self.placement.plan = Some(bundle.plan.clone());
        self.placement.artefacts = bundle.artefacts.clone();
        self.model = Some(bundle.model);
        Ok(())
    }

    /// Reads, places, compiles and prepares.
    pub fn build(mut self) -> Result<Session, Error> {
        let (mut timings, start) = (Timings::default(), Instant::now());
        if self.model.is_none() && is_bundle(&self.path) {
            self.unpack(&mut timings)?;
        }
        if let Some(isolation) = &mut self.plugin_options.isolation {
            isolation.threads = isolation.threads.or(self.threads);
        }
        let vendors = vendors::load(&self.sources, &self.plugin_options, &mut timings)?;
        let loaded = match self.model {
            Some(model) => {
                Loaded::from_model(&self.path, model, &self.options, &ReferenceEvaluator, &mut timings)?
            }
            None => Loaded::open(&self.path, &self.options, &ReferenceEvaluator, &mut timings)?,
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Arc::new(ThreadPool::new(self.threads.unwrap_or_else(cores)));
        let compiled =
            place_and_compile(loaded, &vendors, &self.options, &self.placement, &pool, &mut timings)?;
        let registry = if self.reference { Registry::reference() } else { Registry::default() };
        let host = Host {
            pool,
            registry,
            options: self.options,
            reference: self.reference,
            precision: if self.reference { Precision::F32 } else { self.precision },
            check_types: self.check_types,
        };
        let runner = timings.time("prepare", || host.runner(&compiled, &LeftOut::default(), true))?;
        let (inputs, outputs) = signature(&compiled.placed.model);
        Ok(Session {
            compiled,
            vendors,
            inputs,
            outputs,
            runner: Arc::new(runner),
            standbys: Standbys::default(),
            host,
            placement: Placement { artefacts: Artefacts::default(), ..self.placement },
            load_ms: start.elapsed().as_secs_f64() * 1e3,
            fallbacks: Mutex::default(),
            dismissed: Mutex::default(),
            without_room: Mutex::default(),
            timings,
        })
    }
}

/// What the host brings to a program.
struct Host {
    pool: Arc<ThreadPool>,
    registry: Registry,
    options: ModelOptions,
    /// Reference kernels run the model as it is: nothing is fused for them.
    reference: bool,
    precision: Precision,
    check_types: bool,
}

impl Host {
    /// The program of a placed model; what is left out runs on the host. If `settled`, inputs with defaults are not given.
    fn runner(&self, compiled: &Compiled, left_out: &LeftOut, settled: bool) -> Result<Runner, Error> {
        let parts = ProgramParts {
            regions: &compiled.regions,
            registry: &self.registry,
            pool: &self.pool,
            enables: &|pass| !self.reference && self.options.enables(pass),
            precision: self.precision,
            check_types: self.check_types,
        };
        parts.runner(compiled.outlined(left_out)?, settled)
    }
}

impl Session {
    /// Begins to settle a session for the model in a file.
    pub fn builder(path: impl Into<PathBuf>) -> SessionBuilder {
        SessionBuilder { path: path.into(), ..SessionBuilder::default() }
    }

    /// The session of a file on the host alone.
    pub fn load(path: impl Into<PathBuf>) -> Result<Session, Error> {
        Session::builder(path).build()
    }

    /// The main graph, normalised.
    pub fn graph(&self) -> &Graph {
        &self.compiled.placed.model.graph
    }

    pub fn inputs(&self) -> Vec<InputSpec> {
        self.inputs.clone()
    }

    pub fn outputs(&self) -> Vec<OutputSpec> {
        self.outputs.clone()
    }

    /// What ran where, and why.
    pub fn report(&self) -> &Report {
        &self.compiled.placed.report
    }

    /// Every decision of the placement as a step.
    pub fn plan(&self) -> Result<Plan, Error> {
        self.compiled.placed.plan()
    }

    pub(crate) fn vendors(&self) -> &[Vendor] {
        &self.vendors
    }

    /// What vendors make of their regions, to be loaded again.
    pub(crate) fn artefacts(&self) -> Vec<(&RegionReport, Result<ArtefactBytes, Error>)> {
        let regions = self.report().regions.iter();
        let made = regions.filter_map(|report| {
            let region = self.compiled.regions.get(report.name.as_str())?;
            Some((report, region.artefact().map_err(Error::from)))
        });
        made.collect()
    }

    pub fn threads(&self) -> usize {
        self.host.pool.threads()
    }

    /// What the host's threads can do at most on this machine, measured now; takes about a tenth of a second.
    pub fn peak(&self) -> Peak {
        byoc_cpu::peak::measure(Exec::new(&self.host.pool))
    }

    /// From the call of `build` to its end.
    pub fn load_ms(&self) -> f64 {
        self.load_ms
    }

    /// The stages of loading.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Device time of the last run by vendor, where vendors tell it.
    pub fn device_ms(&self) -> BTreeMap<String, f64> {
        let mut times = BTreeMap::new();
        for region in self.compiled.regions.values() {
            if let Some(ms) = region.device_ms() {
                *times.entry(region.vendor().to_owned()).or_default() += ms;
            }
        }
        times
    }

    /// Microseconds that simulated devices took beyond the time they tell, in all runs so far.
    pub(crate) fn simulated_us(&self) -> f64 {
        self.compiled.regions.values().map(|region| region.simulated_us()).sum()
    }

    /// Whether every region of the placement is run by its vendor; one without code leaves them to the host.
    pub fn runs_as_placed(&self) -> bool {
        self.compiled.regions.len() == self.report().regions.len()
    }

    /// What is odd in the model or went wrong with a vendor, and hinders nobody.
    pub fn warnings(&self) -> &[String] {
        &self.compiled.placed.warnings
    }

    /// How vendors failed while running, and were replaced by the host, in words.
    pub fn fallbacks(&self) -> Vec<String> {
        let fallbacks = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |(message, times): (&String, &usize)| match times {
            1 => message.clone(),
            _ => format!("{message} ({times} times)"),
        };
        let plugins = self.vendors.iter().filter_map(|vendor| vendor.plugin.as_ref());
        fallbacks.iter().map(told).chain(plugins.filter_map(|plugin| replacements(plugin))).collect()
    }

    /// Has the host run the regions of a vendor from now on. Under `strict` that is an error.
    pub fn dismiss(&self, vendor: &str, why: &str) -> Result<(), Error> {
        if self.placement.strict {
            return Err(Error::Other(format!("{vendor}: {why}")));
        }
        let mut dismissed = self.dismissed.lock().unwrap_or_else(PoisonError::into_inner);
        dismissed.entry(vendor.to_owned()).or_insert_with(|| why.to_owned());
        Ok(())
    }

    fn note(&self, message: String) {
        *self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner).entry(message).or_default() += 1;
    }

    /// The program that does without some vendors; if `settled`, inputs with defaults are not given. It is built when it
    /// is first needed.
    fn standby(&self, without: &Without, settled: bool) -> Result<Standby, Error> {
        if without.is_empty() && settled {
            return Ok(Standby { runner: self.runner.clone(), placed: None });
        }
        let parts = Parts {
            compiled: &self.compiled,
            vendors: &self.vendors,
            options: &self.host.options,
            placement: &self.placement,
            pool: &self.host.pool,
        };
        let build = |compiled: &Compiled, left_out: &LeftOut| self.host.runner(compiled, left_out, settled);
        self.standbys.get((without, settled), &parts, build)
    }

    /// Puts named values in the order of the program's inputs.
    pub fn arrange(&self, given: &[(String, Datum)]) -> Result<Vec<Option<Datum>>, Error> {
        let names = || self.inputs.iter().map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
        if let Some((name, _)) = given.iter().find(|(n, _)| !self.inputs.iter().any(|i| *i.name == **n)) {
            return Err(Error::input(name, format!("is not one of the model's, which are {}", names())));
        }
        let find = |spec: &InputSpec| {
            let (_, datum) = given.iter().find(|(name, _)| **name == *spec.name)?;
            Some(align_datum(datum))
        };
        Ok(self.inputs.iter().map(find).collect())
    }

    /// Runs the model on named inputs.
    pub fn run(&self, inputs: &[(String, Datum)]) -> Result<Vec<(String, Datum)>, Error> {
        let outputs = self.run_arranged(&self.arrange(inputs)?)?;
        let names = self.outputs.iter().map(|o| o.name.to_string()).collect::<Vec<_>>();
        Ok(names.into_iter().zip(outputs).collect())
    }

    /// Runs the model on inputs in the program's order, see [`Session::arrange`].
    pub fn run_arranged(&self, inputs: &[Option<Datum>]) -> Result<Vec<Datum>, Error> {
        self.run_contained(&views(inputs), &mut [], None)
    }

    /// As [`Session::run_arranged`], telling `observer` of each step.
    pub fn run_observed(
        &self,
        inputs: &[Option<Datum>],
        observer: &dyn Observer,
    ) -> Result<Vec<Datum>, Error> {
        self.run_contained(&views(inputs), &mut [], Some(observer))
    }

    /// Runs; where a vendor panics, its worker is lost, or its device has no more memory, the run begins anew with others
    /// in its place, or with one region less on the device.
    pub(crate) fn run_contained(
        &self,
        inputs: &[Option<View<'_>>],
        buffers: &mut [Option<OutputBuffer<'_>>],
        observer: Option<&dyn Observer>,
    ) -> Result<Vec<Datum>, Error> {
        let mut lost: Vec<Loss> = Vec::new();
        let settled =
            !self.inputs.iter().zip(inputs).any(|(i, given)| i.default.is_some() && given.is_some());
        loop {
            let (without, reasons) = self.left_out(&lost);
            let Standby { runner, placed } = self.standby(&without, settled)?;
            for (vendor, why) in reasons.into_iter().filter(|_| lost.is_empty()) {
                let heirs = heirs(&self.compiled, placed.as_deref(), &vendor);
                self.note(format!("{vendor} is left out, {heirs}: {why}"));
            }
            if let Some(Loss { vendor, what, why }) = lost.last() {
                let heirs = heirs(&self.compiled, placed.as_deref(), vendor);
                self.note(format!("{vendor} failed in {what}, {heirs}: {why}"));
            }
            let error = match runner.run(inputs, buffers, observer) {
                Ok(outputs) => return Ok(outputs),
                Err(error) => error,
            };
            if let Some((region, why)) = self.region_without_room(&error) {
                self.note(format!("{region} has no room on its device, the host runs it: {why}"));
                continue;
            }
            let is_new = |e: &PluginError| !lost.iter().any(|loss| loss.vendor == e.plugin);
            let failed = failed_vendor(&error).filter(|(_, e)| !self.placement.strict && is_new(e));
            let Some((region, PluginError { plugin, call, error: failure, .. })) = failed else {
                return Err(error.into());
            };
            let what = format!("{call} of {region}");
            lost.push(Loss { vendor: plugin.clone(), what, why: failure.message.clone() });
        }
    }

    /// The region that a run has found no memory for on its device, which is the host's from now on; `None` under `strict`,
    /// and where it is not a region's memory, or not for the first time.
    fn region_without_room(&self, error: &RunError) -> Option<(String, String)> {
        let (node, failure) = plugin_error(error)?;
        let is_known = self.compiled.placed.partition.regions.iter().any(|region| region.name == node);
        if self.placement.strict || failure.category() != Category::OutOfMemory || !is_known {
            return None;
        }
        let mut without_room = self.without_room.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !without_room.iter().any(|region| region == node);
        is_new.then(|| {
            without_room.push(node.to_owned());
            (node.to_owned(), failure.error.message.clone())
        })
    }

    /// Vendors that cannot be called now, or were lost in this run, and why it is those that nothing was said of yet.
    /// Under `strict` their errors are wanted.
    fn left_out(&self, lost: &[Loss]) -> (Without, Vec<(String, String)>) {
        let regions = self.without_room.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (mut without, mut reasons) = (Without { regions, ..Without::default() }, Vec::new());
        let dismissed = self.dismissed.lock().unwrap_or_else(PoisonError::into_inner);
        for vendor in self.vendors.iter().filter(|_| !self.placement.strict) {
            let (name, plugin) = (vendor.name(), vendor.plugin.as_deref());
            let is_lost = lost.iter().any(|loss| loss.vendor == name);
            let why_dismissed = dismissed.get(name).cloned();
            let is_gone = why_dismissed.is_some() || plugin.is_some_and(Plugin::is_poisoned);
            let is_told = why_dismissed.is_some() || plugin.is_some_and(Plugin::is_isolated);
            let Some(why) = why_dismissed.or_else(|| plugin?.absence()).or_else(|| is_lost.then(String::new))
            else {
                continue;
            };
            if is_told && !is_lost {
                reasons.push((name.to_owned(), why));
            }
            let list = if is_gone { &mut without.gone } else { &mut without.absent };
            list.push(name.to_owned());
        }
        (without, reasons)
    }
}

/// How a vendor was lost in a run.
struct Loss {
    vendor: String,
    what: String,
    why: String,
}

/// How often a plugin's worker was replaced, and what that took.
fn replacements(plugin: &Plugin) -> Option<String> {
    let Restored { workers, loaded, compiled } = plugin.restored();
    let by = |count: u32, how: &str| format!("{count} region{} {how}", if count == 1 { "" } else { "s" });
    let [loaded, compiled] = [by(loaded, "loaded from artefacts"), by(compiled, "compiled anew")];
    let times = if workers == 1 { "once".to_owned() } else { format!("{workers} times") };
    let vendor = plugin.vendor();
    (workers > 0).then(|| format!("the worker of {vendor} was replaced {times}: {loaded}, {compiled}"))
}

fn views(inputs: &[Option<Datum>]) -> Vec<Option<View<'_>>> {
    inputs.iter().map(|d| d.as_ref().map(View::of)).collect()
}

/// What a plugin has failed in, and how.
fn plugin_error(error: &RunError) -> Option<(&str, &PluginError)> {
    let (node, source) = match error {
        RunError::Step { node, source: KernelError::Other(source), .. } => (node.as_ref(), source),
        RunError::Memory(KernelError::Other(source)) => ("the arena", source),
        _ => return None,
    };
    Some((node, source.downcast_ref::<PluginError>()?))
}

/// The region in which a vendor has panicked, its worker was lost, or its device has no more memory, if that is what an
/// error is.
fn failed_vendor(error: &RunError) -> Option<(&str, &PluginError)> {
    let (node, failure) = plugin_error(error)?;
    let is_full = failure.category() == Category::OutOfMemory;
    (failure.error.panicked || failure.lost || is_full).then_some((node, failure))
}
