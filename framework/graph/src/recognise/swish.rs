//! Swish (SiLU): `x · sigmoid(x)`. Ramachandran et al., "Searching for Activation Functions", section 4.

use super::{Call, Found, Recogniser};
use crate::Graph;

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-swish",
    about: "x · Sigmoid(x) as Swish",
    op: "Swish",
    opset: 24,
    templates: &["Mul(x, Sigmoid(x))"],
    read,
};

fn read(_: &Graph, found: &Found) -> Option<Call> {
    Some(Call { inputs: vec![found.value("x")], ..Call::default() })
}
