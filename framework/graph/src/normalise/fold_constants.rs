//! Nodes with only constant inputs are computed once, here. DequantizeLinear stays, since patterns look for
//! it around weights, and so do random operators, whose every run differs.

use std::sync::Arc;

use crate::{Graph, Node, NodeId, Tensor, schema};

use super::{Context, Pass, Why};

pub(super) const PASS: Pass =
    Pass { name: "fold-constants", about: "nodes with only constant inputs are computed once", run };

/// Results larger than this are left to be computed at run time, unless no larger than what they come from.
const MAX_BYTES: usize = 64 << 20;

/// Transposed constants of this size are not computed before their bytes are asked for.
const MIN_LAZY: usize = 1 << 16;

fn run(graph: &mut Graph, context: &mut Context<'_>) {
    for id in graph.model_order() {
        if foldable(graph, id) {
            fold(graph, id, context);
        }
    }
}

fn foldable(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let constant = node.inputs().iter().flatten().all(|&v| graph.is_constant(v));
    let plain = graph.bodies(id).next().is_none();
    let kept = node.is("DequantizeLinear") || is_random(node);
    constant && plain && !kept && node.inputs().iter().flatten().next().is_some() && fits(graph, id)
}

fn is_random(node: &Node) -> bool {
    let schema = schema::lookup(&node.op.domain, &node.op.name, node.opset);
    schema.is_some_and(|schema| schema.is_random())
}

/// Whether the results, as far as their size is known, are small enough to keep.
fn fits(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let given = node.inputs().iter().flatten().filter_map(|&v| graph.constant(v));
    let given: usize = given.map(|t| t.byte_len()).sum();
    let sizes = node.outputs().iter().flatten().map(|&v| {
        let ty = graph.value(v).ty.as_ref()?.as_tensor()?;
        ty.static_dims()?;
        // A static shape without a size is one that overflows.
        Some(ty.byte_len().unwrap_or(usize::MAX))
    });
    sizes.flatten().all(|bytes| bytes <= MAX_BYTES.max(given))
}

fn fold(graph: &mut Graph, id: NodeId, context: &mut Context<'_>) -> Option<()> {
    let node = graph.node(id);
    let inputs: Vec<Option<Arc<Tensor>>> =
        node.inputs().iter().map(|v| v.and_then(|v| graph.constant(v).cloned())).collect();
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_deref).collect();
    let results = match transposed(node, &inputs) {
        Some(result) => vec![result],
        None => context.evaluate.evaluate(node, &inputs)?,
    };
    let outputs = node.outputs().to_vec();
    if results.len() < outputs.len() {
        return None;
    }
    for (output, tensor) in outputs.into_iter().zip(results) {
        if let Some(output) = output {
            graph.set_constant(output, Arc::new(tensor));
        }
    }
    context.remove(graph, id, Why::Folded);
    Some(())
}

/// The result of a large Transpose, whose bytes are made only where somebody wants them.
fn transposed(node: &Node, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let input =
        inputs.first().copied().flatten().filter(|t| node.is("Transpose") && t.byte_len() >= MIN_LAZY)?;
    let perm: Vec<usize> = match node.attrs.get("perm") {
        Some(perm) => {
            perm.as_ints()?.iter().map(|&axis| usize::try_from(axis).ok()).collect::<Option<_>>()?
        }
        None => (0..input.rank()).rev().collect(),
    };
    input.transposed(&perm)
}
