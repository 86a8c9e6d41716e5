//! BatchNormalization → Mul or Add of one constant for each channel: part of its scale and shift.

use byoc_graph::{Graph, NodeId, NodeSpec, Tensor};

use super::batch_normalization::scaling;
use super::{Pass, add_constant, f32s, is_f32, only_output, rank, sole_use};

pub(super) const PASS: Pass = Pass {
    name: "merge_affine",
    about: "makes factors and addends of channels part of the BatchNormalization before them",
    run,
};

fn run(graph: &mut Graph) {
    for id in graph.model_order() {
        let mut norm = Some(id);
        while let Some(id) = norm {
            norm = find(graph, id).map(|found| merge(graph, id, found));
        }
    }
}

struct Found {
    user: NodeId,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

fn find(graph: &Graph, id: NodeId) -> Option<Found> {
    graph.contains_node(id).then_some(())?;
    let norm = graph.node(id);
    norm.is("BatchNormalization").then_some(())?;
    let output = only_output(norm)?;
    let mut scale = f32s(graph, norm.input(1)?)?;
    let mut shift = f32s(graph, norm.input(2)?)?;
    let channels = scale.len();
    scaling(graph, norm, channels)?;
    let (user, i) = sole_use(graph, output)?;
    let node = graph.node(user);
    if !(node.is("Mul") || node.is("Add")) || node.opset < 7 || node.inputs().len() != 2 {
        return None;
    }
    is_f32(graph, only_output(node)?).then_some(())?;
    let constant = node.input(1 - i)?;
    let values = f32s(graph, constant)?;
    let (rank, dims) = (rank(graph, output)?, graph.constant(constant)?.dims());
    // [C, 1, 1] behind ones, or one number.
    let channel = (dims.len() + 1).checked_sub(rank);
    let ones = dims.iter().enumerate().all(|(axis, &d)| Some(axis) == channel || d == 1);
    let each = ones && channel.is_some_and(|axis| dims.get(axis) == Some(&channels)) && dims.len() <= rank;
    let single = values.len() == 1 && dims.len() <= rank;
    (each || single).then_some(())?;
    let value = |c: usize| if single { values[0] } else { values[c] };
    let multiplies = node.is("Mul");
    for (c, (scale, shift)) in scale.iter_mut().zip(&mut shift).enumerate() {
        match multiplies {
            true => (*scale, *shift) = (*scale * value(c), *shift * value(c)),
            false => *shift += value(c),
        }
    }
    Some(Found { user, scale, shift })
}

/// Returns the node that does the work of both.
fn merge(graph: &mut Graph, id: NodeId, found: Found) -> NodeId {
    let channels = found.scale.len();
    let constant = |graph: &mut Graph, name: &str, values: Vec<f32>| {
        add_constant(graph, name, Tensor::from_vec(&[channels], values).expect("one for each channel"))
    };
    let (scale, shift) = (constant(graph, "scale", found.scale), constant(graph, "shift", found.shift));
    let (user, norm) = (graph.remove_node(found.user), graph.remove_node(id));
    let mut inputs = norm.inputs().to_vec();
    (inputs[1], inputs[2]) = (Some(scale), Some(shift));
    let spec = NodeSpec {
        name: user.name.clone(),
        domain: norm.op.domain.clone(),
        op: norm.op.name.clone(),
        opset: norm.opset,
        inputs,
        outputs: user.outputs().to_vec(),
        attrs: norm.attrs.clone(),
        position: user.position,
        ..NodeSpec::default()
    };
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = user.label;
    id
}
