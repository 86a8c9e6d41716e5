//! Operators that combine broadcast inputs element by element: a table of scalar functions.

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{broadcast, expand};
use super::movement;
use super::numbers::{self, Numbers, from_floats, from_ints};
use super::registry::{Entry, onnx};
use super::special::sigmoid;

pub(super) const OPS: &[Entry] = &[
    onnx("Add", 1, arithmetic),
    onnx("And", 1, logic),
    onnx("BitShift", 11, bit_shift),
    onnx("BitwiseAnd", 18, arithmetic),
    onnx("BitwiseOr", 18, arithmetic),
    onnx("BitwiseXor", 18, arithmetic),
    onnx("Clip", 1, clip),
    onnx("Div", 1, arithmetic),
    onnx("Equal", 1, compare),
    onnx("Greater", 1, compare),
    onnx("GreaterOrEqual", 12, compare),
    onnx("Less", 1, compare),
    onnx("LessOrEqual", 12, compare),
    onnx("Max", 1, arithmetic),
    onnx("Mean", 1, mean),
    onnx("Min", 1, arithmetic),
    onnx("Mod", 10, modulo),
    onnx("Mul", 1, arithmetic),
    onnx("Or", 1, logic),
    onnx("Pow", 1, power),
    onnx("PRelu", 1, prelu),
    onnx("Sub", 1, arithmetic),
    onnx("Sum", 1, arithmetic),
    onnx("SwiGLU", 28, swiglu),
    onnx("Where", 9, select),
    onnx("Xor", 1, logic),
];

struct Scalar {
    name: &'static str,
    float: Option<fn(f64, f64) -> f64>,
    /// `None` as its result where there is none.
    int: fn(i128, i128) -> Option<i128>,
}

const fn row(name: &'static str, float: fn(f64, f64) -> f64, int: fn(i128, i128) -> Option<i128>) -> Scalar {
    Scalar { name, float: Some(float), int }
}

const fn bitwise(name: &'static str, int: fn(i128, i128) -> Option<i128>) -> Scalar {
    Scalar { name, float: None, int }
}

// Operands have at most 64 bits, so products wrapped to 128 bits are right modulo any narrower width.
const SCALARS: &[Scalar] = &[
    row("Add", |a, b| a + b, |a, b| Some(a + b)),
    row("Sub", |a, b| a - b, |a, b| Some(a - b)),
    row("Mul", |a, b| a * b, |a, b| Some(a.wrapping_mul(b))),
    row("Div", |a, b| a / b, i128::checked_div),
    row("Max", maximum, |a, b| Some(a.max(b))),
    row("Min", minimum, |a, b| Some(a.min(b))),
    row("Sum", |a, b| a + b, |a, b| Some(a.wrapping_add(b))),
    bitwise("BitwiseAnd", |a, b| Some(a & b)),
    bitwise("BitwiseOr", |a, b| Some(a | b)),
    bitwise("BitwiseXor", |a, b| Some(a ^ b)),
];

/// The greater one; NaN where either is.
pub(super) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The smaller one; NaN where either is.
pub(super) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The shape that an input has for broadcasting: before opset 7 the second one was placed at an axis.
fn placed(call: &Call<'_>, i: usize) -> Result<Vec<usize>, Fault> {
    let dims = call.tensor(i)?.dims().to_vec();
    if i == 0 || call.opset() >= 7 || !call.flag("broadcast")? {
        return Ok(dims);
    }
    let rank = call.tensor(0)?.rank();
    let axis = match call.int_opt("axis")? {
        Some(axis) => super::layout::axis(axis, rank)?,
        None => rank.saturating_sub(dims.len()),
    };
    let behind = rank.saturating_sub(axis + dims.len());
    Ok(dims.into_iter().chain(std::iter::repeat_n(1, behind)).collect())
}

/// The common shape of all inputs.
fn common_shape(call: &Call<'_>) -> Result<Vec<usize>, Fault> {
    let shapes: Vec<Vec<usize>> =
        (0..call.inputs.len()).map(|i| placed(call, i)).collect::<Result<_, _>>()?;
    broadcast(shapes.iter().map(Vec::as_slice))
}

/// Input `i` as numbers of the common shape.
fn operand(call: &Call<'_>, i: usize, dims: &[usize]) -> Result<Numbers, Fault> {
    let own = placed(call, i)?;
    Ok(match call.numbers(i)? {
        Numbers::Floats(values) => Numbers::Floats(expand(values, &own, dims)?),
        Numbers::Ints(values) => Numbers::Ints(expand(values, &own, dims)?),
    })
}

fn differ(call: &Call<'_>) -> Fault {
    let types: Vec<_> =
        call.inputs.iter().flatten().filter_map(|d| d.as_tensor()).map(Tensor::dtype).collect();
    invalid!("inputs of types {types:?} do not go together")
}

fn same_types(call: &Call<'_>) -> Result<DType, Fault> {
    let tensors = call.tensors()?;
    let first = tensors.first().ok_or(Fault::Missing(0))?.dtype();
    if tensors.iter().all(|t| t.dtype() == first) { Ok(first) } else { Err(differ(call)) }
}

fn arithmetic(call: &Call<'_>) -> Outputs {
    let name = &*call.node.op.name;
    let scalar = SCALARS.iter().find(|s| s.name == name).expect("the registry and the table agree");
    let dtype = same_types(call)?;
    let dims = common_shape(call)?;
    let mut result = operand(call, 0, &dims)?;
    for i in 1..call.inputs.len() {
        match (&mut result, operand(call, i, &dims)?, scalar.float) {
            (Numbers::Floats(a), Numbers::Floats(b), Some(f)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = f(*a, b));
            }
            (Numbers::Ints(a), Numbers::Ints(b), _) => {
                for (a, b) in a.iter_mut().zip(b) {
                    *a = (scalar.int)(*a, b).ok_or_else(|| invalid!("{a} has no result with {b}"))?;
                }
            }
            _ => return Err(Fault::DType { what: "an operand", got: dtype }),
        }
    }
    Ok(vec![numbers::from_numbers(dtype, &dims, &result)?.into()])
}

/// Bounds are attributes before opset 11, and inputs since.
fn clip(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let bound = |i: usize, name: &str| -> Result<Option<Numbers>, Fault> {
        if call.opset() < 11 {
            return Ok(call.float_opt(name)?.map(|x| Numbers::Floats(vec![x])));
        }
        let given = call.tensor_opt(i)?.filter(|t| t.len() == 1);
        given.map(numbers::numbers).transpose()
    };
    let mut result = call.numbers(0)?;
    for (given, float, int) in [
        (bound(1, "min")?, maximum as fn(f64, f64) -> f64, Ord::max as fn(i128, i128) -> i128),
        (bound(2, "max")?, minimum, Ord::min),
    ] {
        match (&mut result, given) {
            (_, None) => {}
            (Numbers::Floats(values), Some(Numbers::Floats(b))) => {
                values.iter_mut().for_each(|x| *x = float(*x, b[0]));
            }
            (Numbers::Ints(values), Some(Numbers::Ints(b))) => {
                values.iter_mut().for_each(|x| *x = int(*x, b[0]))
            }
            _ => return Err(differ(call)),
        }
    }
    Ok(vec![numbers::from_numbers(tensor.dtype(), tensor.dims(), &result)?.into()])
}

fn mean(call: &Call<'_>) -> Outputs {
    let dtype = same_types(call)?;
    let dims = common_shape(call)?;
    let mut sum = numbers::filled(0.0, &dims)?;
    for i in 0..call.inputs.len() {
        let values = expand(call.floats(i)?, &placed(call, i)?, &dims)?;
        sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
    }
    sum.iter_mut().for_each(|x| *x /= call.inputs.len() as f64);
    Ok(vec![from_floats(dtype, &dims, &sum)?.into()])
}

fn modulo(call: &Call<'_>) -> Outputs {
    let dtype = same_types(call)?;
    let dims = common_shape(call)?;
    // With `fmod` the result has the sign of the dividend, else that of the divisor.
    let truncating = call.flag("fmod")?;
    let result = match (operand(call, 0, &dims)?, operand(call, 1, &dims)?) {
        (Numbers::Floats(a), Numbers::Floats(b)) => {
            let one = |(a, b): (f64, f64)| {
                let rest = a % b;
                let shifted = !truncating && rest != 0.0 && (rest < 0.0) != (b < 0.0);
                if shifted { rest + b } else { rest }
            };
            Numbers::Floats(a.into_iter().zip(b).map(one).collect())
        }
        (Numbers::Ints(a), Numbers::Ints(b)) => {
            let one = |(a, b): (i128, i128)| {
                let rest = a.checked_rem(b).ok_or_else(|| invalid!("{a} modulo {b} has no result"))?;
                let shifted = !truncating && rest != 0 && (rest < 0) != (b < 0);
                Ok(if shifted { rest + b } else { rest })
            };
            Numbers::Ints(a.into_iter().zip(b).map(one).collect::<Result<_, Fault>>()?)
        }
        _ => return Err(differ(call)),
    };
    Ok(vec![numbers::from_numbers(dtype, &dims, &result)?.into()])
}

/// The result has the type of the base, whatever that of the exponent.
fn power(call: &Call<'_>) -> Outputs {
    let dtype = call.tensor(0)?.dtype();
    let dims = common_shape(call)?;
    let result = match (operand(call, 0, &dims)?, operand(call, 1, &dims)?) {
        (Numbers::Floats(a), Numbers::Floats(b)) => {
            Numbers::Floats(a.into_iter().zip(b).map(|(a, b)| a.powf(b)).collect())
        }
        (Numbers::Floats(a), Numbers::Ints(b)) => {
            Numbers::Floats(a.into_iter().zip(b).map(|(a, b)| a.powf(b as f64)).collect())
        }
        (Numbers::Ints(a), Numbers::Floats(b)) => {
            Numbers::Ints(a.into_iter().zip(b).map(|(a, b)| (a as f64).powf(b) as i128).collect())
        }
        (Numbers::Ints(a), Numbers::Ints(b)) => {
            Numbers::Ints(a.into_iter().zip(b).map(|(a, b)| int_power(a, b)).collect())
        }
    };
    Ok(vec![numbers::from_numbers(dtype, &dims, &result)?.into()])
}

/// Wrapping; a negative exponent gives the true power cut towards zero.
fn int_power(mut base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return (base as f64).powf(exponent as f64) as i128;
    }
    let (mut result, mut left) = (1i128, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        left >>= 1;
    }
    result
}

fn compare(call: &Call<'_>) -> Outputs {
    fn test<T: PartialOrd>(name: &str, a: &T, b: &T) -> bool {
        match name {
            "Equal" => a == b,
            "Less" => a < b,
            "LessOrEqual" => a <= b,
            "Greater" => a > b,
            _ => a >= b,
        }
    }
    let name = &*call.node.op.name;
    same_types(call)?;
    let dims = common_shape(call)?;
    let (x, y) = (call.tensor(0)?, call.tensor(1)?);
    let found = if let (Some(a), Some(b)) = (x.strings(), y.strings()) {
        let (a, b) = (expand(a.to_vec(), x.dims(), &dims)?, expand(b.to_vec(), y.dims(), &dims)?);
        a.iter().zip(&b).map(|(a, b)| test(name, a, b)).collect()
    } else {
        match (operand(call, 0, &dims)?, operand(call, 1, &dims)?) {
            (Numbers::Floats(a), Numbers::Floats(b)) => {
                a.iter().zip(&b).map(|(a, b)| test(name, a, b)).collect()
            }
            (Numbers::Ints(a), Numbers::Ints(b)) => a.iter().zip(&b).map(|(a, b)| test(name, a, b)).collect(),
            _ => return Err(differ(call)),
        }
    };
    Ok(vec![Tensor::from_bools(&dims, found)?.into()])
}

fn logic(call: &Call<'_>) -> Outputs {
    let f: fn(bool, bool) -> bool = match &*call.node.op.name {
        "And" => |a, b| a & b,
        "Or" => |a, b| a | b,
        _ => |a, b| a ^ b,
    };
    let dims = common_shape(call)?;
    let side = |i: usize| expand(numbers::bools(call.tensor(i)?)?, &placed(call, i)?, &dims);
    let found = side(0)?.into_iter().zip(side(1)?).map(|(a, b)| f(a, b)).collect();
    Ok(vec![Tensor::from_bools(&dims, found)?.into()])
}

fn bit_shift(call: &Call<'_>) -> Outputs {
    let dtype = same_types(call)?;
    let left = match call.text("direction")? {
        "LEFT" => true,
        "RIGHT" => false,
        other => {
            let why = format!("is `{other}`, where `LEFT` and `RIGHT` are known");
            return Err(Fault::Attribute { name: "direction".into(), why });
        }
    };
    let dims = common_shape(call)?;
    let side = |i: usize| expand(numbers::ints(call.tensor(i)?)?, call.tensor(i)?.dims(), &dims);
    // A shift by more than the width, or by a negative number, leaves nothing but the sign.
    let shift = |(a, by): (i128, i128)| match u32::try_from(by) {
        Ok(by) if by < 64 && left => a << by,
        Ok(by) if by < 64 => a >> by,
        _ if left => 0,
        _ => a >> 127,
    };
    let result: Vec<i128> = side(0)?.into_iter().zip(side(1)?).map(shift).collect();
    Ok(vec![from_ints(dtype, &dims, &result)?.into()])
}

/// The slope broadcasts to the input, never the other way; before opset 7 it was one value a channel.
fn prelu(call: &Call<'_>) -> Outputs {
    let (x, slope) = (call.tensor(0)?, call.tensor(1)?);
    let mut slope_dims = slope.dims().to_vec();
    if call.opset() < 7 && slope_dims.len() == 1 && x.rank() > 2 {
        slope_dims.extend(std::iter::repeat_n(1, x.rank() - 2));
    }
    let result = match (call.numbers(0)?, call.numbers(1)?) {
        (Numbers::Floats(a), Numbers::Floats(s)) => {
            let s = expand(s, &slope_dims, x.dims())?;
            Numbers::Floats(a.into_iter().zip(s).map(|(x, s)| if x < 0.0 { x * s } else { x }).collect())
        }
        (Numbers::Ints(a), Numbers::Ints(s)) => {
            let s = expand(s, &slope_dims, x.dims())?;
            Numbers::Ints(a.into_iter().zip(s).map(|(x, s)| if x < 0 { x * s } else { x }).collect())
        }
        _ => return Err(differ(call)),
    };
    Ok(vec![numbers::from_numbers(x.dtype(), x.dims(), &result)?.into()])
}

/// A swish of the first input gates the second.
fn swiglu(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let dtype = same_types(call)?;
    ensure!(a.dims() == b.dims(), "inputs of shapes {:?} and {:?}", a.dims(), b.dims());
    let alpha = call.float("alpha")?;
    let pairs = call.floats(0)?.into_iter().zip(call.floats(1)?);
    let gated: Vec<f64> = pairs.map(|(a, b)| a * sigmoid(alpha * a) * b).collect();
    Ok(vec![from_floats(dtype, a.dims(), &gated)?.into()])
}

/// `Where`: picks from either of two tensors of any type.
fn select(call: &Call<'_>) -> Outputs {
    let (condition, x, y) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let dims = broadcast([condition.dims(), x.dims(), y.dims()])?;
    let condition = expand(numbers::bools(condition)?, condition.dims(), &dims)?;
    let from_x = super::layout::broadcast_offsets(x.dims(), &dims)?;
    let from_y = super::layout::broadcast_offsets(y.dims(), &dims)?;
    let behind = x.len();
    let sides = from_x.into_iter().zip(from_y);
    let picks: Vec<usize> =
        condition.into_iter().zip(sides).map(|(c, (x, y))| if c { x } else { behind + y }).collect();
    Ok(vec![movement::take(&[x, y], &dims, &picks)?.into()])
}
