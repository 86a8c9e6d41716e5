//! Rewritings of the host's part of a model, after partitioning and before a program is built.
//!
//! Each pass works on one graph; the driver runs it on the main graph, on the bodies inside, and on local
//! functions except those of vendors. A pass may make operators of the domain `host`, which only this
//! runtime's kernels know: `host.Conv`, `host.MatMul` and `host.Gemm` are the operators of those names with
//! further inputs (bias, then an addend of the output's shape) and the attributes `activation` and
//! `activation_params`; `host.Attention` is a whole attention.

use std::sync::Arc;

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Attr, DType, Dim, Graph, Model, Node, NodeId, NodeSpec, Slot, Tensor, ValueId};

mod activation;
mod addend;
mod affine;
mod attention;
mod batch_normalization;
mod bias;
mod blocked;
mod cast;
mod channel_shuffle;
mod channels_last;
mod codes;
mod expand;
mod forms;
mod halve;
mod lookup;
mod parts;
mod precision;
mod projections;
mod promote_f16;
mod quantised;
mod requantise;
mod rotary;
mod transposed;
mod twins;

pub use precision::reduce;

/// One rewriting.
pub struct Pass {
    /// As `--disable-pass` takes it.
    pub name: &'static str,
    pub about: &'static str,
    run: fn(&mut Graph),
}

/// All passes, in the order in which they run.
pub const PASSES: &[Pass] = &[
    parts::PASS,
    promote_f16::PASS,
    cast::PASS,
    quantised::PASS,
    codes::PASS,
    requantise::PASS,
    lookup::PASS,
    channels_last::PASS,
    rotary::PASS,
    attention::PASS,
    projections::PASS,
    forms::PASS,
    affine::PASS,
    batch_normalization::PASS,
    bias::PASS,
    addend::PASS,
    transposed::PASS,
    activation::PASS,
    channel_shuffle::PASS,
    blocked::PASS,
    expand::PASS,
    halve::PASS,
];

/// Runs the passes that `enabled` lets through.
pub fn prepare(model: &mut Model, enabled: &dyn Fn(&str) -> bool) {
    for pass in PASSES.iter().filter(|p| enabled(p.name)) {
        let mut open = false;
        each_graph(model, &mut |graph| {
            let before = graph.value_bound();
            (pass.run)(graph);
            open |= pass.name == parts::PASS.name && graph.value_bound() > before;
        });
        if open {
            // Where inference stops, what lies between the parts stays unknown, and later passes leave it alone.
            let _ = infer(model, &InferOptions::default());
        }
    }
}

/// Rewrites the main graph, local functions that are no vendor's, and all bodies inside.
fn each_graph(model: &mut Model, rewrite: &mut dyn FnMut(&mut Graph)) {
    rewrite_deep(&mut model.graph, rewrite);
    let own = model.functions.iter_mut().filter(|(id, _)| !id.domain.starts_with("byoc."));
    own.for_each(|(_, function)| rewrite_deep(&mut function.body, rewrite));
}

fn rewrite_deep(graph: &mut Graph, rewrite: &mut dyn FnMut(&mut Graph)) {
    rewrite(graph);
    for id in graph.node_ids().collect::<Vec<_>>() {
        for attr in graph.node_mut(id).attrs.values_mut() {
            attr.graphs_mut().iter_mut().for_each(|body| rewrite_deep(body, rewrite));
        }
    }
}

/// The one node that uses a value, as its input `i`; `None` where there are others.
fn sole_use(graph: &Graph, value: ValueId) -> Option<(NodeId, usize)> {
    match graph.value(value).uses() {
        [use_] if !graph.is_output(value) => match use_.slot {
            Slot::Input(i) => Some((use_.node, i as usize)),
            Slot::Capture(_) => None,
        },
        _ => None,
    }
}

/// The only output of a node that has one.
fn only_output(node: &Node) -> Option<ValueId> {
    match node.outputs() {
        [Some(value)] => Some(*value),
        _ => None,
    }
}

/// The element type of a tensor, where it is known.
fn dtype(graph: &Graph, value: ValueId) -> Option<DType> {
    graph.value(value).ty.as_ref()?.as_tensor()?.dtype
}

fn is_f32(graph: &Graph, value: ValueId) -> bool {
    dtype(graph, value) == Some(DType::F32)
}

fn rank(graph: &Graph, value: ValueId) -> Option<usize> {
    match graph.constant(value) {
        Some(tensor) => Some(tensor.rank()),
        None => Some(graph.value(value).ty.as_ref()?.shape()?.len()),
    }
}

/// The elements of one image of a batch, however many there are.
fn elements_of_one(graph: &Graph, batch: ValueId) -> Option<i64> {
    let shape = graph.value(batch).ty.as_ref()?.shape()?;
    shape.iter().skip(1).map(Dim::value).try_fold(1i64, |n, d| n.checked_mul(d?))
}

/// Whether two values have the same shape for certain.
fn same_shape(graph: &Graph, a: ValueId, b: ValueId) -> bool {
    let shape = |v: ValueId| graph.value(v).ty.as_ref().and_then(|t| t.shape());
    match (shape(a), shape(b)) {
        (Some(a), Some(b)) => a == b && a.iter().all(|d| d.is_known()),
        _ => false,
    }
}

/// The operators whose kernels can take more in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Product {
    Conv,
    MatMul,
    Gemm,
}

/// The product that a node computes in f32, if it does and nothing follows it inside that would be in the way.
fn product(graph: &Graph, id: NodeId) -> Option<Product> {
    // An earlier rewriting may have taken it.
    if !graph.contains_node(id) {
        return None;
    }
    let node = graph.node(id);
    let value = only_output(node)?;
    let host = &*node.op.domain == "host";
    if !(host || node.op.domain.is_empty()) || !is_f32(graph, value) || node.attrs.contains_key("activation")
    {
        return None;
    }
    match &*node.op.name {
        "Conv" => {
            let known = node.input(1).and_then(|w| rank(graph, w)).or(rank(graph, value));
            matches!(known, Some(3 | 4)).then_some(Product::Conv)
        }
        "MatMul" => Some(Product::MatMul),
        "Gemm" if node.opset >= 7 || host => Some(Product::Gemm),
        _ => None,
    }
}

/// Merges `user` into `node`, whose only result it uses: a node of the domain `host` that stands where `user`
/// stood and makes what it made. `change` says what becomes of inputs and attributes.
fn absorb(graph: &mut Graph, node: NodeId, user: NodeId, change: impl FnOnce(&mut NodeSpec)) {
    let last = graph.remove_node(user);
    let first = graph.remove_node(node);
    let mut spec = NodeSpec {
        name: last.name.clone(),
        domain: "host".into(),
        op: first.op.name.clone(),
        opset: 1,
        inputs: first.inputs().to_vec(),
        outputs: last.outputs().to_vec(),
        attrs: first.attrs.clone(),
        position: last.position,
        ..NodeSpec::default()
    };
    change(&mut spec);
    let id = graph.add_node(spec).expect("its output was just given up");
    graph.node_mut(id).label = last.label;
}

/// Sets input `i`, which may lie behind the last one.
fn set_input(spec: &mut NodeSpec, i: usize, value: ValueId) {
    if spec.inputs.len() <= i {
        spec.inputs.resize(i + 1, None);
    }
    spec.inputs[i] = Some(value);
}

/// Adds a constant under a name that begins with `base`.
fn add_constant(graph: &mut Graph, base: &str, tensor: Tensor) -> ValueId {
    let name = graph.fresh_name(base);
    graph.add_constant(name, Arc::new(tensor)).expect("the name is fresh")
}

/// A float attribute, or its default.
fn float(node: &Node, name: &str, default: f32) -> f32 {
    node.attrs.get(name).and_then(Attr::as_float).unwrap_or(default)
}

/// The elements of a constant f32 tensor.
fn f32s(graph: &Graph, value: ValueId) -> Option<Vec<f32>> {
    Some(graph.constant(value)?.as_slice::<f32>().ok()?.into_owned())
}
