//! A blocked convolution of single pixels and the depthwise one behind it become one, where what lies between them is so
//! large that it would leave the cache.

use byoc_graph::{Attr, Graph, Node, NodeId, ValueId};

use super::{Pass, absorb, elements_of_one, f32s, only_output, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "expand",
    about: "joins blocked convolutions of pixels with depthwise ones behind them",
    run,
};

/// Elements between the two from which it pays.
const WORTH: i64 = 64 * 1024;
/// The most channels to expand, whose weights for two blocks fit the first-level cache beside the pixels.
const MOST_CHANNELS: usize = 256;

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some((expand, depthwise)) = pair(graph, id) {
            join(graph, expand, depthwise);
        }
    }
}

/// A convolution that expands, if this is one, and the depthwise one behind it.
fn pair(graph: &Graph, id: NodeId) -> Option<(NodeId, NodeId)> {
    if !graph.contains_node(id) {
        return None;
    }
    let node = graph.node(id);
    let [expanded, input, 1, 1] = weights(graph, node)? else { return None };
    let between = only_output(node)?;
    let expands = group(node) == Some(1)
        && all(node, "strides", 1)
        && all(node, "pads", 0)
        && *input <= MOST_CHANNELS
        && is_blocked(graph, node.input(0)?)
        && node.input(2).is_none_or(|bias| f32s(graph, bias).is_some_and(|b| b.len() == *expanded))
        && node.input(3).is_none()
        && matches!(activation(node), None | Some("" | "Relu" | "Clip"))
        && elements_of_one(graph, between)? >= WORTH;
    let (user, 0) = sole_use(graph, between).filter(|_| expands)? else { return None };
    let node = graph.node(user);
    let [outputs, 1, ..] = weights(graph, node)? else { return None };
    let depthwise = outputs == expanded && group(node)? == *outputs as i64 && node.input(3).is_none();
    depthwise.then_some((id, user))
}

fn join(graph: &mut Graph, expand: NodeId, depthwise: NodeId) {
    let last = graph.node(depthwise);
    let (inputs, attrs) = ([last.input(1), last.input(2)], last.attrs.clone());
    absorb(graph, expand, depthwise, |spec| {
        spec.op = "BlockedExpandDepthwise".into();
        let first = std::mem::replace(&mut spec.attrs, attrs);
        for (name, value) in first {
            if name.starts_with("activation") {
                spec.attrs.insert(format!("expand_{name}").into(), value);
            }
        }
        spec.inputs.resize(3, None);
        spec.inputs.extend(inputs);
    });
}

/// The dimensions of a blocked convolution's constant weights.
fn weights<'a>(graph: &'a Graph, node: &Node) -> Option<&'a [usize]> {
    if &*node.op.domain != "host" || &*node.op.name != "BlockedConv" {
        return None;
    }
    Some(graph.constant(node.input(1)?)?.dims())
}

fn group(node: &Node) -> Option<i64> {
    node.attrs.get("group").map_or(Some(1), Attr::as_int)
}

fn activation(node: &Node) -> Option<&str> {
    node.attrs.get("activation").and_then(Attr::as_str)
}

/// Whether all of an attribute's numbers are the same, or it is left out.
fn all(node: &Node, name: &str, value: i64) -> bool {
    let ints = node.attrs.get(name).map(Attr::as_ints);
    ints.is_none_or(|ints| ints.is_some_and(|ints| ints.iter().all(|&x| x == value)))
}

/// Whether an image is in blocks, as those of few channels are not.
fn is_blocked(graph: &Graph, x: ValueId) -> bool {
    super::rank(graph, x) == Some(5)
}
