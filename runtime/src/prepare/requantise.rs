//! QLinearConv → DequantizeLinear → BatchNormalization or activation → QuantizeLinear: done to each code on its way
//! out, step by step as the model has it.

use byoc_cpu::batch_normalization_affine;
use byoc_graph::{Attr, Graph, Node, NodeId};

use super::quantised::{bounds, quantised};
use super::{Pass, absorb, f32s, float, is_f32, only_output, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "fuse_requantisation",
    about: "makes what comes between two quantisations part of the quantised convolution before them",
    run,
};

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        if let Some(found) = find(graph, id) {
            let mut conv = id;
            for &user in &found.nodes {
                let at = graph.node(user).outputs().to_vec();
                absorb(graph, conv, user, |_| {});
                let value = at[0].expect("found with an output");
                conv = graph.value(value).producer().expect("it was just made").0;
            }
            let node = graph.node_mut(conv);
            node.attrs.extend(found.attrs);
        }
    }
}

struct Found {
    /// From DequantizeLinear to QuantizeLinear.
    nodes: Vec<NodeId>,
    attrs: Vec<(std::sync::Arc<str>, Attr)>,
}

fn find(graph: &Graph, id: NodeId) -> Option<Found> {
    if !graph.contains_node(id) || !graph.node(id).is("QLinearConv") {
        return None;
    }
    let conv = graph.node(id);
    let mut nodes = Vec::new();
    let mut attrs = Vec::new();
    let mut add = |name: &str, attr: Attr| attrs.push((name.into(), attr));
    let mut next = |after: &Node| {
        let (user, 0) = sole_use(graph, only_output(after)?)? else { return None };
        only_output(graph.node(user))?;
        nodes.push(user);
        Some(graph.node(user))
    };
    let first = next(conv).filter(|node| node.is("DequantizeLinear"))?;
    let from = quantised(graph, first, only_output(conv)?)?.scalar(graph)?;
    let own = (f32s(graph, conv.input(6)?)?, graph.constant(conv.input(7)?)?.to_i64s()?);
    if own != (vec![from.0], vec![from.1]) || !is_f32(graph, only_output(first)?) {
        return None;
    }
    let mut node = next(first)?;
    if node.is("BatchNormalization") {
        let [scale, shift] = affine(graph, node)?;
        (scale.len() == *graph.constant(conv.input(3)?)?.dims().first()?).then_some(())?;
        add("affine_scale", Attr::Floats(scale));
        add("affine_shift", Attr::Floats(shift));
        node = next(node)?;
    }
    if let Some([low, high]) = bounds(graph, node) {
        add("then_low", Attr::Float(low));
        add("then_high", Attr::Float(high));
        node = next(node)?;
    }
    if !node.is("QuantizeLinear") {
        return None;
    }
    let (scale, zero) = quantised(graph, node, only_output(node)?)?.scalar(graph)?;
    add("then_scale", Attr::Float(scale));
    add("then_zero", Attr::Int(zero));
    Some(Found { nodes, attrs })
}

/// Factor and addend of each channel, as the kernel of BatchNormalization has them.
fn affine(graph: &Graph, norm: &Node) -> Option<[Vec<f32>; 2]> {
    let training = norm.attrs.get("training_mode").and_then(Attr::as_int).unwrap_or(0) != 0;
    let parameter = |i: usize| f32s(graph, norm.input(i)?);
    let (scale, shift, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let fits = [&shift, &mean, &variance].iter().all(|p| p.len() == scale.len());
    let plain = norm.op.domain.is_empty() && norm.opset >= 7 && !training;
    let epsilon = float(norm, "epsilon", 1e-5);
    (fits && plain).then(|| batch_normalization_affine([&scale, &shift, &mean, &variance], epsilon))
}
