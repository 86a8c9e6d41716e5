//! A graph with its regions as boxes and lines: every region is one box of the outer drawing, and a drawing of
//! its own inside.

use std::collections::HashMap;

use byoc_graph::{Graph, NodeId, ValueId};
use byoc_partitioner::Region;
use serde::Serialize;

use super::layout::{Bend, Edge, Layout, layout};

const NODE_HEIGHT: f32 = 40.0;
const LAYER_GAP: f32 = 36.0;
/// Around the nodes of a region, and the bar with its name.
const MARGIN: f32 = 18.0;
const BAR: f32 = 26.0;
const PORT_WIDTH: f32 = 10.0;
const FOLDED: (f32, f32) = (190.0, 48.0);

/// Boxes of a graph. Positions of boxes are a layer and a centre, for regions open (`x`) and folded (`fx`).
#[derive(Debug, Serialize)]
pub struct Picture {
    pub boxes: Vec<Box>,
    pub lines: Vec<Line>,
    pub layers: usize,
    /// By node of the graph, in model order.
    pub nodes: Vec<Place>,
    /// By region: lines inside, from the region's left top corner.
    pub inside: Vec<Vec<Inner>>,
}

#[derive(Debug, Serialize)]
pub struct Box {
    pub layer: usize,
    pub x: f32,
    pub fx: f32,
    /// Width and height, open.
    pub w: f32,
    pub h: f32,
    /// Width and height, folded.
    pub fw: f32,
    pub fh: f32,
    /// The region that it is, or else the node.
    pub region: Option<usize>,
    pub node: Option<usize>,
}

/// Where a node is.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    #[serde(rename = "box")]
    pub in_box: usize,
    pub region: Option<usize>,
    /// The centre, from the left top corner of the box.
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

/// A line between boxes.
#[derive(Debug, Serialize)]
pub struct Line {
    pub from: usize,
    pub to: usize,
    pub leaves: f32,
    pub enters: f32,
    /// Layer, centre open, centre folded.
    pub bends: Vec<(usize, f32, f32)>,
}

/// A line inside a region, as points from its left top corner.
#[derive(Debug, Serialize)]
pub struct Inner {
    pub points: Vec<(f32, f32)>,
}

/// The width of a node's box with this much text in it.
fn node_width(graph: &Graph, id: NodeId) -> f32 {
    let node = graph.node(id);
    let letters = node.op.name.chars().count().max(node.label.chars().count().min(22));
    (letters as f32 * 6.6 + 26.0).clamp(84.0, 190.0)
}

pub fn picture(graph: &Graph, order: &[NodeId], regions: &[&Region]) -> Picture {
    let index: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let mut home = vec![None; order.len()];
    for (r, region) in regions.iter().enumerate() {
        region.members.iter().filter(|m| m.copy_for.is_none()).for_each(|m| home[index[&m.node]] = Some(r));
    }
    let insides: Vec<Inside> =
        (0..regions.len()).map(|r| Inside::new(graph, order, &index, &home, r)).collect();
    let mut boxes = Vec::new();
    let mut nodes =
        vec![Place { in_box: 0, region: None, x: 0.0, y: 0.0, w: 0.0, h: NODE_HEIGHT }; order.len()];
    let mut region_box = vec![usize::MAX; regions.len()];
    for (i, id) in order.iter().enumerate() {
        let w = node_width(graph, *id);
        nodes[i].w = w;
        let sizes =
            |region, node, (w, h), (fw, fh)| Box { layer: 0, x: 0.0, fx: 0.0, w, h, fw, fh, region, node };
        match home[i] {
            None => {
                (nodes[i].in_box, nodes[i].x, nodes[i].y) = (boxes.len(), w / 2.0, NODE_HEIGHT / 2.0);
                boxes.push(sizes(None, Some(i), (w, NODE_HEIGHT), (w, NODE_HEIGHT)));
            }
            Some(r) => {
                if region_box[r] == usize::MAX {
                    region_box[r] = boxes.len();
                    boxes.push(sizes(Some(r), None, insides[r].size, FOLDED));
                }
                (nodes[i].in_box, nodes[i].region) = (region_box[r], Some(r));
                (nodes[i].x, nodes[i].y) = insides[r].centre[&i];
            }
        }
    }
    let (edges, folded) = outer_edges(graph, order, &index, &nodes, &insides, &boxes);
    let widths = |f: &dyn Fn(&Box) -> f32| boxes.iter().map(f).collect::<Vec<_>>();
    let open = layout(&widths(&|b| b.w), &edges);
    let shut = layout(&widths(&|b| b.fw), &folded);
    for (i, b) in boxes.iter_mut().enumerate() {
        (b.layer, b.x, b.fx) = (open.layer[i], open.x[i], shut.x[i]);
    }
    Picture {
        layers: open.layers,
        lines: lines(&edges, &open, &shut),
        boxes,
        nodes,
        inside: insides.into_iter().map(|i| i.lines).collect(),
    }
}

fn lines(edges: &[Edge], open: &Layout, shut: &Layout) -> Vec<Line> {
    let line = |(i, e): (usize, &Edge)| {
        // Layers do not depend on sizes, so both drawings bend in the same ones.
        let both = open.bends[i].iter().zip(&shut.bends[i]);
        let bends = both.map(|(o, s): (&Bend, &Bend)| (o.layer, o.x, s.x)).collect();
        Line { from: e.from, to: e.to, leaves: e.leaves, enters: e.enters, bends }
    };
    edges.iter().enumerate().map(line).collect()
}

/// Edges between boxes, with the ports of open regions, and without.
fn outer_edges(
    graph: &Graph,
    order: &[NodeId],
    index: &HashMap<NodeId, usize>,
    nodes: &[Place],
    insides: &[Inside],
    boxes: &[Box],
) -> (Vec<Edge>, Vec<Edge>) {
    let (mut edges, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for id in order {
        let to = &nodes[index[id]];
        for value in graph.node(*id).dependencies() {
            let Some((maker, _)) = graph.value(value).producer() else { continue };
            let from = &nodes[index[&maker]];
            // A region's value arrives once, whoever uses it there.
            if from.in_box == to.in_box || !seen.insert((value, to.in_box)) {
                continue;
            }
            let port = |place: &Place, out: bool| {
                let port = place.region.and_then(|r| insides[r].ports.get(&(value, out)));
                port.map_or(0.0, |x| x - boxes[place.in_box].w / 2.0)
            };
            edges.push(Edge {
                from: from.in_box,
                to: to.in_box,
                leaves: port(from, true),
                enters: port(to, false),
            });
        }
    }
    let folded = edges.iter().map(|e| Edge { leaves: 0.0, enters: 0.0, ..*e }).collect();
    (edges, folded)
}

/// The drawing inside a region.
struct Inside {
    size: (f32, f32),
    /// By node.
    centre: HashMap<usize, (f32, f32)>,
    /// By value and whether it goes out: how far from the left it crosses the border.
    ports: HashMap<(ValueId, bool), f32>,
    lines: Vec<Inner>,
}

impl Inside {
    fn new(
        graph: &Graph,
        order: &[NodeId],
        index: &HashMap<NodeId, usize>,
        home: &[Option<usize>],
        region: usize,
    ) -> Inside {
        let members: Vec<usize> = (0..order.len()).filter(|i| home[*i] == Some(region)).collect();
        let at: HashMap<usize, usize> = members.iter().enumerate().map(|(k, i)| (*i, k)).collect();
        let mut widths: Vec<f32> = members.iter().map(|i| node_width(graph, order[*i])).collect();
        let (mut edges, mut ports) = (Vec::new(), Vec::new());
        let mut port_of: HashMap<(ValueId, bool), usize> = HashMap::new();
        let mut port = |value, out, widths: &mut Vec<f32>| {
            *port_of.entry((value, out)).or_insert_with(|| {
                ports.push((value, out));
                widths.push(PORT_WIDTH);
                widths.len() - 1
            })
        };
        let edge = |from, to| Edge { from, to, leaves: 0.0, enters: 0.0 };
        for (k, &i) in members.iter().enumerate() {
            let node = graph.node(order[i]);
            for value in node.dependencies() {
                let Some((maker, _)) = graph.value(value).producer() else { continue };
                match at.get(&index[&maker]) {
                    Some(&from) => edges.push(edge(from, k)),
                    None => edges.push(edge(port(value, false, &mut widths), k)),
                }
            }
            for &value in node.outputs().iter().flatten() {
                if graph.value(value).uses().iter().any(|u| !at.contains_key(&index[&u.node])) {
                    edges.push(edge(k, port(value, true, &mut widths)));
                }
            }
        }
        edges.dedup();
        let drawn = layout(&widths, &edges);
        Inside::arrange(&members, &ports, &edges, &drawn)
    }

    fn arrange(members: &[usize], ports: &[(ValueId, bool)], edges: &[Edge], drawn: &Layout) -> Inside {
        // Layers of nothing but ports and bends need no height.
        let mut heights = vec![0.0; drawn.layers];
        (0..members.len()).for_each(|k| heights[drawn.layer[k]] = NODE_HEIGHT + LAYER_GAP);
        let mut height = BAR + MARGIN;
        let mut rows = Vec::with_capacity(drawn.layers);
        for layer in &heights {
            rows.push(height + if *layer > 0.0 { NODE_HEIGHT / 2.0 } else { 0.0 });
            height += layer;
        }
        height += MARGIN - LAYER_GAP;
        let row = |layer: usize| rows[layer];
        let at = |v: usize| drawn.x[v] + MARGIN;
        let top = |v: usize| match v.checked_sub(members.len()).map(|p| ports[p].1) {
            None => row(drawn.layer[v]) - NODE_HEIGHT / 2.0,
            Some(true) => height,
            Some(false) => 0.0,
        };
        let bottom = |v: usize| if v < members.len() { top(v) + NODE_HEIGHT } else { top(v) };
        let line = |(edge, bends): (&Edge, &Vec<Bend>)| {
            let bends = bends.iter().map(|b| (b.x + MARGIN, row(b.layer)));
            let ends = ((at(edge.from), bottom(edge.from)), (at(edge.to), top(edge.to)));
            Inner { points: std::iter::once(ends.0).chain(bends).chain([ends.1]).collect() }
        };
        Inside {
            size: (drawn.width + 2.0 * MARGIN, height),
            centre: members.iter().enumerate().map(|(k, i)| (*i, (at(k), row(drawn.layer[k])))).collect(),
            ports: ports.iter().enumerate().map(|(p, port)| (*port, at(members.len() + p))).collect(),
            lines: edges.iter().zip(&drawn.bends).map(line).collect(),
        }
    }
}
