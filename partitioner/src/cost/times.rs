//! What was measured on one model: its own regions, and its own nodes on the host.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId};
use indexmap::IndexMap;

use super::rates::Work;
use super::work::of_nodes;
use crate::place::GraphPath;
use crate::region::{Member, Region};

/// Times of regions and host nodes of the model that they were measured on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    regions: IndexMap<RegionKey, RegionTime>,
    /// By the graph, as reports name it, and the node.
    host: HashMap<(String, NodeId), f64>,
}

/// What a region is made of, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RegionKey {
    vendor: usize,
    graph: String,
    composites: Vec<(usize, Vec<Member>)>,
}

/// One composite's pattern and work: those that have both in common count as the same.
pub(crate) type Part = (usize, Work);

#[derive(Debug, Clone, PartialEq)]
struct RegionTime {
    us: f64,
    parts: Vec<Part>,
}

impl RegionKey {
    pub fn of(region: &Region) -> RegionKey {
        let composites = region.composites.iter().map(|c| (c.pattern_index, c.members.clone()));
        RegionKey {
            vendor: region.vendor,
            graph: region.graph.text.clone(),
            composites: composites.collect(),
        }
    }
}

impl Times {
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Notes what one call of a region takes.
    pub fn put_region(&mut self, region: &Region, graph: &Graph, us: f64) {
        self.regions.insert(RegionKey::of(region), RegionTime { us, parts: parts(region, graph) });
    }

    /// Notes what a node takes on the host.
    pub fn put_host(&mut self, path: &GraphPath, node: NodeId, us: f64) {
        self.host.insert((path.text.clone(), node), us);
    }

    pub(crate) fn region_us(&self, region: &Region) -> Option<f64> {
        if self.regions.is_empty() { None } else { Some(self.regions.get(&RegionKey::of(region))?.us) }
    }

    pub(crate) fn host_us(&self, path: &GraphPath, node: NodeId) -> Option<f64> {
        if self.host.is_empty() { None } else { self.host.get(&(path.text.clone(), node)).copied() }
    }

    /// Measured regions: vendor, time of a call, and what it consists of; in the order of measuring.
    pub(crate) fn regions(&self) -> impl Iterator<Item = (usize, f64, &[Part])> {
        self.regions.iter().map(|(key, time)| (key.vendor, time.us, &time.parts[..]))
    }
}

/// A region's composites as patterns and work.
pub(crate) fn parts(region: &Region, graph: &Graph) -> Vec<Part> {
    let part = |c: &crate::region::RegionComposite| {
        let nodes: Vec<NodeId> = c.members.iter().map(|m| m.node).collect();
        (c.pattern_index, of_nodes(graph, &nodes))
    };
    region.composites.iter().map(part).collect()
}
