//! A sketch with its regions as boxes and lines: every region is one box of the outer drawing, and a drawing of
//! its own inside.

use std::collections::HashMap;

use byoc_graph::ValueId;
use serde::Serialize;

use super::layout::{Bend, Edge, Layout, layout};
use super::sketch::{Flow, Sketch};

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
    /// By item of the sketch.
    pub nodes: Vec<Place>,
    /// By region: lines inside, from the region's left top corner.
    pub inside: Vec<Vec<Inner>>,
    /// By flow of the sketch: the lines that it is drawn with.
    #[serde(skip)]
    pub wires: Vec<Wire>,
}

/// A line inside the maker's region, one between boxes, and one inside the user's region, as far as there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wire {
    pub leaving: Option<usize>,
    pub between: Option<usize>,
    pub entering: Option<usize>,
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

/// Where an item is.
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

/// Makes boxes of this sketch's items, which are as wide as given, and of its regions.
pub fn picture(sketch: &Sketch, widths: &[f32], regions: usize) -> Picture {
    let insides: Vec<Inside> = (0..regions).map(|r| Inside::new(sketch, widths, r)).collect();
    let mut boxes = Vec::new();
    let nowhere = Place { in_box: 0, region: None, x: 0.0, y: 0.0, w: 0.0, h: NODE_HEIGHT };
    let mut nodes = vec![nowhere; sketch.items.len()];
    let mut region_box = vec![usize::MAX; regions];
    for (i, item) in sketch.items.iter().enumerate() {
        let w = widths[i];
        nodes[i].w = w;
        let sizes =
            |region, node, (w, h), (fw, fh)| Box { layer: 0, x: 0.0, fx: 0.0, w, h, fw, fh, region, node };
        match item.region {
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
    let outer = outer_edges(sketch, &nodes, &insides, &boxes);
    let folded: Vec<Edge> = outer.edges.iter().map(|e| Edge { leaves: 0.0, enters: 0.0, ..*e }).collect();
    let edges = outer.edges;
    let widths = |f: &dyn Fn(&Box) -> f32| boxes.iter().map(f).collect::<Vec<_>>();
    let open = layout(&widths(&|b| b.w), &edges);
    let shut = layout(&widths(&|b| b.fw), &folded);
    for (i, b) in boxes.iter_mut().enumerate() {
        (b.layer, b.x, b.fx) = (open.layer[i], open.x[i], shut.x[i]);
    }
    Picture {
        layers: open.layers,
        lines: lines(&edges, &open, &shut),
        wires: wires(sketch, &insides, &outer.line_of),
        boxes,
        nodes,
        inside: insides.into_iter().map(|i| i.lines).collect(),
    }
}

fn wires(sketch: &Sketch, insides: &[Inside], between: &[Option<usize>]) -> Vec<Wire> {
    let inner = |item: usize, flow: usize| {
        let region = sketch.items[item].region?;
        insides[region].line_of.get(&flow).copied()
    };
    let wire = |(i, flow): (usize, &Flow)| Wire {
        leaving: inner(flow.from, i),
        between: between[i],
        entering: inner(flow.to, i).filter(|_| between[i].is_some()),
    };
    sketch.flows.iter().enumerate().map(wire).collect()
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

/// Edges between boxes, with the ports of open regions.
struct Outer {
    edges: Vec<Edge>,
    /// By flow.
    line_of: Vec<Option<usize>>,
}

fn outer_edges(sketch: &Sketch, nodes: &[Place], insides: &[Inside], boxes: &[Box]) -> Outer {
    let (mut edges, mut seen): (Vec<Edge>, HashMap<_, usize>) = (Vec::new(), HashMap::new());
    let mut line_of = Vec::with_capacity(sketch.flows.len());
    for flow in &sketch.flows {
        let (from, to) = (&nodes[flow.from], &nodes[flow.to]);
        // A region's value arrives once, whoever uses it there.
        if from.in_box == to.in_box {
            line_of.push(None);
            continue;
        }
        let line = *seen.entry((flow.value, flow.from, to.in_box)).or_insert(edges.len());
        line_of.push(Some(line));
        if line < edges.len() {
            continue;
        }
        let port = |place: &Place, out: bool| {
            let port = place.region.and_then(|r| insides[r].ports.get(&(flow.value, flow.from, out)));
            port.map_or(0.0, |x| x - boxes[place.in_box].w / 2.0)
        };
        let (leaves, enters) = (port(from, true), port(to, false));
        edges.push(Edge { from: from.in_box, to: to.in_box, leaves, enters });
    }
    Outer { edges, line_of }
}

/// A value, the item that makes it, and whether it goes out.
type Port = (ValueId, usize, bool);

/// The drawing inside a region.
struct Inside {
    size: (f32, f32),
    /// By item.
    centre: HashMap<usize, (f32, f32)>,
    /// How far from the left values cross the border.
    ports: HashMap<Port, f32>,
    lines: Vec<Inner>,
    /// By flow.
    line_of: HashMap<usize, usize>,
}

impl Inside {
    fn new(sketch: &Sketch, widths: &[f32], region: usize) -> Inside {
        let members: Vec<usize> =
            (0..sketch.items.len()).filter(|i| sketch.items[*i].region == Some(region)).collect();
        let at: HashMap<usize, usize> = members.iter().enumerate().map(|(k, i)| (*i, k)).collect();
        let mut widths: Vec<f32> = members.iter().map(|i| widths[*i]).collect();
        let (mut edges, mut ports) = (Vec::new(), Vec::new());
        let mut port_of: HashMap<Port, usize> = HashMap::new();
        let mut port = |port: Port| {
            *port_of.entry(port).or_insert_with(|| {
                ports.push(port);
                widths.push(PORT_WIDTH);
                widths.len() - 1
            })
        };
        let (mut seen, mut line_of) = (HashMap::new(), HashMap::new());
        for (i, flow) in sketch.flows.iter().enumerate() {
            let (from, to) = match (at.get(&flow.from), at.get(&flow.to)) {
                (Some(&from), Some(&to)) => (from, to),
                (None, Some(&to)) => (port((flow.value, flow.from, false)), to),
                (Some(&from), None) => (from, port((flow.value, flow.from, true))),
                (None, None) => continue,
            };
            let line = *seen.entry((from, to)).or_insert(edges.len());
            line_of.insert(i, line);
            if line == edges.len() {
                edges.push(Edge { from, to, leaves: 0.0, enters: 0.0 });
            }
        }
        let drawn = layout(&widths, &edges);
        Inside { line_of, ..Inside::arrange(&members, &ports, &edges, &drawn) }
    }

    fn arrange(members: &[usize], ports: &[Port], edges: &[Edge], drawn: &Layout) -> Inside {
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
        let top = |v: usize| match v.checked_sub(members.len()).map(|p| ports[p].2) {
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
            line_of: HashMap::new(),
        }
    }
}
