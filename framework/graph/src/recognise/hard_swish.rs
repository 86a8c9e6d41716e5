//! HardSwish: `x · clip(x + 3, 0, 6) / 6`. Howard et al., "Searching for MobileNetV3", section 5.2.

use super::{Call, Found, Recogniser};
use crate::Graph;

pub(super) const RECOGNISER: Recogniser = Recogniser {
    name: "recognise-hard-swish",
    about: "x · Clip(x + 3, 0, 6) / 6 and x · HardSigmoid(x) as HardSwish",
    op: "HardSwish",
    opset: 14,
    templates: &[
        "Mul(x, s@HardSigmoid(x))",
        "Mul(x, Div(Clip(Add(x, 3), 0, 6), 6))",
        "Div(Mul(x, Clip(Add(x, 3), 0, 6)), 6)",
        "Mul(x, Mul(Clip(Add(x, 3), 0, 6), 0.16666667))",
        "Mul(Mul(x, Clip(Add(x, 3), 0, 6)), 0.16666667)",
    ],
    read,
};

/// HardSigmoid has to be the one of HardSwish: slope 1/6, offset 1/2.
fn read(graph: &Graph, found: &Found) -> Option<Call> {
    for node in found.labelled(graph, "s") {
        let attr = |name, default| node.attrs.get(name).map_or(Some(default), |a| a.as_float());
        let slope = attr("alpha", 0.2f32)?;
        let offset = attr("beta", 0.5f32)?;
        if (slope - 1.0 / 6.0).abs() > 1e-4 || (offset - 0.5).abs() > 1e-4 {
            return None;
        }
    }
    Some(Call { inputs: vec![found.value("x")], ..Call::default() })
}
