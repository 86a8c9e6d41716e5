//! float16 arithmetic is done in float32, as other runtimes do: rounded where it leaves, not at every step.

use std::sync::Arc;

use byoc_graph::{Attr, DType, Graph, Node, NodeId, NodeSpec, Origin, Slot, Tensor, Type, ValueId, schema};
use indexmap::{IndexMap, IndexSet};

use super::{Pass, add_constant, dtype};

pub(super) const PASS: Pass =
    Pass { name: "promote_f16", about: "computes in float32 what a model computes in float16", run };

/// Operators that compute, besides those that are element-wise or heavy and reductions.
const COMPUTES: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "CumSum",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GridSample",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MaxPool",
    "MeanVarianceNormalization",
    "RMSNormalization",
    "Resize",
    "Softmax",
];

/// Element-wise operators whose meaning is the element type itself.
const CONVERTS: &[&str] = &["BitCast", "Cast", "CastLike"];

/// The version of Cast that this pass writes.
const CAST: i64 = 13;

fn run(graph: &mut Graph) {
    let promoted = promoted(graph);
    for &id in &promoted {
        widen_outputs(graph, id, &promoted);
    }
    // What is still float16 now comes from elsewhere.
    let mut widened = IndexMap::new();
    for &id in &promoted {
        widen_inputs(graph, id, &mut widened);
    }
    for &value in widened.keys() {
        let unused = graph.value(value).uses().is_empty() && !graph.is_output(value);
        if unused && matches!(graph.value(value).origin(), Origin::Constant(_)) {
            graph.remove_value(value);
        }
    }
}

/// The nodes that are to run in float32, in model order.
fn promoted(graph: &Graph) -> IndexSet<NodeId> {
    let mut promoted = IndexSet::new();
    for id in graph.model_order() {
        let node = graph.node(id);
        let made_by_promoted = |value: &ValueId| {
            graph
                .value(*value)
                .producer()
                .is_some_and(|(by, _)| is_f16(graph, *value) && promoted.contains(&by))
        };
        let follows = || node.inputs().iter().flatten().any(made_by_promoted);
        if all_types_known(graph, node) && (computes(node) || moves(graph, node) && follows()) {
            promoted.insert(id);
        }
    }
    promoted.retain(|&id| values(graph.node(id)).any(|value| is_f16(graph, value)));
    promoted
}

fn computes(node: &Node) -> bool {
    let traits = |name: &str| {
        let schema = schema::lookup("", name, node.opset);
        schema.is_some_and(|s| (s.is_elementwise() || s.is_compute_heavy()) && !s.is_data_movement())
    };
    let name = &*node.op.name;
    let listed = COMPUTES.contains(&name) || schema::REDUCTIONS.contains(&name);
    node.op.domain.is_empty() && !CONVERTS.contains(&name) && (listed || traits(name))
}

/// Whether a node hands elements on, so that they may as well stay float32.
fn moves(graph: &Graph, node: &Node) -> bool {
    let widens = || {
        let to = node.output(0).and_then(|value| dtype(graph, value));
        node.is("Cast") && matches!(to, Some(DType::F32 | DType::F64))
    };
    let schema = schema::lookup("", &node.op.name, node.opset);
    node.op.domain.is_empty() && schema.is_some_and(|s| s.is_data_movement() || widens())
}

fn values(node: &Node) -> impl Iterator<Item = ValueId> + '_ {
    node.inputs().iter().chain(node.outputs()).flatten().copied()
}

fn all_types_known(graph: &Graph, node: &Node) -> bool {
    values(node).all(|value| dtype(graph, value).is_some())
}

fn is_f16(graph: &Graph, value: ValueId) -> bool {
    dtype(graph, value) == Some(DType::F16)
}

fn in_f32(ty: &Option<Type>) -> Option<Type> {
    let mut tensor = ty.as_ref()?.as_tensor()?.clone();
    tensor.dtype = Some(DType::F32);
    Some(Type::Tensor(tensor))
}

/// Makes the outputs of a node float32, with a Cast back in front of those who need float16.
fn widen_outputs(graph: &mut Graph, id: NodeId, promoted: &IndexSet<NodeId>) {
    for value in graph.node(id).outputs().iter().flatten().copied().collect::<Vec<_>>() {
        if !is_f16(graph, value) {
            continue;
        }
        let uses = graph.value(value).uses().to_vec();
        let inside = |slot: Slot, user: NodeId| match slot {
            Slot::Input(i) if promoted.contains(&user) => Some(i as usize),
            _ => None,
        };
        if graph.is_output(value) || uses.iter().any(|u| inside(u.slot, u.node).is_none()) {
            // The float16 value keeps the name, by which outputs and bodies are known.
            let (name, ty) = (graph.value(value).name.clone(), graph.value(value).ty.clone());
            let fresh = graph.fresh_name(&format!("{name}_f32"));
            graph.rename(value, fresh).expect("the name is fresh");
            let half = graph.add_value(name, ty).expect("the name was just given up");
            graph.replace_uses(value, half);
            for use_ in uses {
                if let Some(i) = inside(use_.slot, use_.node) {
                    graph.set_input(use_.node, i, Some(value));
                }
            }
            add_cast(graph, value, half, DType::F16, graph.node(id).position);
        }
        graph.value_mut(value).ty = in_f32(&graph.value(value).ty);
    }
}

/// Gives a node float32 in place of its float16 inputs; `widened` has those that were met before.
fn widen_inputs(graph: &mut Graph, id: NodeId, widened: &mut IndexMap<ValueId, ValueId>) {
    for i in 0..graph.node(id).inputs().len() {
        let Some(value) = graph.node(id).input(i).filter(|&value| is_f16(graph, value)) else { continue };
        let known = widened.get(&value).copied();
        let wide = known.unwrap_or_else(|| widen(graph, value, graph.node(id).position));
        widened.insert(value, wide);
        graph.set_input(id, i, Some(wide));
    }
}

fn widen(graph: &mut Graph, value: ValueId, position: u32) -> ValueId {
    let name = format!("{}_f32", graph.value(value).name);
    if let Some(tensor) = graph.constant(value).and_then(|tensor| constant_in_f32(tensor)) {
        return add_constant(graph, &name, tensor);
    }
    let (name, ty) = (graph.fresh_name(&name), in_f32(&graph.value(value).ty));
    let wide = graph.add_value(name, ty).expect("the name is fresh");
    add_cast(graph, value, wide, DType::F32, position);
    wide
}

fn constant_in_f32(tensor: &Tensor) -> Option<Tensor> {
    let elements = tensor.to_f64s()?.into_iter().map(|x| x as f32).collect();
    Tensor::from_vec::<f32>(tensor.dims(), elements).ok()
}

fn add_cast(graph: &mut Graph, from: ValueId, to: ValueId, dtype: DType, position: u32) {
    // Named apart from the node before it, which may be called as its output was.
    let name: Arc<str> = format!("{}_as_{dtype}", graph.value(from).name).into();
    let spec = NodeSpec {
        name,
        op: "Cast".into(),
        opset: CAST,
        inputs: vec![Some(from)],
        outputs: vec![Some(to)],
        attrs: [("to".into(), Attr::Int(dtype as i64))].into_iter().collect(),
        position,
        ..NodeSpec::default()
    };
    graph.add_node(spec).expect("nothing makes the value yet");
}
