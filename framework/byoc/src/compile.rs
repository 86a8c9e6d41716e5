//! From a model and vendors to compiled regions: partition, ask, compile, and partition again without what a
//! vendor could not compile.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use byoc_cpu::pool::ThreadPool;
use byoc_cpu::reference::ReferenceEvaluator;
use byoc_graph::Model;
use byoc_host::{CallEnv, CompileRequest, PluginError, adapt};
use byoc_partitioner::{Denied, Kind, NoCheck, Options, Partition, Region, Report, partition};
use byoc_plugin::table::PatternTable;

use crate::ask::{Ask, opsets, region_specs};
use crate::loaded::{Loaded, ModelOptions};
use crate::regions::{Pool, VendorRegion};
use crate::vendors::{self, PluginOptions, Vendor, VendorSource};
use crate::{Error, Timings};

/// How often a model is partitioned anew because a vendor failed to compile.
const MAX_ROUNDS: usize = 8;

/// What a caller may ask of the placement.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// Merge regions of one vendor that do not feed each other, too.
    pub merge_siblings: bool,
    /// Nodes, by name, or operators that stay on the host.
    pub exclude: Vec<String>,
    /// Nodes that have to go to a target: a vendor's name, or `host`.
    pub force: Vec<(String, String)>,
    /// Make it an error where a node stays on the host or a vendor fails.
    pub strict: bool,
}

/// A model with its partition, and nothing compiled yet.
pub struct Partitioned {
    pub model: Model,
    pub partition: Partition,
    pub report: Report,
    pub warnings: Vec<String>,
}

impl Partitioned {
    /// The partitioned model: plain ONNX, each region a call of a local function.
    pub fn partitioned(&self) -> Result<Model, Error> {
        Ok(self.partition.outline(&self.model)?)
    }
}

/// A partitioned model with its compiled regions.
pub(crate) struct Compiled {
    pub model: Model,
    partition: Partition,
    pub regions: HashMap<Arc<str>, Arc<VendorRegion>>,
    pub report: Report,
    pub warnings: Vec<String>,
}

impl Compiled {
    /// The model with a call in the place of every compiled region but those of the vendors `without`.
    pub fn outlined(&self, without: &[String]) -> Result<Model, Error> {
        let mut partition = self.partition.clone();
        partition
            .regions
            .retain(|r| self.regions.contains_key(r.name.as_str()) && !without.contains(&r.vendor_name));
        Ok(partition.outline(&self.model)?)
    }
}

impl Placement {
    fn options(&self, model: &ModelOptions, denied: Vec<Denied>) -> Options {
        let disabled = crate::loaded::pass_names().into_iter().filter(|p| !model.enables(p));
        Options {
            merge_siblings: self.merge_siblings,
            exclude: self.exclude.clone(),
            force: self.force.clone(),
            denied,
            disabled_passes: disabled.map(str::to_owned).collect(),
            ..Options::default()
        }
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
    let vendors = vendors::load(sources, plugin_options, timings)?;
    let loaded = Loaded::open(path, options, &ReferenceEvaluator, timings)?;
    let mut ask = Ask::new(&vendors, &loaded.model, CallEnv::default());
    let tables: Vec<PatternTable> = vendors.iter().map(|v| v.table.clone()).collect();
    let done = timings.time("partition", || {
        partition(&loaded.model, &tables, &placement.options(options, Vec::new()), &mut ask)
    })?;
    let report = done.report(&loaded.model, path, &loaded.removed);
    let warnings = loaded.warnings.into_iter().chain(ask.warnings).collect();
    Ok(Partitioned { model: loaded.model, partition: done, report, warnings })
}

/// Partitions a model and has every vendor with code compile its regions.
pub(crate) fn place_and_compile(
    loaded: Loaded,
    vendors: &[Vendor],
    options: &ModelOptions,
    placement: &Placement,
    pool: &ThreadPool,
    timings: &mut Timings,
) -> Result<Compiled, Error> {
    let Loaded { path, model, removed, mut warnings } = loaded;
    let tables: Vec<PatternTable> = vendors.iter().map(|v| v.table.clone()).collect();
    let pool = Pool(pool);
    let env = CallEnv { pool: &pool, stop: None };
    let mut compiler = Compiler { vendors, model: &model, env, done: HashMap::new() };
    let mut denied = Vec::new();
    for round in 0.. {
        let options = placement.options(options, denied.clone());
        let mut ask = Ask::new(vendors, &model, env);
        let partition = timings.time("partition", || match vendors {
            [] => partition(&model, &tables, &options, &mut NoCheck),
            _ => partition(&model, &tables, &options, &mut ask),
        })?;
        if let Some(failure) = ask.warnings.first().filter(|_| placement.strict) {
            return Err(Error::Other(failure.clone()));
        }
        merge_warnings(&mut warnings, ask.warnings);
        let failed = timings.time("compile", || compiler.compile(&partition));
        let give_up = round == MAX_ROUNDS;
        if failed.is_empty() || give_up {
            let report = partition.report(&model, &path, &removed);
            let regions = compiler.regions(&partition);
            check_strict(placement, &report)?;
            return Ok(Compiled { model, partition, regions, report, warnings });
        }
        for (region, error) in failed {
            if placement.strict {
                return Err(error.into());
            }
            merge_warnings(
                &mut warnings,
                vec![format!("{} keeps region {} on the host: {error}", error.plugin, region.name)],
            );
            denied.extend(denials(&region, &model, &error));
        }
    }
    unreachable!("the last round returns")
}

fn merge_warnings(warnings: &mut Vec<String>, more: Vec<String>) {
    for warning in more {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
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
    let named = |i: usize| error.refused.iter().find(|(node, _)| *node == i).map(|(_, why)| why.clone());
    let all = error.refused.is_empty();
    let members = region.members.iter().enumerate().filter(|(i, _)| all || named(*i).is_some());
    members
        .map(|(i, member)| Denied {
            graph: region.graph.text.clone(),
            node: graph.node(member.node).label.to_string(),
            vendor: region.vendor_name.clone(),
            kind: Kind::Compile,
            detail: named(i).unwrap_or_else(|| error.to_string()),
        })
        .collect()
}

/// Compiles regions, each once.
struct Compiler<'a> {
    vendors: &'a [Vendor],
    model: &'a Model,
    env: CallEnv<'a>,
    done: HashMap<Key, Arc<VendorRegion>>,
}

/// What a region is made of, whatever it is called in this round.
type Key = (usize, String, Vec<String>);

impl Compiler<'_> {
    fn key(&self, region: &Region) -> Key {
        let graph = region.graph.get(self.model);
        let names = graph.map(|g| region.members.iter().map(|m| m.name(g)).collect());
        (region.vendor, region.graph.text.clone(), names.unwrap_or_default())
    }

    /// Compiles what has not been compiled yet; the regions that could not be.
    fn compile(&mut self, partition: &Partition) -> Vec<(Region, PluginError)> {
        let mut failed = Vec::new();
        for region in &partition.regions {
            let key = self.key(region);
            if self.done.contains_key(&key) {
                continue;
            }
            match self.compile_one(region) {
                Ok(Some(compiled)) => drop(self.done.insert(key, Arc::new(compiled))),
                Ok(None) => {}
                Err(error) => failed.push((region.clone(), error)),
            }
        }
        failed
    }

    fn compile_one(&self, region: &Region) -> Result<Option<VendorRegion>, PluginError> {
        let vendor = &self.vendors[region.vendor];
        let (Some(plugin), Some(outer)) = (&vendor.plugin, region.graph.get(self.model)) else {
            return Ok(None);
        };
        let Ok(subgraph) = region.subgraph(outer) else { return Ok(None) };
        let specs = region_specs(region, &subgraph);
        let data = adapt::region_data(&region.name, &subgraph.graph, &specs, &opsets(region, self.model));
        let threads = u32::try_from(self.env.pool.threads()).unwrap_or(1);
        let device = plugin.devices()[0].id;
        let request = CompileRequest { region: &data, device, threads, timeout: None, env: self.env };
        let compiled = plugin.compile(&request)?;
        Ok(Some(VendorRegion::new(region.vendor_name.clone(), compiled, &subgraph.graph)))
    }

    /// Compiled regions by the names that they have in this partition.
    fn regions(&self, partition: &Partition) -> HashMap<Arc<str>, Arc<VendorRegion>> {
        let named =
            |region: &Region| Some((region.name.as_str().into(), self.done.get(&self.key(region))?.clone()));
        partition.regions.iter().filter_map(named).collect()
    }
}
