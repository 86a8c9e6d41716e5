//! Quantised images keep their channels last from convolution to convolution.
//!
//! Where others want a value whose twin has its channels last, a DequantizeLinear turns it if that is what comes next.

use byoc_graph::{Attr, Attributes, DType, Dims, Graph, Node, NodeId, NodeSpec, Type, ValueId};

use super::quantised::{quantised, remove_unused};
use super::twins::{Layout, Twins};
use super::{Pass, dtype, f32s, is_f32, only_output};

pub(super) const PASS: Pass = Pass {
    name: "channels_last",
    about: "keeps quantised images with their channels last between convolutions",
    run,
};

const LAST: [i64; 4] = [0, 2, 3, 1];
const FIRST: [i64; 4] = [0, 3, 1, 2];

/// What a node wants of the layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// It computes on images, and faster with the channels last.
    Image,
    /// It does not matter, as long as all inputs have the same.
    Any,
}

fn run(graph: &mut Graph) {
    let mut twins = Twins::<ChannelsLast>::new();
    let order = graph.model_order();
    for &id in &order {
        let twin = |x: &ValueId| twins.contains(*x);
        let convert = match wish(graph, id) {
            Some(Wish::Image) => true,
            Some(Wish::Any) => graph.node(id).inputs().iter().flatten().any(twin),
            None => false,
        };
        if convert {
            let images: Vec<usize> = (0..images(graph.node(id)).count()).collect();
            twins.turn(graph, id, &images, |_, node, spec| {
                spec.domain = "host".into();
                spec.opset = 1;
                match node.attrs.contains_key("axis") {
                    true => spec.attrs.insert("axis".into(), Attr::Int(3)),
                    false => spec.attrs.insert("channels_last".into(), Attr::Int(1)),
                };
            });
        }
    }
    twins.give_back(graph);
    for id in order {
        if graph.contains_node(id) && graph.node(id).is("QuantizeLinear") {
            remove_unused(graph, id);
        }
    }
}

fn wish(graph: &Graph, id: NodeId) -> Option<Wish> {
    let node = graph.node(id);
    let host = &*node.op.domain == "host";
    let output = only_output(node)?;
    let wish = match &*node.op.name {
        "QLinearConv" if host || node.op.domain.is_empty() => {
            is_supported(graph, node).then_some(())?;
            Wish::Image
        }
        "QLinearMaxPool" | "QLinearGlobalAveragePool" if host => Wish::Image,
        "QLinearAdd" | "Lookup" if host => Wish::Any,
        "QLinearConcat" if host && node.attrs.get("axis").and_then(Attr::as_int) == Some(1) => Wish::Any,
        _ => return None,
    };
    let images = images(node).all(|x| turned(graph, x, LAST).is_some());
    (images && turned(graph, output, LAST).is_some()).then_some(wish)
}

/// Whether the kernel can run this convolution whatever the layout.
fn is_supported(graph: &Graph, conv: &Node) -> bool {
    let constants = conv.inputs()[1..].iter().flatten().all(|&x| graph.constant(x).is_some());
    let len = |i: usize| conv.input(i).and_then(|x| graph.constant(x)).map(|x| x.len());
    let channels = conv.input(3).and_then(|w| graph.constant(w)).and_then(|w| w.dims().first().copied());
    let each = |i: usize| len(i) == Some(1) || len(i) == channels;
    let padding = conv.attrs.get("auto_pad").and_then(Attr::as_str).unwrap_or("NOTSET");
    let dtype_of = |x: ValueId| dtype(graph, x).or_else(|| Some(graph.constant(x)?.dtype()));
    let byte = |i: usize| conv.input(i).and_then(dtype_of);
    let bytes = [0, 3, 7].iter().all(|&i| matches!(byte(i), Some(DType::U8 | DType::I8)));
    let scalars = [1, 2, 6, 7].iter().all(|&i| len(i) == Some(1)) && byte(2) == byte(0);
    let scales = [1, 4, 6].iter().all(|&i| conv.input(i).and_then(|x| f32s(graph, x)).is_some());
    let bias = conv.input(8).is_none() || len(8) == channels;
    constants
        && bytes
        && scalars
        && scales
        && each(4)
        && each(5)
        && bias
        && matches!(padding, "NOTSET" | "VALID")
}

/// The inputs of a node that are images.
fn images(node: &Node) -> impl Iterator<Item = ValueId> + '_ {
    let count = if ["QLinearConv", "Lookup"].contains(&&*node.op.name) { 1 } else { node.inputs().len() };
    node.inputs()[..count].iter().copied().flatten()
}

/// The type of a value of four dimensions, these in another order.
fn turned(graph: &Graph, value: ValueId, order: [i64; 4]) -> Option<Type> {
    let ty = graph.value(value).ty.as_ref()?.as_tensor()?;
    let shape: &Dims = ty.shape.as_ref().filter(|shape| shape.len() == 4)?;
    Some(Type::tensor(ty.dtype?, order.map(|i| shape[i as usize].clone())))
}

struct ChannelsLast;

impl Layout for ChannelsLast {
    const NAME: &'static str = "last";

    fn twin(graph: &Graph, value: ValueId) -> Option<Type> {
        turned(graph, value, LAST)
    }

    fn enter(graph: &Graph, value: ValueId, twin: ValueId) -> NodeSpec {
        let producer = graph.value(value).producer().map(|(id, _)| id);
        let quantize = producer.filter(|&id| graph.node(id).is("QuantizeLinear"));
        let coding = quantize.and_then(|id| quantised(graph, graph.node(id), value)?.scalar(graph));
        let x = quantize.and_then(|id| graph.node(id).input(0)).filter(|&x| is_f32(graph, x));
        match (coding, x) {
            (Some(coding), Some(x)) => coded("QuantizeLinear", coding, x, twin),
            _ => transpose(value, twin, LAST),
        }
    }

    fn leave(_: &Graph, value: ValueId, twin: ValueId) -> NodeSpec {
        transpose(twin, value, FIRST)
    }

    fn redirect(graph: &mut Graph, value: ValueId, twin: ValueId) {
        for use_ in graph.value(value).uses().to_vec() {
            dequantise_twin(graph, use_.node, value, twin);
        }
    }
}

fn coded(op: &str, (scale, zero): (f32, i64), from: ValueId, to: ValueId) -> NodeSpec {
    let attrs: Attributes =
        [("scales".into(), Attr::Floats(vec![scale])), ("zeros".into(), Attr::Ints(vec![zero]))]
            .into_iter()
            .collect();
    NodeSpec {
        domain: "host".into(),
        op: op.into(),
        opset: 1,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        attrs,
        ..NodeSpec::default()
    }
}

fn transpose(from: ValueId, to: ValueId, order: [i64; 4]) -> NodeSpec {
    NodeSpec {
        op: "Transpose".into(),
        opset: 13,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        attrs: [("perm".into(), Attr::Ints(order.to_vec()))].into_iter().collect(),
        ..NodeSpec::default()
    }
}

/// Lets a DequantizeLinear of `value` read the twin instead.
fn dequantise_twin(graph: &mut Graph, id: NodeId, value: ValueId, twin: ValueId) -> Option<()> {
    let node = graph.node(id);
    let output = only_output(node).filter(|&y| node.is("DequantizeLinear") && is_f32(graph, y))?;
    let coding = quantised(graph, node, value)?.scalar(graph)?;
    if node.input(0) != Some(value) || node.input(1) == Some(value) || node.input(2) == Some(value) {
        return None;
    }
    let users = graph.value(output).uses().to_vec();
    let turns = |&id: &NodeId| {
        let user = graph.node(id);
        let perm = user.attrs.get("perm").and_then(Attr::as_ints);
        user.is("Transpose") && perm == Some(&LAST) && only_output(user).is_some_and(|y| !graph.is_output(y))
    };
    let users: Vec<NodeId> = users.iter().map(|use_| use_.node).collect();
    if !users.is_empty() && users.iter().all(turns) && !graph.is_output(output) {
        // What is wanted is the twin as numbers.
        let ty = turned(graph, output, LAST)?;
        graph.set_input(id, 0, Some(twin));
        graph.value_mut(output).ty = Some(ty);
        for user in users {
            let transpose = graph.remove_node(user);
            let turned = only_output(&transpose)?;
            graph.replace_uses(turned, output);
            graph.remove_value(turned);
        }
        return Some(());
    }
    let node = graph.remove_node(id);
    let spec = NodeSpec {
        name: node.name.clone(),
        position: node.position,
        ..coded("DequantizeLinear", coding, twin, output)
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = node.label;
    Some(())
}
