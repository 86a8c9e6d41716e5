//! Times for the measured policy: regions and host nodes of the model that is being placed, from the cache where
//! they have been measured before.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use byoc_cpu::pool::ThreadPool;
use byoc_graph::{Graph, Model, NodeId};
use byoc_partitioner::plan::model_hash;
use byoc_partitioner::{CostModel, GraphPath, Link, Measure, Partition, Region, RegionComposite};

use super::cache::{self, Cache};
use super::vendor::RegionTimer;
use super::{copies, host, median, profile};
use crate::ModelOptions;
use crate::ask::{opsets, region_specs};
use crate::vendors::Vendor;

pub(crate) struct Measurer<'a> {
    timer: RegionTimer<'a>,
    cache: Cache,
    /// By vendor: all that its times depend on beside the region.
    about: Vec<String>,
    /// By label, of the main graph's nodes.
    host: HashMap<String, f64>,
    /// What could not be measured.
    pub warnings: Vec<String>,
    warned: HashSet<String>,
}

impl<'a> Measurer<'a> {
    pub fn new(vendors: &'a [Vendor], model: &'a Model, pool: Arc<ThreadPool>) -> Measurer<'a> {
        let about = vendors.iter().map(|vendor| about(vendor, pool.threads())).collect();
        let timer = RegionTimer { vendors, model, pool };
        let (cache, host) = (Cache::of_user(), HashMap::new());
        Measurer { timer, cache, about, host, warnings: Vec::new(), warned: HashSet::new() }
    }

    /// Times the model's nodes on the host.
    pub fn time_host(&mut self, path: &Path) {
        let (model, threads) = (self.timer.model, self.timer.pool.threads());
        let program = std::env::current_exe().map(|exe| cache::build_of(&exe)).unwrap_or_default();
        let device = profile::host_identity().device;
        let key = cache::key(&["host", &model_hash(model), &device, &threads.to_string(), &program]);
        if let Some(times) = self.cache.get(&key) {
            self.host = times;
            return;
        }
        match host::measure(path, model, &ModelOptions::default(), threads) {
            Ok(samples) => {
                self.host = samples.into_iter().map(|(label, sample)| (label, sample.us)).collect();
                self.cache.put(&key, &self.host);
            }
            Err(error) => self.warnings.push(format!("the host's nodes cannot be timed: {error}")),
        }
    }

    /// Times copies to and from the vendors' memories, as far as `cost` does not know them.
    pub fn time_copies(&mut self, cost: &mut CostModel) {
        for (vendor, about) in self.timer.vendors.iter().zip(&self.about) {
            let Some((plugin, device)) = vendor.on_device() else { continue };
            let Some(memory) = plugin.memory(device.id) else { continue };
            let Some(target) = cost.targets.get_mut(vendor.name()) else { continue };
            if target.copy_in.is_some() && target.copy_out.is_some() {
                continue;
            }
            let key = cache::key(&["copies", about]);
            let links: Option<(Option<Link>, Option<Link>)> = self.cache.get(&key);
            let links = links.map_or_else(|| copies::with_device(&memory), Ok);
            match links {
                Ok(links) => {
                    self.cache.put(&key, links);
                    target.copy_in = target.copy_in.or(links.0);
                    target.copy_out = target.copy_out.or(links.1);
                }
                Err(error) => self.warnings.push(format!("copies cannot be timed: {error}")),
            }
        }
    }

    /// What a region is, whatever it is called.
    fn key(&self, region: &Region, graph: &Graph) -> Option<String> {
        let mut subgraph = region.subgraph(graph).ok()?;
        let specs: Vec<_> = region_specs(region, &subgraph)
            .into_iter()
            .map(|spec| {
                let label = |id: &NodeId| subgraph.graph.node(*id).label.to_string();
                let value = |v| subgraph.graph.value(v).name.to_string();
                let nodes: Vec<String> = spec.nodes.iter().map(label).collect();
                let bindings: Vec<_> = spec.bindings.into_iter().map(|(name, v)| (name, value(v))).collect();
                format!("{} {nodes:?} {bindings:?}", spec.pattern)
            })
            .collect();
        subgraph.graph.name = "region".into();
        let opsets = opsets(region, self.timer.model);
        let model = Model { graph: subgraph.graph, opsets, ..Model::default() };
        let about = &self.about[region.vendor];
        Some(cache::key(&["region", about, &model_hash(&model), &specs.join("\n")]))
    }
}

/// All that the times of a vendor depend on beside the region.
fn about(vendor: &Vendor, threads: usize) -> String {
    let Some((plugin, device)) = vendor.on_device() else { return String::new() };
    let library = plugin.library();
    let (build, device) = (cache::build_of(&library.path), &device.name);
    let host = profile::host_identity().device;
    let (name, version, options) = (&library.name, &library.version, plugin.options());
    format!("{name:?} {version:?} {build} {device:?} {options:?} on {host:?} {threads}")
}

/// Which composites are regions together.
fn content(partition: &Partition, model: &Model) -> String {
    let region = |region: &Region| {
        let graph = region.graph.get(model)?;
        let composite = |c: &RegionComposite| {
            let names: Vec<String> = c.members.iter().map(|m| m.name(graph)).collect();
            format!("{} {names:?}", c.pattern)
        };
        let composites: Vec<String> = region.composites.iter().map(composite).collect();
        Some(format!("{} {} {}", region.vendor_name, region.graph.text, composites.join(", ")))
    };
    partition.regions.iter().filter_map(region).collect::<Vec<_>>().join("\n")
}

impl Measure for Measurer<'_> {
    fn region_us(&mut self, region: &Region, graph: &Graph) -> Option<f64> {
        self.timer.vendors[region.vendor].plugin.as_ref()?;
        let key = self.key(region, graph)?;
        let kept: Option<f64> = self.cache.get(&key);
        if let Some(us) = kept.filter(|us| us.is_finite() && *us >= 0.0) {
            return Some(us);
        }
        match self.timer.time(region) {
            Ok(us) => {
                self.cache.put(&key, us?);
                us
            }
            Err(error) => {
                let patterns: Vec<&str> = region.composites.iter().map(|c| c.pattern.as_str()).collect();
                let what = format!("{}, {}", region.vendor_name, patterns.join(", "));
                if self.warned.insert(what.clone()) {
                    self.warnings.push(format!("a region ({what}) cannot be timed: {error}"));
                }
                None
            }
        }
    }

    fn placements_us(&mut self, placements: &[&Partition]) -> Option<Vec<f64>> {
        let model = self.timer.model;
        let contents: Vec<String> = placements.iter().map(|partition| content(partition, model)).collect();
        let about = self.about.join("\n");
        let key = cache::key(&["placements", &about, &model_hash(model), &contents.join("\n\n")]);
        let kept: Option<Vec<f64>> = self.cache.get(&key);
        if let Some(times) = kept.filter(|times| times.len() == placements.len()) {
            return Some(times);
        }
        match self.timer.time_placements(placements) {
            Ok(times) => {
                let times: Option<Vec<f64>> =
                    times.map(|t| t.into_iter().map(|mut t| median(&mut t)).collect());
                self.cache.put(&key, &times);
                times
            }
            Err(error) => {
                self.warnings.push(format!("whole placements cannot be timed: {error}"));
                None
            }
        }
    }

    fn host_us(&mut self, path: &GraphPath, node: NodeId) -> Option<f64> {
        let is_main = path.function.is_none() && path.steps.is_empty();
        let label = is_main.then(|| &*self.timer.model.graph.node(node).label)?;
        self.host.get(label).copied()
    }
}
