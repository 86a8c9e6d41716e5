//! Attention over separate heads: `softmax(q · kᵀ · scale [+ mask]) · v` with `q`, `k`, `v` of
//! `[batch, heads, length, size]`. Vaswani et al., "Attention Is All You Need", section 3.2.1.

use super::{Call, Found, Recogniser};
use crate::{Attr, Graph, Node, ValueId};

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-attention",
    about: "MatMul, scale, mask, Softmax, MatMul over [batch, heads, length, size] as Attention",
    op: "Attention",
    opset: 23,
    templates: &[
        "MatMul(s@Softmax(Add(Div(MatMul(q, t@Transpose(k)), $d), mask)), v)",
        "MatMul(s@Softmax(Add(Mul(MatMul(q, t@Transpose(k)), $m), mask)), v)",
        "MatMul(s@Softmax(Div(MatMul(q, t@Transpose(k)), $d)), v)",
        "MatMul(s@Softmax(Mul(MatMul(q, t@Transpose(k)), $m)), v)",
    ],
    read,
};

fn read(graph: &Graph, found: &Found) -> Option<Call> {
    let (q, k, v) = (found.value("q")?, found.value("k")?, found.value("v")?);
    let of_heads = |value| rank(graph, value) == Some(4);
    let transposes = found.labelled(graph, "t").all(swaps_the_last_two);
    let over_keys = found.labelled(graph, "s").all(is_over_the_last_axis);
    let same_heads = heads(graph, q) == heads(graph, k) && heads(graph, k) == heads(graph, v);
    if ![q, k, v].into_iter().all(of_heads) || !transposes || !over_keys || !same_heads {
        return None;
    }
    // The mask may broadcast to the scores, but not widen them.
    let mask = found.value("mask");
    if mask.is_some_and(|m| rank(graph, m).is_none_or(|r| r > 4)) {
        return None;
    }
    let scale = found.scalar("m").or_else(|| found.scalar("d").map(|d| 1.0 / d))?;
    let inputs = [Some(q), Some(k), Some(v)].into_iter().chain(mask.map(Some));
    Some(Call { inputs: inputs.collect(), attrs: [("scale".into(), Attr::Float(scale as f32))].into() })
}

fn rank(graph: &Graph, value: ValueId) -> Option<usize> {
    Some(graph.value(value).ty.as_ref()?.shape()?.len())
}

/// Batch and heads, where both are known.
fn heads(graph: &Graph, value: ValueId) -> Option<&[crate::Dim]> {
    let dims = graph.value(value).ty.as_ref()?.shape()?.get(..2)?;
    dims.iter().all(|d| d.is_known()).then_some(dims)
}

fn swaps_the_last_two(node: &Node) -> bool {
    node.attrs.get("perm").and_then(|a| a.as_ints()) == Some(&[0, 1, 3, 2])
}

/// Before opset 13 the default axis was 1, and the axis meant all from there on.
fn is_over_the_last_axis(node: &Node) -> bool {
    match node.attrs.get("axis").and_then(|a| a.as_int()) {
        Some(axis) => axis == -1 || axis == 3,
        None => node.opset >= 13,
    }
}
