//! RMSNormalization: `x / √(mean(x²) + ε) · scale` over the last axes.
//! Zhang and Sennrich, "Root Mean Square Layer Normalization", section 3.

use super::layer_normalization::{last_axes, spans_last_axes};
use super::{Call, Found, Recogniser};
use crate::{Attr, Graph};

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-rms-normalization",
    about: "Pow, ReduceMean, Sqrt, Div or Reciprocal as RMSNormalization",
    op: "RMSNormalization",
    opset: 23,
    templates: &[
        "Mul(Div(x, Sqrt(Add(m@ReduceMean(Pow(x, 2), ...), $e))), w)",
        "Mul(Div(x, Sqrt(Add(m@ReduceMean(Mul(x, x), ...), $e))), w)",
        "Mul(Mul(x, Reciprocal(Sqrt(Add(m@ReduceMean(Pow(x, 2), ...), $e)))), w)",
        "Mul(Mul(x, Reciprocal(Sqrt(Add(m@ReduceMean(Mul(x, x), ...), $e)))), w)",
        "Mul(Mul(x, Div(1, Sqrt(Add(m@ReduceMean(Pow(x, 2), ...), $e)))), w)",
        "Mul(Mul(x, Pow(Add(m@ReduceMean(Pow(x, 2), ...), $e), -0.5)), w)",
    ],
    read,
};

fn read(graph: &Graph, found: &Found) -> Option<Call> {
    let (x, scale) = (found.value("x")?, found.value("w")?);
    let axis = last_axes(graph, found, x)?;
    let rank = graph.value(x).ty.as_ref()?.shape()?.len();
    if !spans_last_axes(graph, x, scale, rank.checked_sub(usize::try_from(-axis).ok()?)?)? {
        return None;
    }
    let epsilon = Attr::Float(found.scalar("e")? as f32);
    let attrs = [("axis".into(), Attr::Int(axis)), ("epsilon".into(), epsilon)].into();
    Some(Call { inputs: vec![Some(x), Some(scale)], attrs })
}
