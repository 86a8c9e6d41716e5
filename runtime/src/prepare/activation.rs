//! Conv, MatMul or Gemm → activation: applied on the way out.

use byoc_graph::{Attr, Graph, Node, NodeId, ValueId};

use super::{Pass, absorb, f32s, float, only_output, product, sole_use};

pub(super) const PASS: Pass =
    Pass { name: "fuse_activation", about: "makes an activation part of the product before it", run };

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some((user, name, params)) = activation_of(graph, id) {
            absorb(graph, id, user, |spec| {
                spec.attrs.insert("activation".into(), Attr::str(name));
                spec.attrs.insert("activation_params".into(), Attr::Floats(params));
            });
        }
    }
}

/// The activation behind a product, with its parameters.
fn activation_of(graph: &Graph, id: NodeId) -> Option<(NodeId, &'static str, Vec<f32>)> {
    product(graph, id)?;
    let (user, 0) = sole_use(graph, only_output(graph.node(id))?)? else { return None };
    let node = graph.node(user);
    if !node.op.domain.is_empty() {
        return None;
    }
    only_output(node)?;
    let (name, params) = match &*node.op.name {
        "Relu" => ("Relu", vec![]),
        "Clip" => ("Clip", clip(graph, node)?),
        "LeakyRelu" => ("LeakyRelu", vec![float(node, "alpha", 0.01)]),
        "Sigmoid" => ("Sigmoid", vec![]),
        "HardSigmoid" => ("HardSigmoid", vec![float(node, "alpha", 0.2), float(node, "beta", 0.5)]),
        "HardSwish" => ("HardSwish", vec![]),
        "Swish" if float(node, "alpha", 1.0) == 1.0 => ("Swish", vec![]),
        "Tanh" => ("Tanh", vec![]),
        "Elu" => ("Elu", vec![float(node, "alpha", 1.0)]),
        "Gelu" => match node.attrs.get("approximate").and_then(Attr::as_str) {
            Some("tanh") => ("GeluTanh", vec![]),
            _ => ("Gelu", vec![]),
        },
        _ => return None,
    };
    Some((user, name, params))
}

/// The bounds of a Clip, where they are constant.
pub(super) fn clip(graph: &Graph, node: &Node) -> Option<Vec<f32>> {
    if node.opset < 11 {
        return Some(vec![float(node, "min", f32::MIN), float(node, "max", f32::MAX)]);
    }
    let bound = |value: Option<ValueId>, default: f32| match value {
        None => Some(default),
        Some(value) => f32s(graph, value)?.first().copied(),
    };
    Some(vec![bound(node.input(1), f32::MIN)?, bound(node.input(2), f32::MAX)?])
}
