//! Gelu: `x · ½ · (1 + erf(x / √2))`, or its approximation by tanh, in any order of the factors.
//! Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2.

use super::{Call, Found, Recogniser};
use crate::{Attr, Graph};

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-gelu",
    about: "Erf and Tanh forms of Gelu",
    op: "Gelu",
    opset: 20,
    templates: &[
        "Mul(Mul(x, Add(Erf(Div(x, 1.41421356)), 1)), 0.5)",
        "Mul(Mul(x, Add(Erf(Mul(x, 0.70710678)), 1)), 0.5)",
        "Mul(Mul(x, 0.5), Add(Erf(Div(x, 1.41421356)), 1))",
        "Mul(Mul(x, 0.5), Add(Erf(Mul(x, 0.70710678)), 1))",
        "Mul(x, Mul(Add(Erf(Div(x, 1.41421356)), 1), 0.5))",
        "Mul(x, Mul(Add(Erf(Mul(x, 0.70710678)), 1), 0.5))",
        "Mul(Mul(x, Add(t@Tanh(Mul(Add(x, Mul(Pow(x, 3), 0.044715)), 0.79788456)), 1)), 0.5)",
        "Mul(Mul(x, 0.5), Add(t@Tanh(Mul(Add(x, Mul(Pow(x, 3), 0.044715)), 0.79788456)), 1))",
        "Mul(x, Mul(Add(t@Tanh(Mul(Add(x, Mul(Pow(x, 3), 0.044715)), 0.79788456)), 1), 0.5))",
        "Mul(x, Mul(Add(t@Tanh(Mul(Add(x, Mul(x, Mul(x, Mul(x, 0.044715)))), 0.79788456)), 1), 0.5))",
        "Mul(Mul(x, 0.5), Add(t@Tanh(Mul(Add(x, Mul(Mul(Mul(x, x), x), 0.044715)), 0.79788456)), 1))",
        "Mul(Mul(x, 0.5), Add(t@Tanh(Mul(Mul(x, 0.79788456), Add(Mul(Mul(x, 0.044715), x), 1))), 1))",
    ],
    read,
};

fn read(graph: &Graph, found: &Found) -> Option<Call> {
    let tanh = found.labelled(graph, "t").next().is_some();
    let approximate = Attr::str(if tanh { "tanh" } else { "none" });
    Some(Call { inputs: vec![found.value("x")], attrs: [("approximate".into(), approximate)].into() })
}
