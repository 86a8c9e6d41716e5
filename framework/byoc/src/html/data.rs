//! What the page shows, as it is written into it.

use std::collections::HashMap;

use byoc_graph::{Graph, Node, NodeId, Type, ValueId, cost};
use byoc_partitioner::{Reason, Region, RoadMap, Told};
use indexmap::IndexMap;
use serde::Serialize;

use super::page::Section;
use super::picture::{Picture, picture};
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
    /// Producers and consumers, as indices of nodes.
    edges: Vec<(usize, usize)>,
    picture: Picture,
}

#[derive(Serialize)]
struct NodeData {
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
    flops: u64,
    /// Bytes that go in and come out, and of its constants, as far as sizes are known.
    bytes_in: u64,
    bytes_out: u64,
    bytes_constant: u64,
    predicted_us: Option<f64>,
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
    let order = graph.model_order();
    let place: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
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
    let node = |id: &NodeId| {
        let about = reasons.get(id).copied().unwrap_or_default();
        node_data(done, graph, *id, owners.get(id).copied(), about)
    };
    let mut edges = Vec::new();
    for (to, id) in order.iter().enumerate() {
        let makers = graph.node(*id).dependencies().filter_map(|v| graph.value(v).producer());
        edges.extend(makers.map(|(from, _)| (place[&from], to)));
    }
    edges.dedup();
    GraphData {
        name: path.text.clone(),
        nodes: order.iter().map(node).collect(),
        regions: regions.iter().map(|r| region_data(done, graph, r)).collect(),
        edges,
        picture: picture(graph, &order, &regions),
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
        name: node.label.to_string(),
        op: node.op.name.to_string(),
        vendor: owner.map(|(vendor, _)| vendor),
        pattern: owner.map(|(_, pattern)| pattern.to_owned()),
        inputs: operands(node.inputs()),
        outputs: operands(node.outputs()),
        attributes: attributes(node),
        flops: cost.flops,
        bytes: cost.bytes,
        reasons: reasons.iter().map(|r| Told::new(r, &node.op.name, &done.tables)).collect(),
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
    let bytes =
        |values: &[ValueId]| values.iter().filter_map(size).fold(0u64, |n, s| n.saturating_add(s as u64));
    let flops = region.members.iter().filter_map(|m| cost::of(graph, m.node).flops);
    let report = done.report.regions.iter().find(|r| r.name == region.name);
    RegionData {
        name: region.name.clone(),
        vendor: region.vendor,
        nodes: region.members.len(),
        composites,
        flops: flops.fold(0, u64::saturating_add),
        bytes_in: bytes(&region.inputs),
        bytes_out: bytes(&region.outputs),
        bytes_constant: bytes(&region.constants),
        predicted_us: report.and_then(|r| r.predicted_us),
    }
}
