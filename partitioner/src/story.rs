//! The story of one node: what it computes, who has it and as part of what, what else came near, and what would
//! have to change.

use std::collections::HashMap;

use byoc_graph::normalise::{Removed, Why};
use byoc_graph::{Graph, Model, NodeId, ValueId, cost};
use byoc_plugin::table::PatternTable;
use indexmap::IndexMap;
use serde::Serialize;
use thiserror::Error;

use crate::report::{Kind, Reason, RegionReport, Report};
use crate::{Partition, advice};

/// Names that are suggested for one that is not known.
const SUGGESTED: usize = 5;

/// All that is known of one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    pub node: String,
    pub op: String,
    pub graph: String,
    /// A vendor, `host`, or `removed`.
    pub target: String,
    /// Why normalisation took it away.
    pub removed: Option<String>,
    pub inputs: Vec<Operand>,
    pub outputs: Vec<Operand>,
    pub flops: Option<u64>,
    /// Share of the model's arithmetic.
    pub share: Option<f64>,
    /// More than one where regions have copies of the node.
    pub taken: Vec<Taker>,
    /// What stood against it, or else what else was considered; the nearest first.
    pub reasons: Vec<Told>,
}

/// A value that goes in or comes out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operand {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: Option<String>,
    pub constant: bool,
}

/// The composite that has the node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taker {
    pub vendor: String,
    pub region: String,
    pub region_nodes: usize,
    pub predicted_us: Option<f64>,
    pub pattern: String,
    pub nodes: Vec<String>,
    pub bindings: IndexMap<String, String>,
}

/// A reason with what would have to change for it to go away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    pub vendor: String,
    pub pattern: Option<String>,
    pub kind: Kind,
    pub detail: String,
    /// What would stand against it all the same, if that went away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub besides: Option<String>,
    pub change: String,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("no node and no region is named `{name}`; {}", hint(.near))]
pub struct UnknownNode {
    pub name: String,
    /// Names that are close to it, the closest first.
    pub near: Vec<String>,
}

fn hint(near: &[String]) -> String {
    if near.is_empty() {
        return "nodes are called by their ONNX names, or by their first output where that is empty or not unique"
            .to_owned();
    }
    let near: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
    format!("near it are {}", near.join(", "))
}

impl Told {
    pub fn new(reason: &Reason, (node, op): (&str, &str), tables: &[PatternTable]) -> Told {
        let Reason { vendor, pattern, kind, detail, rival } = reason.clone();
        let change = advice::change(reason, (node, op), tables);
        let besides = rival.and_then(|r| r.besides).map(|(_, words)| words);
        Told { vendor, pattern, kind, detail, besides, change }
    }
}

impl Partition {
    /// The stories of the nodes of this name, one a graph. `report` is this partition's.
    pub fn stories(
        &self,
        model: &Model,
        report: &Report,
        tables: &[PatternTable],
        name: &str,
    ) -> Result<Vec<Story>, UnknownNode> {
        let teller = Teller { partition: self, report, tables, all_flops: total_flops(self, model) };
        let mut stories = Vec::new();
        for (index, path) in self.graphs.iter().enumerate() {
            let Some(graph) = path.get(model) else { continue };
            let here = graph.node_ids().filter(|id| *graph.node(*id).label == *name);
            stories.extend(here.map(|id| teller.tell(index, graph, id)));
        }
        stories.extend(report.removed.iter().filter(|r| r.name == name).map(removed));
        if stories.is_empty() {
            return Err(UnknownNode { name: name.to_owned(), near: self.near(model, report, name) });
        }
        Ok(stories)
    }

    fn near(&self, model: &Model, report: &Report, name: &str) -> Vec<String> {
        let graphs = self.graphs.iter().filter_map(|path| path.get(model));
        let labels = graphs.flat_map(|g| g.node_ids().map(|id| g.node(id).label.to_string()));
        let regions = self.regions.iter().map(|r| r.name.clone());
        let all = labels.chain(report.removed.iter().map(|r| r.name.clone())).chain(regions);
        nearest(name, all)
    }
}

fn total_flops(partition: &Partition, model: &Model) -> f64 {
    let graphs = partition.graphs.iter().filter_map(|path| path.get(model));
    graphs.flat_map(|g| g.node_ids().map(|id| cost::of(g, id).flops.unwrap_or(0) as f64)).sum()
}

fn removed(node: &Removed) -> Story {
    let why = match node.why {
        Why::Constant => "it was a Constant node and is an initializer now",
        Why::Identity => "it passed its input on unchanged",
        Why::Folded => "it was computed from constants, once and for all",
        Why::Unused => "nobody used its results",
        Why::Differentiated => "the nodes that compute it stand in its place",
    };
    Story {
        node: node.name.clone(),
        op: node.op.clone(),
        graph: node.graph.clone(),
        target: "removed".to_owned(),
        removed: Some(why.to_owned()),
        inputs: Vec::new(),
        outputs: Vec::new(),
        flops: None,
        share: None,
        taken: Vec::new(),
        reasons: Vec::new(),
    }
}

struct Teller<'a> {
    partition: &'a Partition,
    report: &'a Report,
    tables: &'a [PatternTable],
    all_flops: f64,
}

impl Teller<'_> {
    fn tell(&self, index: usize, graph: &Graph, id: NodeId) -> Story {
        let node = graph.node(id);
        let path = &self.partition.graphs[index].text;
        let flops = cost::of(graph, id).flops;
        let operands = |values: &[Option<ValueId>]| -> Vec<Operand> {
            values.iter().flatten().map(|v| operand(graph, *v)).collect()
        };
        let regions = self.report.regions.iter().filter(|r| r.graph == *path);
        let host = self.partition.host.iter().find(|h| h.graph == index && h.node == id);
        let taken: Vec<Taker> = regions.flat_map(|r| takers(r, &node.label, host.is_none())).collect();
        let lost = self.partition.offloaded.iter().find(|o| o.graph == index && o.node == id);
        let reasons = host.map(|h| &h.report.reasons).or(lost.map(|o| &o.reasons));
        let vendor = taken.first().filter(|_| host.is_none()).map(|t| t.vendor.clone());
        Story {
            node: node.label.to_string(),
            op: node.op.name.to_string(),
            graph: path.clone(),
            target: vendor.unwrap_or_else(|| "host".to_owned()),
            removed: None,
            inputs: operands(node.inputs()),
            outputs: operands(node.outputs()),
            flops,
            share: flops.filter(|_| self.all_flops > 0.0).map(|f| f as f64 / self.all_flops),
            taken,
            reasons: reasons
                .into_iter()
                .flatten()
                .map(|r| Told::new(r, (&node.label, &node.op.name), self.tables))
                .collect(),
        }
    }
}

pub(crate) fn operand(graph: &Graph, id: ValueId) -> Operand {
    let value = graph.value(id);
    Operand {
        name: value.name.to_string(),
        ty: value.ty.as_ref().map(ToString::to_string),
        constant: graph.is_constant(id),
    }
}

/// The composites of a region that have the node, or a copy of it, the node itself first.
fn takers(region: &RegionReport, name: &str, own: bool) -> Vec<Taker> {
    let is_copy = |n: &str| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('@'));
    let mut composites: Vec<_> =
        region.composites.iter().filter(|c| c.nodes.iter().any(|n| n == name || is_copy(n))).collect();
    composites.sort_by_key(|c| !(own && c.nodes.iter().any(|n| n == name)));
    let taker = |c: &crate::CompositeReport| Taker {
        vendor: region.vendor.clone(),
        region: region.name.clone(),
        region_nodes: region.nodes.len(),
        predicted_us: region.predicted_us,
        pattern: c.pattern.clone(),
        nodes: c.nodes.clone(),
        bindings: c.bindings.clone(),
    };
    composites.into_iter().map(taker).collect()
}

/// The names closest to `name`: those that hold it first, then by pairs of letters in common (Dice's
/// coefficient), which also finds words in another order.
fn nearest(name: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let wanted = pairs(name);
    let mut scored: Vec<(f64, String)> = Vec::new();
    for candidate in all {
        let holds = candidate.to_lowercase().contains(&name.to_lowercase());
        let score = dice(&wanted, &pairs(&candidate)) + f64::from(u8::from(holds));
        if score > 0.3 {
            scored.push((score, candidate));
        }
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(SUGGESTED).map(|(_, name)| name).collect()
}

fn pairs(text: &str) -> HashMap<(char, char), usize> {
    let chars: Vec<char> = text.to_lowercase().chars().collect();
    let mut counts = HashMap::new();
    for pair in chars.windows(2) {
        *counts.entry((pair[0], pair[1])).or_default() += 1;
    }
    counts
}

fn dice(a: &HashMap<(char, char), usize>, b: &HashMap<(char, char), usize>) -> f64 {
    let common: usize = a.iter().map(|(pair, n)| (*n).min(b.get(pair).copied().unwrap_or(0))).sum();
    let total: usize = a.values().sum::<usize>() + b.values().sum::<usize>();
    if total == 0 { 0.0 } else { 2.0 * common as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let all = ["conv1_relu", "conv2", "softmax", "block/conv1", "pool"];
        let near = |name| nearest(name, all.iter().map(ToString::to_string));
        assert_eq!(near("conv1"), ["conv1_relu", "block/conv1", "conv2"].map(String::from).to_vec());
        assert_eq!(near("sofmax"), ["softmax"]);
        assert!(near("zzz").is_empty());
    }
}
