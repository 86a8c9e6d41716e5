//! Operators of one input that work element by element: a table of scalar functions.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::fault::Fault;
use super::numbers::{self, Numbers, from_floats, from_ints};
use super::registry::{Entry, onnx};
use super::special::{erf, gelu, gelu_tanh, sigmoid, softplus};

pub(super) const OPS: &[Entry] = &[
    onnx("Abs", 1, unary),
    onnx("Acos", 7, unary),
    onnx("Acosh", 9, unary),
    onnx("Asin", 7, unary),
    onnx("Asinh", 9, unary),
    onnx("Atan", 7, unary),
    onnx("Atanh", 9, unary),
    onnx("BitwiseNot", 18, unary),
    onnx("Ceil", 1, unary),
    onnx("Celu", 12, unary),
    onnx("Cos", 7, unary),
    onnx("Cosh", 9, unary),
    onnx("Elu", 1, unary),
    onnx("Erf", 9, unary),
    onnx("Exp", 1, unary),
    onnx("Floor", 1, unary),
    onnx("Gelu", 20, gelu_by_name),
    onnx("HardSigmoid", 1, unary),
    onnx("HardSwish", 14, unary),
    onnx("IsInf", 10, is_inf),
    onnx("IsNaN", 9, is_nan),
    onnx("LeakyRelu", 1, unary),
    onnx("Log", 1, unary),
    onnx("Mish", 18, unary),
    onnx("Neg", 1, unary),
    onnx("Not", 1, not),
    onnx("Affine", 1, unary),
    onnx("Scale", 1, unary),
    onnx("ParametricSoftplus", 1, unary),
    onnx("Reciprocal", 1, unary),
    onnx("Relu", 1, unary),
    onnx("Round", 11, unary),
    onnx("ScaledTanh", 1, unary),
    onnx("Selu", 1, unary),
    onnx("Shrink", 9, shrink),
    onnx("Sigmoid", 1, unary),
    onnx("Sign", 9, unary),
    onnx("Sin", 7, unary),
    onnx("Sinh", 9, unary),
    onnx("Softplus", 1, unary),
    onnx("Softsign", 1, unary),
    onnx("Sqrt", 1, unary),
    onnx("Swish", 24, unary),
    onnx("Tan", 7, unary),
    onnx("Tanh", 1, unary),
    onnx("ThresholdedRelu", 1, unary),
];

/// How an operator treats one element.
struct Scalar {
    name: &'static str,
    /// Attributes that `float` gets, in order.
    attributes: &'static [&'static str],
    float: Option<fn(f64, &[f64]) -> f64>,
    int: Option<fn(i128) -> i128>,
}

const fn float(name: &'static str, float: fn(f64, &[f64]) -> f64) -> Scalar {
    Scalar { name, attributes: &[], float: Some(float), int: None }
}

const fn tuned(
    name: &'static str,
    attributes: &'static [&'static str],
    float: fn(f64, &[f64]) -> f64,
) -> Scalar {
    Scalar { name, attributes, float: Some(float), int: None }
}

const fn both(name: &'static str, float: fn(f64, &[f64]) -> f64, int: fn(i128) -> i128) -> Scalar {
    Scalar { name, attributes: &[], float: Some(float), int: Some(int) }
}

#[rustfmt::skip]
const SCALARS: &[Scalar] = &[
    both("Abs", |x, _| x.abs(), i128::abs),
    both("Neg", |x, _| -x, |x| -x),
    both("Sign", |x, _| if x == 0.0 || x.is_nan() { x } else { x.signum() }, i128::signum),
    both("Relu", |x, _| if x < 0.0 { 0.0 } else { x }, |x| x.max(0)),
    Scalar { name: "BitwiseNot", attributes: &[], float: None, int: Some(|x| !x) },
    float("Acos", |x, _| x.acos()),
    float("Acosh", |x, _| x.acosh()),
    float("Asin", |x, _| x.asin()),
    float("Asinh", |x, _| x.asinh()),
    float("Atan", |x, _| x.atan()),
    float("Atanh", |x, _| x.atanh()),
    float("Ceil", |x, _| x.ceil()),
    float("Cos", |x, _| x.cos()),
    float("Cosh", |x, _| x.cosh()),
    float("Erf", |x, _| erf(x)),
    float("Exp", |x, _| x.exp()),
    float("Floor", |x, _| x.floor()),
    float("HardSwish", |x, _| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    float("Log", |x, _| x.ln()),
    float("Mish", |x, _| x * softplus(x).tanh()),
    float("Reciprocal", |x, _| 1.0 / x),
    float("Round", |x, _| x.round_ties_even()),
    float("Sigmoid", |x, _| sigmoid(x)),
    float("Sin", |x, _| x.sin()),
    float("Sinh", |x, _| x.sinh()),
    float("Softplus", |x, _| softplus(x)),
    float("Softsign", |x, _| x / (1.0 + x.abs())),
    float("Sqrt", |x, _| x.sqrt()),
    float("Tan", |x, _| x.tan()),
    float("Tanh", |x, _| x.tanh()),
    tuned("Affine", &["alpha", "beta"], |x, p| p[0] * x + p[1]),
    tuned("Scale", &["scale"], |x, p| p[0] * x),
    tuned("Celu", &["alpha"], |x, p| if x < 0.0 { p[0] * (x / p[0]).exp_m1() } else { x }),
    tuned("Elu", &["alpha"], |x, p| if x < 0.0 { p[0] * x.exp_m1() } else { x }),
    tuned("HardSigmoid", &["alpha", "beta"], |x, p| (p[0] * x + p[1]).clamp(0.0, 1.0)),
    tuned("LeakyRelu", &["alpha"], |x, p| if x < 0.0 { p[0] * x } else { x }),
    tuned("ParametricSoftplus", &["alpha", "beta"], |x, p| p[0] * softplus(p[1] * x)),
    tuned("QuickGelu", &["alpha"], |x, p| x * sigmoid(p[0] * x)),
    tuned("ScaledTanh", &["alpha", "beta"], |x, p| p[0] * (p[1] * x).tanh()),
    tuned("Selu", &["alpha", "gamma"], |x, p| p[1] * if x > 0.0 { x } else { p[0] * x.exp_m1() }),
    tuned("Swish", &["alpha"], |x, p| x * sigmoid(p[0] * x)),
    tuned("ThresholdedRelu", &["alpha"], |x, p| if x > p[0] { x } else { 0.0 }),
];

pub(super) fn unary(call: &Call<'_>) -> Outputs {
    let name = &*call.node.op.name;
    let scalar = SCALARS.iter().find(|s| s.name == name).expect("the registry and the table agree");
    let tensor = call.tensor(0)?;
    let (dtype, dims) = (tensor.dtype(), tensor.dims());
    let unfit = Fault::DType { what: "an input", got: dtype };
    let result = match (numbers::numbers(tensor)?, scalar.float, scalar.int) {
        (Numbers::Floats(mut values), Some(f), _) => {
            let parameters: Vec<f64> =
                scalar.attributes.iter().map(|name| call.float(name)).collect::<Result<_, _>>()?;
            values.iter_mut().for_each(|x| *x = f(*x, &parameters));
            from_floats(dtype, dims, &values)?
        }
        (Numbers::Ints(mut values), _, Some(f)) => {
            values.iter_mut().for_each(|x| *x = f(*x));
            from_ints(dtype, dims, &values)?
        }
        _ => return Err(unfit),
    };
    Ok(vec![result.into()])
}

/// Applies a function to every element of a floating-point input.
pub(super) fn map_floats(tensor: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor, Fault> {
    let values: Vec<f64> = numbers::floats(tensor)?.into_iter().map(f).collect();
    from_floats(tensor.dtype(), tensor.dims(), &values)
}

fn gelu_by_name(call: &Call<'_>) -> Outputs {
    let f = match call.text("approximate")? {
        "tanh" => gelu_tanh,
        "none" => gelu,
        other => {
            let why = format!("is `{other}`, where `none` and `tanh` are known");
            return Err(Fault::Attribute { name: "approximate".into(), why });
        }
    };
    Ok(vec![map_floats(call.tensor(0)?, f)?.into()])
}

fn shrink(call: &Call<'_>) -> Outputs {
    let (bias, lambda) = (call.float("bias")?, call.float("lambd")?);
    let f = |x: f64| match x {
        x if x < -lambda => x + bias,
        x if x > lambda => x - bias,
        _ => 0.0,
    };
    let tensor = call.tensor(0)?;
    let values: Vec<f64> = numbers::floats(tensor)?.into_iter().map(f).collect();
    Ok(vec![numbers::from_floats_any(tensor.dtype(), tensor.dims(), &values)?.into()])
}

fn test(call: &Call<'_>, f: impl Fn(f64) -> bool) -> Outputs {
    let tensor = call.tensor(0)?;
    let found = numbers::floats(tensor)?.into_iter().map(f).collect();
    Ok(vec![Tensor::from_bools(tensor.dims(), found)?.into()])
}

fn is_inf(call: &Call<'_>) -> Outputs {
    let (negative, positive) = (call.flag("detect_negative")?, call.flag("detect_positive")?);
    test(call, |x| (negative && x == f64::NEG_INFINITY) || (positive && x == f64::INFINITY))
}

fn is_nan(call: &Call<'_>) -> Outputs {
    test(call, f64::is_nan)
}

fn not(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let flipped = numbers::bools(tensor)?.into_iter().map(|b| !b).collect();
    Ok(vec![Tensor::from_bools(tensor.dims(), flipped)?.into()])
}
