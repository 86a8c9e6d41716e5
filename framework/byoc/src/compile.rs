//! From a model and vendors to compiled regions: partition, ask, compile, and partition again without what a
//! vendor could not compile.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::normalise::Removed;
use byoc_graph::{Model, NodeId};
use byoc_host::{ArtefactFit, CallEnv, CompileRequest, PluginError, RegionData, Signature, adapt};
use byoc_partitioner::will::Cut;
use byoc_partitioner::{
    CostModel, Denied, Dropped, Kind, Options, Partition, Plan, Policy, Region, Report, Subgraph,
    drop_regions, partition, partition_measured, replay,
};
use byoc_plugin::table::PatternTable;

use crate::ask::{Ask, opsets, outer_nodes, region_specs};
use crate::bundle::{Artefact, Artefacts};
use crate::loaded::{Loaded, ModelOptions};
use crate::measure::{self, Measurer, ProfileSource};
use crate::program::RegionsByName;
use crate::regions::{Pool, VendorRegion};
use crate::vendors::{self, PluginOptions, Vendor, VendorSource};
use crate::{Error, Timings};

/// How often a model is partitioned before a region that a vendor cannot compile goes to the host for good.
const MAX_ROUNDS: usize = 8;

/// What a caller may ask of the placement.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// How to choose among what vendors offer; by cost where the host has been measured and greedily else, where
    /// nothing is said.
    pub policy: Option<Policy>,
    /// How long the cost policy searches, counted in moves of a usual machine.
    pub budget_ms: Option<u64>,
    /// Merge regions of one vendor that do not feed each other, too.
    pub merge_siblings: bool,
    /// Nodes, by name, or operators that stay on the host.
    pub exclude: Vec<String>,
    /// Nodes that have to go to a target: a vendor's name, or `host`.
    pub force: Vec<(String, String)>,
    /// Operators that may leave the host; all, where it is empty.
    pub only_ops: Vec<String>,
    /// Borders that regions do not cross.
    pub cuts: Vec<Cut>,
    /// Where what was measured of vendors and the host comes from.
    pub profile: ProfileSource,
    /// Carry this out instead of choosing.
    pub plan: Option<Plan>,
    /// What vendors have compiled before, by region of the plan.
    pub artefacts: Artefacts,
    /// Make it an error where a node stays on the host or a vendor fails.
    pub strict: bool,
    /// Say of offloaded nodes, too, what else was considered.
    pub rivals: bool,
}

/// A model with its partition, and nothing compiled yet.
pub struct Partitioned {
    pub model: Model,
    /// The vendors', in their order.
    pub tables: Vec<PatternTable>,
    pub partition: Partition,
    /// What the partition was asked for.
    pub options: Options,
    pub removed: Vec<Removed>,
    pub report: Report,
    pub warnings: Vec<String>,
}

impl Partitioned {
    /// The partitioned model: plain ONNX, each region a call of a local function.
    pub fn partitioned(&self) -> Result<Model, Error> {
        Ok(self.partition.outline(&self.model)?)
    }

    /// Every decision as a step.
    pub fn plan(&self) -> Result<Plan, Error> {
        Ok(Plan::of(&self.partition, &self.model, &self.tables, &self.options, &self.removed)?)
    }
}

/// A partitioned model with its compiled regions.
pub(crate) struct Compiled {
    pub placed: Partitioned,
    pub regions: RegionsByName,
    /// The same regions by what they are made of.
    done: HashMap<Key, Arc<VendorRegion>>,
}

/// What a program leaves to the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOut {
    pub vendors: Vec<String>,
    /// By name.
    pub regions: Vec<String>,
}

impl Compiled {
    /// The model with a call in the place of every compiled region but those that are left out.
    pub fn outlined(&self, left_out: &LeftOut) -> Result<Model, Error> {
        let mut partition = self.placed.partition.clone();
        partition.regions.retain(|region| {
            let is_out =
                left_out.vendors.contains(&region.vendor_name) || left_out.regions.contains(&region.name);
            self.regions.contains_key(region.name.as_str()) && !is_out
        });
        Ok(partition.outline(&self.placed.model)?)
    }
}

/// Vendors' own figures cannot be compared with a guess at the host: it has to be measured.
fn default_policy(cost: &CostModel) -> Policy {
    let host = cost.targets.get(measure::HOST);
    if host.is_some_and(|host| !host.rates.is_empty()) { Policy::Cost } else { Policy::Greedy }
}

impl Placement {
    /// Whether it asks for anything that a plan settles.
    pub(crate) fn is_choice(&self) -> bool {
        let Placement { policy, merge_siblings, exclude, force, only_ops, cuts, plan, .. } = self;
        let lists = !exclude.is_empty() || !force.is_empty() || !only_ops.is_empty() || !cuts.is_empty();
        policy.is_some() || *merge_siblings || plan.is_some() || lists
    }

    fn options(&self, model: &ModelOptions, cost: CostModel) -> Options {
        let disabled = crate::loaded::pass_names().into_iter().filter(|p| !model.enables(p));
        Options {
            policy: self.policy.unwrap_or_else(|| default_policy(&cost)),
            budget_ms: self.budget_ms.unwrap_or(Options::default().budget_ms),
            cost,
            merge_siblings: self.merge_siblings,
            exclude: self.exclude.clone(),
            force: self.force.clone(),
            only_ops: self.only_ops.clone(),
            cuts: self.cuts.clone(),
            rivals: self.rivals,
            disabled_passes: disabled.map(str::to_owned).collect(),
            ..Options::default()
        }
    }
}

/// A model that is being placed.
struct Placing<'a> {
    loaded: Loaded,
    vendors: &'a [Vendor],
    tables: Vec<PatternTable>,
    placement: &'a Placement,
    /// What is asked for; compilation adds to what is denied, measuring to the times.
    options: Options,
    /// On which regions are timed.
    pool: Arc<ThreadPool>,
    warnings: Vec<String>,
}

impl<'a> Placing<'a> {
    fn new(
        mut loaded: Loaded,
        vendors: &'a [Vendor],
        options: &ModelOptions,
        placement: &'a Placement,
        pool: Arc<ThreadPool>,
    ) -> Result<Placing<'a>, Error> {
        let tables: Vec<PatternTable> = vendors.iter().map(|v| v.table.clone()).collect();
        let cost = measure::cost_model(&placement.profile, vendors, pool.threads())?;
        let mut options = placement.options(options, cost);
        let mut warnings = std::mem::take(&mut loaded.warnings);
        if let Some(plan) = &placement.plan {
            let changes = plan.changes(&loaded.model, &tables);
            if let Some(change) = changes.first().filter(|_| placement.strict) {
                return Err(Error::Other(format!("the plan is for something else: {change}")));
            }
            warnings.extend(
                changes.into_iter().map(|change| format!("{change}; the plan is tried all the same")),
            );
            options = plan.options(&options);
        }
        let chosen = vendors.iter().filter(|v| v.device.is_some());
        options.targets = chosen.map(|v| (v.name().to_owned(), v.target())).collect();
        Ok(Placing { loaded, vendors, tables, placement, options, pool, warnings })
    }

    fn partition(&mut self, env: CallEnv<'_>, timings: &mut Timings) -> Result<Partition, Error> {
        let (model, removed) = (&self.loaded.model, &self.loaded.removed);
        let mut ask = Ask::new(self.vendors, model, env);
        let done = match (&self.placement.plan, self.options.policy) {
            (Some(plan), _) => timings
                .time("partition", || replay(model, &self.tables, removed, plan, &self.options, &mut ask)),
            (None, Policy::Measured) => return self.partition_measured(env, timings),
            (None, _) => {
                timings.time("partition", || partition(model, &self.tables, &self.options, &mut ask))
            }
        };
        let failures = ask.warnings;
        // A plan fails with the vendor's words anyway.
        let partition = done?;
        if let Some(failure) = failures.first().filter(|_| self.placement.strict) {
            return Err(Error::Other(failure.clone()));
        }
        failures.into_iter().for_each(|failure| self.warn(failure));
        Ok(partition)
    }

    /// Times regions on the way; the times hold for later rounds, too.
    fn partition_measured(&mut self, env: CallEnv<'_>, timings: &mut Timings) -> Result<Partition, Error> {
        let model = &self.loaded.model;
        let mut ask = Ask::new(self.vendors, model, env);
        let mut measurer = Measurer::new(self.vendors, model, self.pool.clone());
        let (partition, times) = timings.time("partition", || {
            measurer.time_host(&self.loaded.path);
            measurer.time_copies(&mut self.options.cost);
            partition_measured(model, &self.tables, &self.options, &mut ask, &mut measurer)
        })?;
        let warnings = [measurer.warnings, ask.warnings].concat();
        self.options.times = times;
        warnings.into_iter().for_each(|warning| self.warn(warning));
        Ok(partition)
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn done(self, partition: Partition) -> Partitioned {
        let Loaded { path, model, removed, .. } = self.loaded;
        let report = partition.report(&model, &path, &removed);
        let Placing { tables, options, warnings, .. } = self;
        Partitioned { model, tables, partition, options, removed, report, warnings }
    }
}

/// Reads and partitions a file.
pub fn partition_file(
    path: &Path,
    options: &ModelOptions,
    sources: &[VendorSource],
    plugin_options: &PluginOptions,
    placement: &Placement,
    timings: &mut Timings,
) -> Result<Partitioned, Error> {
    let loaded = Loaded::open(path, options, &ReferenceEvaluator, timings)?;
    partition_loaded(loaded, options, sources, plugin_options, placement, timings)
}

/// Partitions a model that was read.
pub(crate) fn partition_loaded(
    loaded: Loaded,
    options: &ModelOptions,
    sources: &[VendorSource],
    plugin_options: &PluginOptions,
    placement: &Placement,
    timings: &mut Timings,
) -> Result<Partitioned, Error> {
    let vendors = vendors::load(sources, plugin_options, timings)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = Arc::new(ThreadPool::new(threads));
    let mut placing = Placing::new(loaded, &vendors, options, placement, pool)?;
    let partition = placing.partition(CallEnv::default(), timings)?;
    Ok(placing.done(partition))
}

/// Partitions a model and has every vendor with code compile its regions.
pub(crate) fn place_and_compile(
    loaded: Loaded,
    vendors: &[Vendor],
    options: &ModelOptions,
    placement: &Placement,
    pool: &Arc<ThreadPool>,
    timings: &mut Timings,
) -> Result<Compiled, Error> {
    let threads = Pool(pool);
    let env = CallEnv { pool: &threads, stop: None };
    let compiler = Compiler::new(vendors, env, placement.artefacts.clone());
    place_with(compiler, loaded, options, placement, pool, timings)
}

/// Places a model again on some of its vendors, which keep what they have compiled.
pub(crate) fn place_again(
    before: &Compiled,
    vendors: &[Vendor],
    options: &ModelOptions,
    placement: &Placement,
    pool: &Arc<ThreadPool>,
) -> Result<Compiled, Error> {
    let threads = Pool(pool);
    let env = CallEnv { pool: &threads, stop: None };
    let compiler =
        Compiler { done: before.done.clone(), ..Compiler::new(vendors, env, Artefacts::default()) };
    let Partitioned { model, removed, report, .. } = &before.placed;
    let loaded = Loaded {
        path: report.model.path.clone().into(),
        model: model.clone(),
        removed: removed.clone(),
        warnings: Vec::new(),
    };
    place_with(compiler, loaded, options, placement, pool, &mut Timings::default())
}

fn place_with(
    mut compiler: Compiler<'_>,
    loaded: Loaded,
    options: &ModelOptions,
    placement: &Placement,
    pool: &Arc<ThreadPool>,
    timings: &mut Timings,
) -> Result<Compiled, Error> {
    let (vendors, env) = (compiler.vendors, compiler.env);
    let mut placing = Placing::new(loaded, vendors, options, placement, pool.clone())?;
    let mut partition = placing.partition(env, timings)?;
    let mut round = 1;
    loop {
        let model = &placing.loaded.model;
        let failed = timings.time("compile", || compiler.compile(&partition, model));
        if failed.is_empty() {
            break;
        }
        for Failed { region, error } in &failed {
            let name = &partition.regions[*region].name;
            if placement.strict {
                return Err(error.clone().into());
            }
            if placement.plan.is_some() {
                return Err(Error::Other(format!("the plan cannot be carried out, region {name}: {error}")));
            }
            placing.warn(format!("{} keeps region {name} on the host: {error}", error.plugin));
        }
        if round < MAX_ROUNDS {
            let model = &placing.loaded.model;
            let denied = failed.iter().flat_map(|f| denials(&partition.regions[f.region], model, &f.error));
            placing.options.denied.extend(denied);
            partition = placing.partition(env, timings)?;
        } else {
            partition = without(&placing, &partition, failed)?;
        }
        round += 1;
    }
    let done = compiler.kept(&partition, &placing.loaded.model);
    let regions = compiler.regions(&partition, &placing.loaded.model);
    compiler.warnings.into_iter().for_each(|warning| placing.warn(warning));
    let placed = placing.done(partition);
    check_strict(placement, &placed.report)?;
    Ok(Compiled { placed, regions, done })
}

/// The partition as it is, but for the regions that failed.
fn without(placing: &Placing<'_>, partition: &Partition, failed: Vec<Failed>) -> Result<Partition, Error> {
    let dropped: Vec<Dropped> = failed
        .into_iter()
        .map(|f| Dropped { region: f.region, kind: Kind::Compile, detail: f.error.to_string() })
        .collect();
    let model = &placing.loaded.model;
    Ok(drop_regions(model, &placing.tables, &placing.options, partition, &dropped)?)
}

fn check_strict(placement: &Placement, report: &Report) -> Result<(), Error> {
    let Some(node) = report.nodes.first().filter(|_| placement.strict) else { return Ok(()) };
    let why = node.reasons.first().map_or(String::new(), |r| format!(": {}", r.detail));
    let (count, name, op) = (report.host.len(), &node.name, &node.op);
    Err(Error::Other(format!("{count} nodes stay on the host, the first is {op} `{name}`{why}")))
}

/// What must not be tried again: the nodes that the vendor named, or else the whole region.
fn denials(region: &Region, model: &Model, error: &PluginError) -> Vec<Denied> {
    let Some(graph) = region.graph.get(model) else { return Vec::new() };
    let denied = |node: NodeId, detail: String| Denied {
        graph: region.graph.text.clone(),
        node: graph.node(node).label.to_string(),
        vendor: region.vendor_name.clone(),
        kind: Kind::Compile,
        detail,
    };
    let named = region.subgraph(graph).map(|s| outer_nodes(region, &s, &error.refused)).unwrap_or_default();
    if named.is_empty() {
        return region.members.iter().map(|m| denied(m.node, error.to_string())).collect();
    }
    named.into_iter().map(|(node, why)| denied(node, why)).collect()
}

/// A region, by its index, that a vendor could not compile.
pub(crate) struct Failed {
    region: usize,
    pub error: PluginError,
}

/// Compiles regions, each once.
pub(crate) struct Compiler<'a> {
    vendors: &'a [Vendor],
    env: CallEnv<'a>,
    artefacts: Artefacts,
    done: HashMap<Key, Arc<VendorRegion>>,
    /// Artefacts that were of no use.
    warnings: Vec<String>,
}

/// What a region is made of, whatever it is called in this round: its composites, and what crosses its border.
type Key = (String, String, Vec<String>);

fn key(region: &Region, model: &Model) -> Key {
    let mut parts = Vec::new();
    if let Some(graph) = region.graph.get(model) {
        for composite in &region.composites {
            parts.push(composite.pattern.clone());
            parts.extend(composite.members.iter().map(|m| m.name(graph)));
        }
        let border = region.inputs.iter().chain(&region.outputs);
        parts.extend(border.map(|v| graph.value(*v).name.to_string()));
    }
    (region.vendor_name.clone(), region.graph.text.clone(), parts)
}

/// Has a vendor compile a region of a model; `None` where it has no code.
pub(crate) fn compile_region(
    vendor: &Vendor,
    region: &Region,
    model: &Model,
    env: CallEnv<'_>,
) -> Result<Option<VendorRegion>, PluginError> {
    let Some((plugin, device)) = vendor.on_device() else { return Ok(None) };
    let Some((subgraph, data)) = region_data(region, model) else { return Ok(None) };
    let threads = u32::try_from(env.pool.threads()).unwrap_or(1);
    let request = CompileRequest { region: &data, device: device.id, threads, timeout: None, env };
    let compiled = plugin.compile(&request)?;
    Ok(Some(VendorRegion::new(region.target.clone(), compiled, &subgraph.graph)))
}

/// A region as a graph of its own, and as plugins see it.
fn region_data(region: &Region, model: &Model) -> Option<(Subgraph, RegionData)> {
    let subgraph = region.subgraph(region.graph.get(model)?).ok()?;
    let specs = region_specs(region, &subgraph);
    let data = adapt::region_data(&region.name, &subgraph.graph, &specs, &opsets(region, model));
    Some((subgraph, data))
}

/// Has a vendor load what it has compiled before; `None` where it wants to compile it anew.
fn load_region(
    vendor: &Vendor,
    region: &Region,
    model: &Model,
    artefact: &Artefact,
    env: CallEnv<'_>,
) -> Result<Option<VendorRegion>, PluginError> {
    let Some((plugin, device)) = vendor.on_device() else { return Ok(None) };
    let fit = plugin.check_artefact(&artefact.compatibility, device.id)?;
    if !matches!(fit, ArtefactFit::Best | ArtefactFit::Works) {
        return Ok(None);
    }
    let Some((subgraph, data)) = region_data(region, model) else { return Ok(None) };
    let signature = Signature::of(&data);
    let compiled = plugin.load(&artefact.bytes, &data.constants, signature, device.id, env)?;
    Ok(Some(VendorRegion::new(region.target.clone(), compiled, &subgraph.graph)))
}

impl<'a> Compiler<'a> {
    pub fn new(vendors: &'a [Vendor], env: CallEnv<'a>, artefacts: Artefacts) -> Self {
        Compiler { vendors, env, artefacts, done: HashMap::new(), warnings: Vec::new() }
    }

    /// A region by its artefact, where there is one that fits, or compiled.
    fn make(&mut self, region: &Region, model: &Model) -> Result<Option<VendorRegion>, PluginError> {
        let vendor = &self.vendors[region.vendor];
        let artefacts = self.artefacts.clone();
        if let Some(artefact) = artefacts.get(&region.name).filter(|a| a.vendor == region.vendor_name) {
            let why = match load_region(vendor, region, model, artefact, self.env) {
                Ok(Some(loaded)) => return Ok(Some(loaded)),
                Ok(None) => format!("{} finds that its artefact does not fit here", vendor.name()),
                Err(error) => error.to_string(),
            };
            self.warnings.push(format!("region {} is compiled anew: {why}", region.name));
        }
        compile_region(vendor, region, model, self.env)
    }

    /// Compiles what has not been compiled yet; the regions that could not be.
    pub fn compile(&mut self, partition: &Partition, model: &Model) -> Vec<Failed> {
        let mut failed = Vec::new();
        for (index, region) in partition.regions.iter().enumerate() {
            let key = key(region, model);
            if self.done.contains_key(&key) {
                continue;
            }
            match self.make(region, model) {
                Ok(Some(compiled)) => drop(self.done.insert(key, Arc::new(compiled))),
                Ok(None) => {}
                Err(error) => failed.push(Failed { region: index, error }),
            }
        }
        failed
    }

    /// What has been compiled of a partition.
    fn kept(&self, partition: &Partition, model: &Model) -> HashMap<Key, Arc<VendorRegion>> {
        let keys = partition.regions.iter().map(|region| key(region, model));
        keys.filter_map(|key| Some((key.clone(), self.done.get(&key)?.clone()))).collect()
    }

    /// Compiled regions by the names that they have in this partition.
    pub fn regions(&self, partition: &Partition, model: &Model) -> RegionsByName {
        let named = |region: &Region| {
            Some((region.name.as_str().into(), self.done.get(&key(region, model))?.clone()))
        };
        partition.regions.iter().filter_map(named).collect()
    }
}
