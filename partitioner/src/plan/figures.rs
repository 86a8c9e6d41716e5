//! What is known of the parts of a plan when it is made: times, and bytes that cross. Nothing is decided by it.

use std::collections::HashMap;

use byoc_graph::{Model, NodeId};
use byoc_plugin::table::PatternTable;
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::cost::Prices;
use crate::options::Options;
use crate::report::{crossings, targets};
use crate::{Partition, Region};

/// What one region costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionFigures {
    pub graph: String,
    /// Of its first composite.
    pub root: String,
    /// Its call and its work, transfers apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us: Option<f64>,
    /// What it gets from other targets.
    pub bytes: u64,
}

/// What one node on the host costs.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFigures {
    pub us: Option<f64>,
    /// What it gets from other targets and no node of the host before it.
    pub bytes: u64,
}

/// The figures of the partition's regions and nodes on the host, in their orders.
pub fn of(
    partition: &Partition,
    model: &Model,
    tables: &[PatternTable],
    options: &Options,
) -> (Vec<RegionFigures>, Vec<HostFigures>) {
    let prices = Prices::new(&options.cost, tables, &options.times);
    let (mut figures, mut on_host) = (Vec::new(), Vec::new());
    for (index, path) in partition.graphs.iter().enumerate() {
        let Some(graph) = path.get(model) else { continue };
        let regions: Vec<&Region> = partition.regions.iter().filter(|r| r.graph == *path).collect();
        let mut region_bytes = vec![0u64; regions.len()];
        let mut host_bytes: HashMap<NodeId, u64> = HashMap::new();
        for crossing in crossings(graph, &targets(graph, &regions)) {
            let bytes = match crossing.to {
                Some(region) => &mut region_bytes[region],
                None => host_bytes.entry(crossing.user).or_default(),
            };
            *bytes = bytes.saturating_add(crossing.bytes);
        }
        let root = |region: &Region| {
            let first = region.composites.first();
            first.map_or(String::new(), |c| graph.node(c.root).label.to_string())
        };
        let figure = |(region, bytes): (&&Region, u64)| RegionFigures {
            graph: path.text.clone(),
            root: root(region),
            us: region.predicted_us,
            bytes,
        };
        figures.extend(regions.iter().zip(region_bytes).map(figure));
        let host = partition.host.iter().filter(|h| h.graph == index);
        on_host.extend(host.map(|h| HostFigures {
            us: prices.host_us(path, graph, h.node).filter(|_| prices.any),
            bytes: host_bytes.get(&h.node).copied().unwrap_or(0),
        }));
    }
    (figures, on_host)
}

/// The figures of a plan, to be looked up.
pub struct Figures<'p> {
    regions: HashMap<(&'p str, &'p str), &'p RegionFigures>,
    host: HashMap<(&'p str, &'p str), HostFigures>,
}

impl<'p> Figures<'p> {
    pub fn of(plan: &'p Plan) -> Figures<'p> {
        let region = |f: &'p RegionFigures| ((f.graph.as_str(), f.root.as_str()), f);
        let host = plan.host.iter();
        let host =
            host.map(|h| ((h.graph.as_str(), h.node.as_str()), HostFigures { us: h.us, bytes: h.bytes }));
        Figures { regions: plan.regions.iter().map(region).collect(), host: host.collect() }
    }

    /// The region whose first composite has this root.
    pub fn region(&self, graph: &str, root: &str) -> Option<&'p RegionFigures> {
        self.regions.get(&(graph, root)).copied()
    }

    pub fn host(&self, graph: &str, node: &str) -> HostFigures {
        self.host.get(&(graph, node)).copied().unwrap_or_default()
    }
}
