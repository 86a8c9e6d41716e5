//! The predicted time of a partition, from its regions alone.

use byoc_graph::{Graph, NodeId, ValueId};

use super::model::Prices;
use super::rates::RegionCost;
use super::work::size;
use crate::place::GraphPath;
use crate::region::{Region, RegionComposite};

/// A sum of times, some of which may not be known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Total {
    pub us: f64,
    /// Something is missing from `us`.
    pub partial: bool,
}

impl Total {
    pub(crate) fn add(&mut self, us: Option<f64>) {
        match us {
            Some(us) => self.us += us,
            None => self.partial = true,
        }
    }
}

/// The time of one graph's partition.
#[derive(Debug, Default)]
pub(crate) struct Predicted {
    pub total: Total,
    /// By region: its call and its work, transfers apart.
    pub regions: Vec<Option<f64>>,
}

pub(crate) fn predict(path: &GraphPath, graph: &Graph, regions: &[&Region], prices: &Prices) -> Predicted {
    let mut predicted = Predicted::default();
    let mut owner: Vec<Option<usize>> = vec![None; graph.node_bound()];
    for (i, region) in regions.iter().enumerate() {
        let us = region_us(graph, region, prices);
        predicted.regions.push(us);
        predicted.total.add(us);
        let own = region.members.iter().filter(|m| m.copy_for.is_none());
        own.for_each(|m| owner[m.node.index()] = Some(i));
    }
    for id in graph.node_ids().filter(|id| owner[id.index()].is_none()) {
        predicted.total.add(prices.host_us(path, graph, id));
    }
    let mut flows = Flows::new(graph, regions, prices, &owner);
    flows.collect();
    for (value, _) in graph.values() {
        let (from, to) = (flows.maker(value), &flows.to[value.index()]);
        if to.iter().any(|memory| *memory != from) {
            let bytes = size(graph, value);
            // A copy of unknown size takes its latency at least.
            predicted.total.partial |= bytes.is_none();
            predicted.total.us += prices.transfer_us(from, to.iter().copied(), bytes.unwrap_or(0));
        }
    }
    predicted
}

/// The work of a region and its call: as it was measured, as its vendor answered, or as its composites tell.
fn region_us(graph: &Graph, region: &Region, prices: &Prices) -> Option<f64> {
    let vendor = &prices.vendors[region.vendor];
    if let Some(us) = prices.times.region_us(region) {
        return Some(us + vendor.switch.us);
    }
    let call_us = vendor.launch_us(region.answer) + vendor.switch.us;
    if let Some(us) = region.answer.compute_us {
        return Some(us + call_us);
    }
    let us = |c: &RegionComposite| {
        let nodes: Vec<NodeId> = c.members.iter().map(|m| m.node).collect();
        Some(prices.composite(graph, (region.vendor, c.pattern_index), &nodes, RegionCost::default())?.us)
    };
    region.composites.iter().try_fold(call_us, |total, c| Some(total + us(c)?))
}

/// Which memories want each value.
struct Flows<'a> {
    graph: &'a Graph,
    regions: &'a [&'a Region],
    prices: &'a Prices,
    owner: &'a [Option<usize>],
    to: Vec<Vec<usize>>,
}

impl<'a> Flows<'a> {
    fn new(
        graph: &'a Graph,
        regions: &'a [&'a Region],
        prices: &'a Prices,
        owner: &'a [Option<usize>],
    ) -> Self {
        Flows { graph, regions, prices, owner, to: vec![Vec::new(); graph.value_bound()] }
    }

    fn memory(&self, region: Option<usize>) -> usize {
        region.map_or(0, |r| self.prices.vendors[self.regions[r].vendor].memory)
    }

    fn maker(&self, value: ValueId) -> usize {
        let producer = self.graph.value(value).producer();
        self.memory(producer.and_then(|(node, _)| self.owner[node.index()]))
    }

    fn collect(&mut self) {
        for (i, region) in self.regions.iter().enumerate() {
            let memory = self.memory(Some(i));
            region.inputs.iter().for_each(|v| self.to[v.index()].push(memory));
        }
        for id in self.graph.node_ids().filter(|id| self.owner[id.index()].is_none()) {
            for value in self.graph.node(id).dependencies().filter(|v| !self.graph.is_constant(*v)) {
                self.to[value.index()].push(0);
            }
        }
        self.graph.outputs().iter().for_each(|v| self.to[v.index()].push(0));
    }
}
