//! Who works at which rate: what a caller knows, and the prices that follow for a set of tables.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId};
use byoc_plugin::table::PatternTable;
use indexmap::IndexMap;

use super::profile::TargetProfile;
use super::rates::{Estimate, Link, Rates, RegionCost};
use super::times::{Part, Times};
use super::work::{is_heavy, of_nodes};
use crate::place::GraphPath;

const HOST: &str = "host";
const COMPUTE: &str = "compute";
const MEMORY: &str = "memory";

/// Rates of a host that nobody has measured: about two cores of a server. They only serve to compare with
/// vendors whose rates are known.
const HOST_COMPUTE: Rates = Rates { fixed_us: Some(1.0), gflops: Some(100.0), gbps: Some(20.0), error: None };
const HOST_MEMORY: Rates = Rates { fixed_us: Some(1.0), gflops: None, gbps: Some(10.0), error: None };
/// A copy between host memory and that of an accelerator on a bus.
const COPY: Link = Link { fixed_us: 5.0, gbps: Some(10.0) };
const LAUNCH_US: f64 = 5.0;

/// What is known of targets by name (`host`, or a vendor's): measured, or told by the plugin.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CostModel {
    pub targets: IndexMap<String, TargetProfile>,
}

impl CostModel {
    pub fn set(&mut self, target: TargetProfile) {
        self.targets.insert(target.name.clone(), target);
    }
}

/// A vendor's side of the prices.
#[derive(Debug)]
pub(crate) struct VendorPrices {
    launch_us: f64,
    /// What each region costs the host beside.
    pub switch: Estimate,
    /// Vendors with the same number share a memory; 0 is the host's.
    pub memory: usize,
    rates: IndexMap<String, Rates>,
    /// Composites that were measured, or their shares of regions that were.
    measured: HashMap<Part, f64>,
    /// By pattern: its name, and what the table says.
    patterns: Vec<(String, Option<Rates>)>,
}

impl VendorPrices {
    /// What a call takes the vendor beside the work, given what it answers about it.
    pub fn launch_us(&self, answered: RegionCost) -> f64 {
        answered.fixed_us.unwrap_or(self.launch_us)
    }

    /// A call takes less than any region; the shortest keeps some time of its own.
    fn cap_launch(&mut self, region_us: f64) {
        self.launch_us = self.launch_us.min(region_us / 2.0);
    }

    /// Divides a measured region among its composites, by what is known of them.
    fn share(&mut self, region_us: f64, parts: &[Part]) {
        let known = |part: &Part| {
            let declared = || self.patterns[part.0].1.as_ref()?.time(part.1);
            self.measured.get(part).copied().or_else(declared)
        };
        let known: Option<Vec<f64>> = parts.iter().map(known).collect();
        let weights = known.filter(|w| w.iter().sum::<f64>() > 0.0).unwrap_or_else(|| vec![1.0; parts.len()]);
        let each = (region_us - self.launch_us) / weights.iter().sum::<f64>();
        self.measured.extend(parts.iter().zip(weights).map(|(part, weight)| (*part, each * weight)));
    }
}

/// The operator as profiles name it.
fn operator(graph: &Graph, id: NodeId) -> String {
    let op = &graph.node(id).op;
    if op.domain.is_empty() { op.name.to_string() } else { format!("{}.{}", op.domain, op.name) }
}

/// Prices of all work on all targets.
#[derive(Debug)]
pub(crate) struct Prices {
    host: IndexMap<String, Rates>,
    pub vendors: Vec<VendorPrices>,
    /// By memory: from the host's into it, and back.
    links: Vec<(Link, Link)>,
    pub times: Times,
    /// Whether anything was measured or declared; if not, nothing is predicted at all.
    pub any: bool,
}

impl Prices {
    pub fn new(model: &CostModel, tables: &[PatternTable], times: &Times) -> Prices {
        let host = model.targets.get(HOST).map(|t| t.rates.clone()).unwrap_or_default();
        let measured = model.targets.values().any(|t| !t.rates.is_empty());
        let declared = tables.iter().flat_map(|t| &t.patterns).any(|p| p.cost.is_some());
        let mut memories: IndexMap<String, (Link, Link)> = IndexMap::new();
        memories.insert(HOST.to_owned(), (Link::default(), Link::default()));
        let vendors = tables.iter().map(|table| {
            let name = &table.vendor.name;
            let target = model.targets.get(name);
            let memory = target.and_then(|t| t.memory.clone()).unwrap_or_else(|| format!("memory of {name}"));
            let (copy_in, copy_out) = target.map_or((None, None), |t| (t.copy_in, t.copy_out));
            let entry = memories.entry(memory);
            let memory = entry.index();
            entry.or_insert((copy_in.unwrap_or(COPY), copy_out.unwrap_or(COPY)));
            VendorPrices {
                launch_us: target.and_then(|t| t.launch_us).unwrap_or(LAUNCH_US),
                switch: target.and_then(|t| t.switch).unwrap_or_default(),
                memory,
                rates: target.map(|t| t.rates.clone()).unwrap_or_default(),
                measured: HashMap::new(),
                patterns: table.patterns.iter().map(|p| (p.name.clone(), p.cost.map(Rates::from))).collect(),
            }
        });
        let mut vendors: Vec<VendorPrices> = vendors.collect();
        times.regions().for_each(|(vendor, us, _)| vendors[vendor].cap_launch(us));
        let (alone, several): (Vec<_>, Vec<_>) = times.regions().partition(|(.., parts)| parts.len() == 1);
        alone.into_iter().chain(several).for_each(|(vendor, us, parts)| vendors[vendor].share(us, parts));
        let any = measured || declared || !times.is_empty();
        Prices { host, vendors, links: memories.into_values().collect(), times: times.clone(), any }
    }

    /// Time of a node on the host.
    pub fn host_us(&self, path: &GraphPath, graph: &Graph, id: NodeId) -> Option<f64> {
        Some(self.host(path, graph, id)?.us)
    }

    /// Nothing for a node with bodies, which are priced by themselves.
    pub fn host(&self, path: &GraphPath, graph: &Graph, id: NodeId) -> Option<Estimate> {
        if graph.bodies(id).next().is_some() {
            return None;
        }
        if let Some(us) = self.times.host_us(path, id) {
            return Some(Estimate::exact(us));
        }
        let name = operator(graph, id);
        let class = if is_heavy(graph, id) { (COMPUTE, HOST_COMPUTE) } else { (MEMORY, HOST_MEMORY) };
        let rates = self.host.get(&name).or(self.host.get(class.0)).copied().unwrap_or(class.1);
        rates.estimate(of_nodes(graph, &[id]))
    }

    /// Whether the time of a node on the host is only that of its class, though other operators were measured: a
    /// kernel may be a hundred times slower than others of its class.
    pub fn is_guess(&self, path: &GraphPath, graph: &Graph, id: NodeId) -> bool {
        let by_operator = self.host.keys().any(|name| name != COMPUTE && name != MEMORY);
        by_operator && self.times.host_us(path, id).is_none() && !self.host.contains_key(&operator(graph, id))
    }

    /// Time of one composite: as it was measured, as its vendor answers, at measured rates, or at those of the
    /// table.
    pub fn composite(
        &self,
        graph: &Graph,
        (vendor, pattern): (usize, usize),
        nodes: &[NodeId],
        answered: RegionCost,
    ) -> Option<Estimate> {
        let work = of_nodes(graph, nodes);
        let vendor = &self.vendors[vendor];
        let (name, declared) = &vendor.patterns[pattern];
        let at_rates = || {
            let class = if nodes.iter().any(|id| is_heavy(graph, *id)) { COMPUTE } else { MEMORY };
            vendor.rates.get(name).or(vendor.rates.get(class))?.estimate(work)
        };
        let known = vendor.measured.get(&(pattern, work)).copied().or(answered.compute_us);
        known.map(Estimate::exact).or_else(at_rates).or_else(|| declared.as_ref()?.estimate(work))
    }

    /// Time to bring a value from the memory where it is made to all the others: through the host's, once in
    /// each direction.
    pub fn transfer_us(&self, from: usize, to: impl IntoIterator<Item = usize>, bytes: u64) -> f64 {
        let mut total = 0.0;
        let mut reached: smallvec::SmallVec<[usize; 4]> = smallvec::SmallVec::new();
        for memory in to {
            if memory == from || reached.contains(&memory) {
                continue;
            }
            if reached.is_empty() {
                total += self.out_us(from, bytes);
            }
            reached.push(memory);
            total += self.in_us(memory, bytes);
        }
        total
    }

    pub fn has_launches(&self) -> bool {
        self.vendors.iter().any(|v| v.launch_us + v.switch.us > 0.0)
    }

    pub fn in_us(&self, memory: usize, bytes: u64) -> f64 {
        self.links[memory].0.time(bytes)
    }

    pub fn out_us(&self, memory: usize, bytes: u64) -> f64 {
        self.links[memory].1.time(bytes)
    }
}
