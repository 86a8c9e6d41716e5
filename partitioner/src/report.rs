//! The partition report, schema `byoc.partition/1`.

use std::path::Path;

use byoc_graph::normalise::Removed;
use byoc_graph::{Graph, Model, NodeId, Type, ValueId, cost};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::Partition;
use crate::region::Region;

pub const SCHEMA: &str = "byoc.partition/1";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub model: ModelReport,
    pub vendors: Vec<String>,
    pub regions: Vec<RegionReport>,
    /// Names of the nodes that stay on the host.
    pub host: Vec<String>,
    pub nodes: Vec<NodeReport>,
    pub removed: Vec<Removed>,
    pub summary: Summary,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelReport {
    pub path: String,
    /// Before normalisation.
    pub nodes: usize,
    pub opset: IndexMap<String, i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionReport {
    pub name: String,
    pub vendor: String,
    pub target: String,
    pub graph: String,
    pub nodes: Vec<String>,
    pub composites: Vec<CompositeReport>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub constants: Vec<String>,
    pub predicted_us: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompositeReport {
    pub pattern: String,
    pub nodes: Vec<String>,
    pub bindings: IndexMap<String, String>,
}

/// A node that stays on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    pub name: String,
    pub op: String,
    pub graph: String,
    pub target: String,
    pub reasons: Vec<Reason>,
}

/// Why a vendor does not have a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reason {
    pub vendor: String,
    pub pattern: Option<String>,
    pub kind: Kind,
    pub detail: String,
    /// Of a reason of kind `taken`, where it has been found out and not read from a file.
    #[serde(skip)]
    pub rival: Option<Rival>,
}

/// The composite that has a node which a pattern wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    pub vendor: String,
    pub pattern: String,
    /// The root of the composite, and the node that was wanted.
    pub root: String,
    pub node: String,
    pub ahead: Ahead,
    /// What would stand against the pattern all the same.
    pub besides: Option<(Kind, String)>,
}

/// Why one composite was taken before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// A user wants it.
    Forced,
    Cost,
    /// Both are of one pattern, and it was found first.
    SamePattern,
    /// It, or another that has nodes of the match, has this priority, and came first by that, size or order.
    Priority(i64),
}

/// Reasons are the same where they read the same.
impl PartialEq for Reason {
    fn eq(&self, other: &Reason) -> bool {
        let read = |r: &Reason| (r.vendor.clone(), r.pattern.clone(), r.kind, r.detail.clone());
        read(self) == read(other)
    }
}

impl Reason {
    pub fn new(vendor: &str, pattern: Option<&str>, kind: Kind, detail: impl Into<String>) -> Reason {
        let (vendor, pattern) = (vendor.to_owned(), pattern.map(str::to_owned));
        Reason { vendor, pattern, kind, detail: detail.into(), rival: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    NoPattern,
    Structure,
    Attribute,
    Where,
    Escape,
    Cycle,
    Taken,
    Limit,
    Cost,
    User,
    Vendor,
    Compile,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub nodes: usize,
    pub offloaded: usize,
    pub regions: usize,
    /// Bytes of the values that one target makes and another uses, as far as their sizes are known.
    pub boundary_bytes: u64,
    /// Share of the arithmetic, as far as it is known.
    pub offloaded_flops: Option<f64>,
    pub predicted_us: Option<f64>,
    pub greedy_predicted_us: Option<f64>,
    /// The predicted time lacks what nobody knows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub predicted_partial: bool,
}

impl Partition {
    /// The report about this partition of `model`, which was read from `path` and lost `removed` to
    /// normalisation.
    pub fn report(&self, model: &Model, path: &Path, removed: &[Removed]) -> Report {
        let opset = model.opsets.iter().map(|(domain, version)| (domain.to_string(), *version));
        Report {
            schema: SCHEMA.to_owned(),
            model: ModelReport {
                path: path.display().to_string(),
                nodes: self.node_count + removed.len(),
                opset: opset.collect(),
            },
            vendors: self.vendors.clone(),
            regions: self.regions.iter().filter_map(|r| region(model, r)).collect(),
            host: self.host.iter().map(|n| n.report.name.clone()).collect(),
            nodes: self.host.iter().map(|n| n.report.clone()).collect(),
            removed: removed.to_vec(),
            summary: self.summary(model),
        }
    }

    fn summary(&self, model: &Model) -> Summary {
        let mut boundary_bytes = 0u64;
        let (mut all, mut offloaded) = (0.0, 0.0);
        for path in &self.graphs {
            let Some(graph) = path.get(model) else { continue };
            let regions: Vec<&Region> = self.regions.iter().filter(|r| r.graph == *path).collect();
            let target = targets(graph, &regions);
            let bytes = crossings(graph, &target).into_iter().map(|c| c.bytes);
            boundary_bytes = bytes.fold(boundary_bytes, u64::saturating_add);
            for id in graph.node_ids() {
                let flops = cost::of(graph, id).flops.unwrap_or(0) as f64;
                all += flops;
                offloaded += if target[id.index()].is_none() { 0.0 } else { flops };
            }
        }
        Summary {
            nodes: self.node_count,
            offloaded: self.node_count - self.host.len(),
            regions: self.regions.len(),
            boundary_bytes,
            offloaded_flops: (all > 0.0).then(|| offloaded / all),
            predicted_us: self.predicted.map(|total| total.us),
            greedy_predicted_us: self.greedy_predicted.map(|total| total.us),
            predicted_partial: self.predicted.is_some_and(|total| total.partial),
        }
    }
}

/// By node: its region, none on the host.
pub(crate) fn targets(graph: &Graph, regions: &[&Region]) -> Vec<Option<usize>> {
    let mut target = vec![None; graph.node_bound()];
    for (i, region) in regions.iter().enumerate() {
        let own = region.members.iter().filter(|m| m.copy_for.is_none());
        own.for_each(|m| target[m.node.index()] = Some(i));
    }
    target
}

/// A value on its way from the target that makes it to another that uses it.
pub(crate) struct Crossing {
    pub to: Option<usize>,
    /// The first node there that uses it.
    pub user: NodeId,
    pub bytes: u64,
}

/// Each value once for each other target that uses it.
pub(crate) fn crossings(graph: &Graph, target: &[Option<usize>]) -> Vec<Crossing> {
    let mut found = Vec::new();
    for (_, value) in graph.values() {
        let Some((maker, _)) = value.producer() else { continue };
        let from = target[maker.index()];
        let uses = value.uses().iter();
        let mut to: Vec<(Option<usize>, NodeId)> = uses.map(|u| (target[u.node.index()], u.node)).collect();
        to.sort_by_key(|(target, node)| (*target, graph.node(*node).position));
        to.dedup_by_key(|(target, _)| *target);
        let bytes = value.ty.as_ref().and_then(Type::as_tensor).and_then(|t| t.byte_len()).unwrap_or(0);
        let away = to.into_iter().filter(|(t, _)| *t != from);
        found.extend(away.map(|(to, user)| Crossing { to, user, bytes: bytes as u64 }));
    }
    found
}

fn region(model: &Model, region: &Region) -> Option<RegionReport> {
    let graph = region.graph.get(model)?;
    let value = |v: &ValueId| graph.value(*v).name.to_string();
    let names = |members: &[crate::Member]| members.iter().map(|m| m.name(graph)).collect::<Vec<_>>();
    let composites = region.composites.iter().map(|c| CompositeReport {
        pattern: c.pattern.clone(),
        nodes: names(&c.members),
        bindings: c.bindings.iter().map(|(name, v)| (name.clone(), value(v))).collect(),
    });
    Some(RegionReport {
        name: region.name.clone(),
        vendor: region.vendor_name.clone(),
        target: region.target.clone(),
        graph: region.graph.text.clone(),
        nodes: names(&region.members),
        composites: composites.collect(),
        inputs: region.inputs.iter().map(value).collect(),
        outputs: region.outputs.iter().map(value).collect(),
        constants: region.constants.iter().map(value).collect(),
        predicted_us: region.predicted_us,
    })
}

/// A node that stays on the host, with what the report says of it.
#[derive(Debug, Clone)]
pub struct HostNode {
    /// Index among the partition's graphs.
    pub graph: usize,
    pub node: NodeId,
    pub report: NodeReport,
}

/// A node that a vendor has, with what else was considered for it.
#[derive(Debug, Clone)]
pub struct OffloadedNode {
    /// Index among the partition's graphs.
    pub graph: usize,
    pub node: NodeId,
    /// Every other vendor's reason, and other patterns that came near or lost.
    pub reasons: Vec<Reason>,
}
