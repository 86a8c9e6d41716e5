//! Mish: `x · tanh(softplus(x))`. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function".

use super::{Call, Found, Recogniser};
use crate::Graph;

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-mish",
    about: "x · Tanh(Softplus(x)) as Mish",
    op: "Mish",
    opset: 18,
    templates: &["Mul(x, Tanh(Softplus(x)))", "Mul(x, Tanh(Log(Add(Exp(x), 1))))"],
    read,
};

fn read(_: &Graph, found: &Found) -> Option<Call> {
    Some(Call { inputs: vec![found.value("x")], ..Call::default() })
}
