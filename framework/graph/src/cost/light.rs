//! Operations of all other operators: so many for each element of the output, or of the input.

use super::count::Count;
use super::{Call, HOST};
use crate::schema;

#[derive(Clone, Copy)]
enum Per {
    /// For each element of the first output.
    Output(u64),
    /// For each element of the first input.
    Input(u64),
    /// For each element of a pooling window, at each element of the output.
    Window,
    Nothing,
}

/// Rough, and of the same scale for all: a polynomial of eight terms stands for a transcendental function.
const TRANSCENDENTAL: u64 = 16;

const FAMILIES: &[(&[&str], Per)] = &[
    (
        &[
            "Abs",
            "Add",
            "And",
            "BitShift",
            "BitwiseAnd",
            "BitwiseNot",
            "BitwiseOr",
            "BitwiseXor",
            "Ceil",
            "Clip",
            "Div",
            "Equal",
            "Floor",
            "Greater",
            "GreaterOrEqual",
            "IsInf",
            "IsNaN",
            "LeakyRelu",
            "Less",
            "LessOrEqual",
            "Max",
            "Mean",
            "Min",
            "Mod",
            "Mul",
            "Neg",
            "Not",
            "Or",
            "PRelu",
            "Reciprocal",
            "Relu",
            "Round",
            "Shrink",
            "Sign",
            "Sqrt",
            "Sub",
            "Sum",
            "ThresholdedRelu",
            "Where",
            "Xor",
        ],
        Per::Output(1),
    ),
    (
        &[
            "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp",
            "Gelu", "Log", "Mish", "Pow", "Selu", "Sigmoid", "Sin", "Sinh", "Softplus", "SwiGLU", "Swish",
            "Tan", "Tanh",
        ],
        Per::Output(TRANSCENDENTAL),
    ),
    (&["HardSigmoid", "HardSwish", "Softsign"], Per::Output(3)),
    (&["DequantizeLinear", "QuantizeLinear"], Per::Output(3)),
    (&["DynamicQuantizeLinear"], Per::Input(5)),
    (&["BatchNormalization", "ImageScaler"], Per::Output(2)),
    (
        &[
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "LpNormalization",
            "MeanVarianceNormalization",
            "RMSNormalization",
            "SimplifiedLayerNormalization",
        ],
        Per::Output(8),
    ),
    (&["Hardmax"], Per::Output(2)),
    (&["LogSoftmax", "Softmax"], Per::Output(TRANSCENDENTAL + 4)),
    (&["LRN"], Per::Output(TRANSCENDENTAL)),
    (&["RotaryEmbedding"], Per::Output(3)),
    (&["CumProd", "CumSum"], Per::Output(1)),
    (&["ArgMax", "ArgMin", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"], Per::Input(1)),
    (schema::REDUCTIONS, Per::Input(1)),
    (&["AveragePool", "LpPool", "MaxPool"], Per::Window),
    (&["AffineGrid", "GridSample", "Resize", "RoiAlign", "Upsample"], Per::Output(8)),
    (
        &[
            "Cast",
            "CastLike",
            "Constant",
            "ConstantOfShape",
            "Dropout",
            "EyeLike",
            "NonZero",
            "OneHot",
            "Range",
            "Shape",
            "Size",
        ],
        Per::Nothing,
    ),
];

/// `None`: not known.
pub fn operations(call: &Call<'_>) -> Option<u64> {
    let (domain, name) = call.operator();
    // Those of the host are operators of the standard on images or codes kept otherwise; what has no such name moves.
    let plain = ["Blocked", "QLinear"].iter().find_map(|kept| name.strip_prefix(kept)).unwrap_or(name);
    let plain = if domain == HOST { plain } else { name };
    let known = domain.is_empty() || domain == HOST;
    let listed = FAMILIES.iter().find(|(names, _)| known && names.contains(&plain));
    let schema = crate::schema::lookup(domain, name, call.node.opset);
    let per = match listed {
        Some((_, per)) => *per,
        None if domain == HOST => Per::Nothing,
        None if schema.is_none() => return None,
        None if schema.is_some_and(|s| s.is_data_movement()) => Per::Nothing,
        None if schema.is_some_and(|s| s.is_elementwise()) => Per::Output(1),
        None => return None,
    };
    let count = match per {
        Per::Output(each) => Count::elements(call.output(0)).times(Count::number(each)),
        Per::Input(each) => Count::elements(call.input(0)).times(Count::number(each)),
        Per::Window => Count::elements(call.output(0)).times(window(call)),
        Per::Nothing => Count::number(0),
    };
    count.value()
}

fn window(call: &Call<'_>) -> Count {
    let kernel = call.node.attrs.get("kernel_shape").and_then(|attr| attr.as_ints());
    let size =
        kernel.and_then(|list| list.iter().try_fold(1usize, |n, &k| n.checked_mul(usize::try_from(k).ok()?)));
    Count::of(size)
}
