//! LayerNormalization: `(x − mean) / √(variance + ε) · scale [+ bias]` over the last axes.
//! Ba et al., "Layer Normalization", section 3.

use super::{Call, Found, Recogniser};
use crate::{Attr, Graph, Node, ValueId};

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-layer-normalization",
    about: "ReduceMean, Sub, Pow, Sqrt, Div as LayerNormalization",
    op: "LayerNormalization",
    opset: 17,
    templates: &[
        "Add(Mul(Div(Sub(x, m@ReduceMean(x, ...)), Sqrt(Add(m@ReduceMean(Pow(Sub(x, m@ReduceMean(x, ...)), 2), ...), $e))), w), b)",
        "Add(Mul(Div(Sub(x, m@ReduceMean(x, ...)), Sqrt(Add(m@ReduceMean(Mul(Sub(x, m@ReduceMean(x, ...)), Sub(x, m@ReduceMean(x, ...))), ...), $e))), w), b)",
        "Add(Mul(Mul(Sub(x, m@ReduceMean(x, ...)), Reciprocal(Sqrt(Add(m@ReduceMean(Pow(Sub(x, m@ReduceMean(x, ...)), 2), ...), $e)))), w), b)",
        "Mul(Div(Sub(x, m@ReduceMean(x, ...)), Sqrt(Add(m@ReduceMean(Pow(Sub(x, m@ReduceMean(x, ...)), 2), ...), $e))), w)",
        "Mul(Div(Sub(x, m@ReduceMean(x, ...)), Sqrt(Add(m@ReduceMean(Mul(Sub(x, m@ReduceMean(x, ...)), Sub(x, m@ReduceMean(x, ...))), ...), $e))), w)",
    ],
    read,
};

fn read(graph: &Graph, found: &Found) -> Option<Call> {
    let (x, scale, bias) = (found.value("x")?, found.value("w")?, found.value("b"));
    let axis = last_axes(graph, found, x)?;
    let rank = graph.value(x).ty.as_ref()?.shape()?.len();
    let spans = |v: ValueId| spans_last_axes(graph, x, v, rank.checked_sub(usize::try_from(-axis).ok()?)?);
    if !spans(scale)? || !bias.map_or(Some(true), spans)? {
        return None;
    }
    let epsilon = Attr::Float(found.scalar("e")? as f32);
    let attrs = [("axis".into(), Attr::Int(axis)), ("epsilon".into(), epsilon)].into();
    let inputs = [Some(x), Some(scale)].into_iter().chain(bias.map(Some));
    Some(Call { inputs: inputs.collect(), attrs })
}

/// The first of the axes that all reductions labelled `m` share, counted from the end, where they are the
/// last axes and are kept.
pub(super) fn last_axes(graph: &Graph, found: &Found, x: ValueId) -> Option<i64> {
    let rank = graph.value(x).ty.as_ref()?.shape()?.len() as i64;
    let mut first = None;
    for node in found.labelled(graph, "m") {
        let mut axes = axes(graph, node)?;
        axes.iter_mut().for_each(|a| *a -= if *a >= 0 { rank } else { 0 });
        axes.sort_unstable();
        let start = *axes.first()?;
        let contiguous = axes.iter().copied().eq(start..0);
        let kept = node.attrs.get("keepdims").is_none_or(|a| a.as_int() == Some(1));
        if !contiguous || !kept || first.is_some_and(|f| f != start) {
            return None;
        }
        first = Some(start);
    }
    first
}

/// A reduction's axes: an attribute before opset 18, an input since.
fn axes(graph: &Graph, node: &Node) -> Option<Vec<i64>> {
    match node.input(1) {
        Some(axes) => graph.constant(axes)?.to_i64s(),
        None => Some(node.attrs.get("axes")?.as_ints()?.to_vec()),
    }
}

/// Whether `v` is a constant of just the shape of `x` from `axis` on, so that it broadcasts over what is
/// before and nothing else.
pub(super) fn spans_last_axes(graph: &Graph, x: ValueId, v: ValueId, axis: usize) -> Option<bool> {
    let shape = graph.value(x).ty.as_ref()?.shape()?;
    let own = graph.value(v).ty.as_ref()?.shape()?;
    let last = shape.get(axis..)?;
    Some(graph.is_constant(v) && own[..] == *last && last.iter().all(|d| d.is_known()))
}
