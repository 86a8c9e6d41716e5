//! The story of one region: what it computes, what crosses its border, and why it is not larger.

use std::collections::HashMap;

use byoc_graph::{Graph, Model, NodeId, Type, ValueId, cost};
use byoc_plugin::table::PatternTable;
use indexmap::IndexMap;
use serde::Serialize;

use crate::options::Options;
use crate::quotient::Quotient;
use crate::report::{Kind, Reason};
use crate::story::{Operand, Told, operand};
use crate::will::{Side, Will};
use crate::{Partition, Region, place};

/// All that is known of one region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionStory {
    pub region: String,
    pub vendor: String,
    pub graph: String,
    pub nodes: Vec<String>,
    /// By pattern.
    pub composites: IndexMap<String, usize>,
    pub flops: u64,
    pub predicted_us: Option<f64>,
    pub inputs: Vec<Operand>,
    pub outputs: Vec<Operand>,
    pub constants: usize,
    /// As far as sizes are known.
    pub constant_bytes: u64,
    /// What borders on it, in model order.
    pub neighbours: Vec<Neighbour>,
    /// Further regions of the vendor in the graph, which no edge joins with this one.
    pub apart: usize,
}

/// Another region, or nodes on the host that one reason keeps there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbour {
    /// The region's name, or `host`.
    pub target: String,
    /// Its operator, of nodes on the host.
    pub op: Option<String>,
    /// Those that border on the region.
    pub nodes: Vec<String>,
    /// What stands against having it in the region, too.
    pub why: Told,
}

impl Partition {
    /// The story of the region of this name; `options` are those that the partition was made with.
    pub fn region_story(
        &self,
        model: &Model,
        tables: &[PatternTable],
        options: &Options,
        name: &str,
    ) -> Option<RegionStory> {
        let index = self.regions.iter().position(|r| r.name == name)?;
        let region = &self.regions[index];
        let graph = region.graph.get(model)?;
        // Where the wishes cannot be read, there would be no partition.
        let will = Will::of(options, model, &place::graphs(model)).unwrap_or_default();
        let border = Border { partition: self, tables, graph, region, will: &will };
        let neighbours = border.neighbours();
        let is_near = |r: &Region| neighbours.iter().any(|n| n.target == r.name);
        let theirs = self.regions.iter().filter(|r| r.graph == region.graph && r.vendor == region.vendor);
        let apart = theirs.filter(|r| r.name != name && !is_near(r)).count();
        let flops = region.members.iter().filter_map(|m| cost::of(graph, m.node).flops);
        let size = |v: &ValueId| graph.value(*v).ty.as_ref().and_then(Type::as_tensor)?.byte_len();
        let constant_bytes = region.constants.iter().filter_map(size);
        let mut composites = IndexMap::new();
        region.composites.iter().for_each(|c| *composites.entry(c.pattern.clone()).or_default() += 1);
        Some(RegionStory {
            region: name.to_owned(),
            vendor: region.vendor_name.clone(),
            graph: region.graph.text.clone(),
            nodes: region.members.iter().map(|m| m.name(graph)).collect(),
            composites,
            flops: flops.fold(0, u64::saturating_add),
            predicted_us: region.predicted_us,
            inputs: region.inputs.iter().map(|v| operand(graph, *v)).collect(),
            outputs: region.outputs.iter().map(|v| operand(graph, *v)).collect(),
            constants: region.constants.len(),
            constant_bytes: constant_bytes.fold(0, |sum, n| sum.saturating_add(n as u64)),
            neighbours,
            apart,
        })
    }
}

/// Operator, kind and pattern of what keeps nodes on the host.
type HostKey = (String, Kind, Option<String>);

struct Border<'a> {
    partition: &'a Partition,
    tables: &'a [PatternTable],
    graph: &'a Graph,
    region: &'a Region,
    will: &'a Will,
}

impl Border<'_> {
    fn neighbours(&self) -> Vec<Neighbour> {
        let partition = self.partition;
        let mut owner: HashMap<NodeId, usize> = HashMap::new();
        for (i, region) in partition.regions.iter().enumerate().filter(|(_, r)| r.graph == self.region.graph)
        {
            owner.extend(own(region).map(|node| (node, i)));
        }
        let mut by_region: IndexMap<usize, Vec<NodeId>> = IndexMap::new();
        let mut on_host: IndexMap<HostKey, (Vec<String>, Told)> = IndexMap::new();
        for node in self.beside() {
            match owner.get(&node) {
                Some(region) => by_region.entry(*region).or_default().push(node),
                None => {
                    let (op, why) = (self.graph.node(node).op.name.to_string(), self.host_reason(node));
                    let key = (op, why.kind, why.pattern.clone());
                    let entry = on_host.entry(key).or_insert_with(|| (Vec::new(), why));
                    entry.0.push(self.graph.node(node).label.to_string());
                }
            }
        }
        let regions = by_region.into_iter().map(|(index, nodes)| {
            let other = &partition.regions[index];
            let why = match other.vendor == self.region.vendor {
                true => self.not_merged(other),
                false => self.not_taken(nodes[0], other),
            };
            let nodes = nodes.iter().map(|n| self.graph.node(*n).label.to_string()).collect();
            Neighbour { target: other.name.clone(), op: None, nodes, why }
        });
        let host = on_host.into_iter().map(|((op, ..), (nodes, why))| Neighbour {
            target: "host".to_owned(),
            op: Some(op),
            nodes,
            why,
        });
        regions.chain(host).collect()
    }

    /// Nodes outside that make or use what crosses the border, in model order.
    fn beside(&self) -> Vec<NodeId> {
        let inside: Vec<NodeId> = own(self.region).collect();
        let makers = self.region.inputs.iter().filter_map(|v| self.graph.value(*v).producer());
        let users = self.region.outputs.iter().flat_map(|v| self.graph.value(*v).uses());
        let found: Vec<NodeId> = makers.map(|(node, _)| node).chain(users.map(|u| u.node)).collect();
        let order = self.graph.model_order();
        order.into_iter().filter(|n| found.contains(n) && !inside.contains(n)).collect()
    }

    fn told(&self, node: NodeId, reason: &Reason) -> Told {
        let node = self.graph.node(node);
        Told::new(reason, (&node.label, &node.op.name), self.tables)
    }

    fn host_reason(&self, node: NodeId) -> Told {
        let partition = self.partition;
        let is_it = |graph: usize, id: NodeId| id == node && partition.graphs[graph] == self.region.graph;
        let host = partition.host.iter().find(|h| is_it(h.graph, h.node));
        let reasons = host.map_or(&[][..], |h| &h.report.reasons);
        let vendor = &self.region.vendor_name;
        let unknown = Reason::new(vendor, None, Kind::NoPattern, "nothing is known of it");
        self.told(node, reasons.iter().find(|r| r.vendor == *vendor).unwrap_or(&unknown))
    }

    /// Why a node that another vendor has is not in the region.
    fn not_taken(&self, node: NodeId, other: &Region) -> Told {
        let partition = self.partition;
        let is_it = |graph: usize, id: NodeId| id == node && partition.graphs[graph] == self.region.graph;
        let lost = partition.offloaded.iter().find(|o| is_it(o.graph, o.node));
        let vendor = &self.region.vendor_name;
        match lost.and_then(|o| o.reasons.iter().find(|r| r.vendor == *vendor)) {
            Some(reason) => self.told(node, reason),
            None => {
                let detail = format!("{} has it", other.vendor_name);
                self.told(node, &Reason::new(vendor, None, Kind::Taken, detail))
            }
        }
    }

    /// Why two regions of one vendor are not one: what merging tests, in its order.
    fn not_merged(&self, other: &Region) -> Told {
        let vendor = &self.region.vendor_name;
        let table = self.tables.iter().find(|t| t.vendor.name == *vendor);
        let max = table.map_or(usize::MAX, |t| t.vendor.limits.max_region_nodes);
        let size = self.region.members.len() + other.members.len();
        let label = |id: NodeId| &self.graph.node(id).label;
        let (kind, detail, change) = if size > max {
            let detail = format!("{size} nodes are more than max_region_nodes = {max}");
            (Kind::Limit, detail, format!("a higher `max_region_nodes` in {vendor}'s table"))
        } else if let Some((from, to)) = self.cut(other) {
            let detail = format!("there is a cut between `{}` and `{}`", label(from), label(to));
            (Kind::User, detail, "leaving the cut out".to_owned())
        } else if let Some(path) = self.path_between(other) {
            let path: Vec<&str> = path.into_iter().map(|id| &**label(id)).collect();
            let detail = format!("it would wait for itself through {}", path.join(" → "));
            (Kind::Cycle, detail, format!("{vendor} taking the nodes on that path, too"))
        } else {
            let detail = "nothing does now; they were apart when regions were merged".to_owned();
            (Kind::Cost, detail, "a `merge` step for both in an edited plan".to_owned())
        };
        Told { vendor: vendor.clone(), pattern: None, kind, detail, besides: None, change }
    }

    fn cut(&self, other: &Region) -> Option<(NodeId, NodeId)> {
        let ours: Vec<NodeId> = own(self.region).collect();
        let theirs: Vec<NodeId> = own(other).collect();
        let parted = |(a, b): &(NodeId, NodeId)| {
            (ours.contains(a) && theirs.contains(b)) || (ours.contains(b) && theirs.contains(a))
        };
        let cuts = self.will.cuts.iter();
        let cuts = cuts.filter(|c| c.graph.as_ref().is_none_or(|g| *g == self.region.graph.text));
        let mut pairs = cuts.flat_map(|cut| {
            let ids = self.graph.node_ids().filter(|id| *self.graph.node(*id).label == *cut.node);
            ids.flat_map(|id| match cut.side {
                Side::Before => self.graph.predecessors(id).into_iter().map(|p| (p, id)).collect::<Vec<_>>(),
                Side::After => self.graph.successors(id).into_iter().map(|s| (id, s)).collect(),
            })
        });
        pairs.find(parted)
    }

    /// The path that leaves both regions taken together and comes back.
    fn path_between(&self, other: &Region) -> Option<Vec<NodeId>> {
        let order = self.graph.model_order();
        let places: HashMap<NodeId, u32> = order.iter().enumerate().map(|(i, id)| (*id, i as u32)).collect();
        let makers = |id: NodeId| {
            let producers = self.graph.node(id).dependencies().filter_map(|v| self.graph.value(v).producer());
            let mut makers: smallvec::SmallVec<[u32; 4]> = producers.map(|(node, _)| places[&node]).collect();
            makers.sort_unstable();
            makers.dedup();
            makers
        };
        let mut quotient = Quotient::new(order.iter().map(|id| makers(*id)).collect());
        let here = || self.partition.regions.iter().filter(|r| r.graph == self.region.graph);
        for composite in here().flat_map(|r| &r.composites) {
            for copy in composite.members.iter().filter(|m| m.copy_for.is_some()) {
                let users = composite.members.iter().filter(|m| m.copy_for.is_none());
                for user in users.filter(|u| makers(u.node).contains(&places[&copy.node])) {
                    quotient.bypass(places[&copy.node], places[&user.node]);
                }
            }
        }
        for region in here() {
            let nodes: Vec<u32> = own(region).map(|n| places[&n]).collect();
            quotient.contract(&nodes).ok()?;
        }
        let both: Vec<u32> = own(self.region).chain(own(other)).map(|n| places[&n]).collect();
        let path = quotient.contract(&both).err()?;
        Some(path.into_iter().map(|place| order[place as usize]).collect())
    }
}

/// Nodes of a region without copies.
fn own(region: &Region) -> impl Iterator<Item = NodeId> + '_ {
    region.members.iter().filter(|m| m.copy_for.is_none()).map(|m| m.node)
}
