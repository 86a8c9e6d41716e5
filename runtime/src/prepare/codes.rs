//! What else stands between DequantizeLinear and QuantizeLinear is computed on the codes.
//!
//! Addition, joining and pooling become `host.QLinear…`, with the formula of the float operators; what only moves
//! elements stays itself where the codes mean the same before and behind it.

use byoc_graph::{Attr, Attributes, Graph, Node, NodeId, NodeSpec, ValueId};

use super::quantised::{Quantised, bounds, dequantize, only_producer, quantised, remove_unused};
use super::{Pass, is_f32, only_output, rank, same_shape};

pub(super) const PASS: Pass = Pass {
    name: "quantise_codes",
    about: "computes additions, joins and poolings of dequantised tensors on their integers",
    run,
};

/// Operators that hand single elements on.
const MOVES: &[&str] = &["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            replace(graph, found);
        }
    }
}

struct Found {
    domain: &'static str,
    op: String,
    inputs: Vec<ValueId>,
    /// Inputs behind those, as they are.
    others: Vec<Option<ValueId>>,
    attrs: Attributes,
    opset: i64,
    /// From QuantizeLinear back to the operator.
    nodes: Vec<NodeId>,
    dequantize: Vec<NodeId>,
}

/// What ends in this QuantizeLinear.
fn find(graph: &Graph, last: NodeId) -> Option<Found> {
    if !graph.contains_node(last) || !graph.node(last).is("QuantizeLinear") {
        return None;
    }
    let quantize = graph.node(last);
    let y = quantised(graph, quantize, only_output(quantize)?)?;
    let to = y.scalar(graph)?;
    let mut nodes = vec![last, only_producer(graph, quantize.input(0)?)?];
    let cut = bounds(graph, graph.node(nodes[1]));
    if cut.is_some() {
        nodes.push(only_producer(graph, graph.node(nodes[1]).input(0)?)?);
    }
    let node = graph.node(*nodes.last()?);
    let moves = MOVES.contains(&&*node.op.name);
    let count = if moves { 1 } else { node.inputs().len() };
    let sources: Vec<NodeId> =
        node.inputs()[..count].iter().map(|&x| dequantize(graph, x?)).collect::<Option<_>>()?;
    let integers = |&id: &NodeId| quantised(graph, graph.node(id), graph.node(id).input(0)?);
    let x: Vec<Quantised> = sources.iter().map(integers).collect::<Option<_>>()?;
    let mut codings: Vec<(f32, i64)> = x.iter().map(|x| x.scalar(graph)).collect::<Option<_>>()?;
    if !node.op.domain.is_empty() || !is_f32(graph, only_output(node)?) || (cut.is_some() && !node.is("Add"))
    {
        return None;
    }
    let inputs = x.iter().map(|x| x.integers).collect();
    let (domain, op, mut attrs) = match &*node.op.name {
        _ if moves => {
            (codings == [to] && x[0].dtype == y.dtype).then_some(())?;
            ("", node.op.name.to_string(), node.attrs.clone())
        }
        "Add" => {
            same_shape(graph, node.input(0)?, node.input(1)?).then_some(())?;
            let mut attrs = Attributes::default();
            if let Some([low, high]) = cut {
                attrs.insert("low".into(), Attr::Float(low));
                attrs.insert("high".into(), Attr::Float(high));
            }
            ("host", "QLinearAdd".into(), attrs)
        }
        "Concat" => {
            let rank = rank(graph, node.input(0)?)? as i64;
            let axis = node.attrs.get("axis").and_then(Attr::as_int)?;
            let axis = if axis < 0 { axis + rank } else { axis };
            ("host", "QLinearConcat".into(), [("axis".into(), Attr::Int(axis))].into_iter().collect())
        }
        "MaxPool" | "GlobalAveragePool" if is_simple_image(graph, node) => {
            ("host", format!("QLinear{}", node.op.name), node.attrs.clone())
        }
        _ => return None,
    };
    if !moves {
        codings.push(to);
        attrs.insert("scales".into(), Attr::Floats(codings.iter().map(|c| c.0).collect()));
        attrs.insert("zeros".into(), Attr::Ints(codings.iter().map(|c| c.1).collect()));
    }
    let others = node.inputs()[count..].to_vec();
    Some(Found { domain, op, inputs, others, attrs, opset: node.opset, nodes, dequantize: sources })
}

/// Whether a pooling is over height and width, its windows inside of what its padding says.
fn is_simple_image(graph: &Graph, node: &Node) -> bool {
    let zero = |name: &str| node.attrs.get(name).and_then(Attr::as_int).unwrap_or(0) == 0;
    let image = node.input(0).and_then(|x| rank(graph, x)) == Some(4);
    image && zero("ceil_mode") && zero("storage_order")
}

fn replace(graph: &mut Graph, found: Found) {
    let removed: Vec<Node> = found.nodes.iter().map(|&id| graph.remove_node(id)).collect();
    let last = &removed[0];
    let spec = NodeSpec {
        name: last.name.clone(),
        domain: found.domain.into(),
        op: found.op.into(),
        opset: if found.domain.is_empty() { found.opset } else { 1 },
        inputs: found.inputs.into_iter().map(Some).chain(found.others).collect(),
        outputs: last.outputs().to_vec(),
        attrs: found.attrs,
        position: last.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = last.label.clone();
    for id in found.dequantize {
        remove_unused(graph, id);
    }
}
