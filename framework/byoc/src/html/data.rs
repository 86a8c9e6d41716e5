//! What the page shows, as it is written into it.

use std::collections::HashMap;

use byoc_graph::{Graph, Node, NodeId, Type, ValueId, cost};
use byoc_partitioner::{Reason, Region, RoadMap, Told};
use indexmap::IndexMap;
use serde::Serialize;

use super::page::Section;
use super::picture::{Picture, Wire, picture};
use super::sketch::{Flow, Sketch, What};
use crate::Partitioned;

/// Letters of an attribute's value that are shown.
const ATTRIBUTE_LETTERS: usize = 200;

#[derive(Serialize)]
pub struct Data<'a> {
    model: &'a str,
    summary: &'a byoc_partitioner::Summary,
    vendors: &'a [String],
    graphs: Vec<GraphData>,
    removed: &'a [byoc_graph::normalise::Removed],
    road_map: RoadMap,
    sections: &'a [Section],
}

#[derive(Serialize)]
struct GraphData {
    name: String,
    nodes: Vec<NodeData>,
    regions: Vec<RegionData>,
    /// Makers and users, as indices of nodes, and the lines between them.
    edges: Vec<EdgeData>,
    picture: Picture,
}

/// Maker, user, and the lines that leave the maker's region, lie between and enter the user's region.
type EdgeData = (usize, usize, Option<usize>, Option<usize>, Option<usize>);

/// What is drawn like a node and is none.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum ItemKind {
    /// A region's own, of a node that is elsewhere.
    Copy,
    Input,
    Output,
}

impl ItemKind {
    fn is_end(self) -> bool {
        self != ItemKind::Copy
    }
}

#[derive(Serialize)]
struct NodeData {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ItemKind>,
    name: String,
    op: String,
    /// Index of the vendor, none on the host.
    vendor: Option<usize>,
    pattern: Option<String>,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
    attributes: Vec<(String, String)>,
    flops: Option<u64>,
    bytes: Option<u64>,
    reasons: Vec<Told>,
}

impl NodeData {
    /// The type of the first value that it takes or makes.
    fn ty(&self) -> &str {
        let first = self.inputs.first().or(self.outputs.first());
        first.and_then(|operand| operand.ty.as_deref()).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Operand {
    name: String,
    #[serde(rename = "type")]
    ty: Option<String>,
    constant: bool,
}

#[derive(Serialize)]
struct RegionData {
    name: String,
    vendor: usize,
    nodes: usize,
    composites: IndexMap<String, usize>,
    flops: Partly,
    /// Bytes that go in and come out, and of its constants.
    bytes_in: Partly,
    bytes_out: Partly,
    bytes_constant: Partly,
    predicted_us: Option<f64>,
}

/// A sum, and whether it has everything.
#[derive(Serialize)]
struct Partly(u64, bool);

impl Partly {
    fn sum(parts: impl Iterator<Item = Option<u64>>) -> Partly {
        parts.fold(Partly(0, true), |Partly(sum, whole), part| match part {
            Some(part) => Partly(sum.saturating_add(part), whole),
            None => Partly(sum, false),
        })
    }
}

impl<'a> Data<'a> {
    pub fn new(done: &'a Partitioned, sections: &'a [Section]) -> Data<'a> {
        let paths = done.partition.graphs.iter().enumerate();
        let graphs = paths.filter_map(|(i, path)| Some(graph_data(done, i, path.get(&done.model)?)));
        Data {
            model: &done.report.model.path,
            summary: &done.report.summary,
            vendors: &done.report.vendors,
            graphs: graphs.collect(),
            removed: &done.report.removed,
            road_map: done.partition.road_map(&done.model, &done.tables),
            sections,
        }
    }
}

fn graph_data(done: &Partitioned, index: usize, graph: &Graph) -> GraphData {
    let path = &done.partition.graphs[index];
    let regions: Vec<&Region> = done.partition.regions.iter().filter(|r| r.graph == *path).collect();
    let sketch = Sketch::new(graph, &regions);
    let mut owners: HashMap<NodeId, (usize, &str)> = HashMap::new();
    for region in &regions {
        for composite in &region.composites {
            let own = composite.members.iter().filter(|m| m.copy_for.is_none());
            owners.extend(own.map(|m| (m.node, (region.vendor, composite.pattern.as_str()))));
        }
    }
    let mut reasons: HashMap<NodeId, &[Reason]> = HashMap::new();
    let host = done.partition.host.iter().filter(|h| h.graph == index);
    reasons.extend(host.map(|h| (h.node, h.report.reasons.as_slice())));
    let lost = done.partition.offloaded.iter().filter(|o| o.graph == index);
    reasons.extend(lost.map(|o| (o.node, o.reasons.as_slice())));
    let nodes: Vec<NodeData> = sketch
        .items
        .iter()
        .map(|item| match item.what {
            What::Node(id) => {
                let about = reasons.get(&id).copied().unwrap_or_default();
                node_data(done, graph, id, owners.get(&id).copied(), about)
            }
            What::Copy(node, consumer) => {
                let (vendor, pattern) = owners.get(&consumer).copied().unzip();
                let name = format!("{}@{}", graph.node(node).label, graph.node(consumer).label);
                let pattern = pattern.map(str::to_owned);
                let kind = Some(ItemKind::Copy);
                NodeData { kind, name, vendor, pattern, ..node_data(done, graph, node, None, &[]) }
            }
            What::Input(value) => end(graph, value, ItemKind::Input),
            What::Output(value) => end(graph, value, ItemKind::Output),
        })
        .collect();
    let widths: Vec<f32> = nodes.iter().map(width).collect();
    let picture = picture(&sketch, &widths, regions.len());
    let edge = |(f, w): (&Flow, &Wire)| (f.from, f.to, w.leaving, w.between, w.entering);
    let edges = sketch.flows.iter().zip(&picture.wires).map(edge).collect();
    GraphData {
        name: path.text.clone(),
        picture,
        nodes,
        regions: regions.iter().map(|r| region_data(done, graph, r)).collect(),
        edges,
    }
}

/// The width of a box with the texts of this item.
fn width(node: &NodeData) -> f32 {
    let second = if node.kind.is_some_and(ItemKind::is_end) { node.ty().chars().count() } else { 0 };
    let letters = node.op.chars().count().max(node.name.chars().count().min(22)).max(second.min(24));
    (letters as f32 * 6.6 + 26.0).clamp(84.0, 190.0)
}

/// A value that comes in or goes out.
fn end(graph: &Graph, value: ValueId, kind: ItemKind) -> NodeData {
    let what = vec![operand(graph, value)];
    let (inputs, outputs) = match kind {
        ItemKind::Input => (Vec::new(), what),
        _ => (what, Vec::new()),
    };
    NodeData {
        kind: Some(kind),
        name: graph.value(value).name.to_string(),
        op: String::new(),
        vendor: None,
        pattern: None,
        inputs,
        outputs,
        attributes: Vec::new(),
        flops: None,
        bytes: None,
        reasons: Vec::new(),
    }
}

fn node_data(
    done: &Partitioned,
    graph: &Graph,
    id: NodeId,
    owner: Option<(usize, &str)>,
    reasons: &[Reason],
) -> NodeData {
    let node = graph.node(id);
    let cost = cost::of(graph, id);
    let operands = |values: &[Option<ValueId>]| values.iter().flatten().map(|v| operand(graph, *v)).collect();
    NodeData {
        kind: None,
        name: node.label.to_string(),
        op: node.op.name.to_string(),
        vendor: owner.map(|(vendor, _)| vendor),
        pattern: owner.map(|(_, pattern)| pattern.to_owned()),
        inputs: operands(node.inputs()),
        outputs: operands(node.outputs()),
        attributes: attributes(node),
        flops: cost.flops,
        bytes: cost.bytes,
        reasons: reasons.iter().map(|r| Told::new(r, (&node.label, &node.op.name), &done.tables)).collect(),
    }
}

fn operand(graph: &Graph, id: ValueId) -> Operand {
    let value = graph.value(id);
    Operand {
        name: value.name.to_string(),
        ty: value.ty.as_ref().map(Type::to_string),
        constant: graph.is_constant(id),
    }
}

/// Attributes that can be shown in a line.
fn attributes(node: &Node) -> Vec<(String, String)> {
    let shown = node.attrs.iter().filter(|(_, attr)| attr.graphs().is_empty());
    shown.map(|(name, attr)| (name.to_string(), shorten(byoc_partitioner::show_attribute(attr)))).collect()
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(ATTRIBUTE_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn region_data(done: &Partitioned, graph: &Graph, region: &Region) -> RegionData {
    let mut composites = IndexMap::new();
    region.composites.iter().for_each(|c| *composites.entry(c.pattern.clone()).or_default() += 1);
    let size = |v: &ValueId| graph.value(*v).ty.as_ref().and_then(Type::as_tensor).and_then(|t| t.byte_len());
    let bytes = |values: &[ValueId]| Partly::sum(values.iter().map(|v| size(v).map(|n| n as u64)));
    let flops = region.members.iter().map(|m| cost::of(graph, m.node).flops);
    let report = done.report.regions.iter().find(|r| r.name == region.name);
    RegionData {
        name: region.name.clone(),
        vendor: region.vendor,
        nodes: region.members.len(),
        composites,
        flops: Partly::sum(flops),
        bytes_in: bytes(&region.inputs),
        bytes_out: bytes(&region.outputs),
        bytes_constant: bytes(&region.constants),
        predicted_us: report.and_then(|r| r.predicted_us),
    }
}
