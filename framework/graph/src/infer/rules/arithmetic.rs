//! Operators that broadcast their inputs, and the arithmetic that shapes are computed with.

use smallvec::SmallVec;

use super::Family;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::infer::content::{Content, Scalar};
use crate::{AtomOp, DType, Dim, Dims, Expr};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["And", "Add", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"], binary),
        (
            &["BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "GreaterOrEqual", "LessOrEqual", "Mod"],
            binary,
        ),
        (&["Max", "Mean", "Min", "Sum"], variadic),
        (&["Where"], select),
        (&["PRelu"], prelu),
    ],
};

/// Two dimensions broadcast against each other.
fn broadcast_dim(a: &Dim, b: &Dim) -> Result<Dim, Stop> {
    Ok(match (a, b) {
        _ if a == b => a.clone(),
        (Dim::Static(1), other) | (other, Dim::Static(1)) => other.clone(),
        (Dim::Static(a), Dim::Static(b)) => return invalid(format!("{a} and {b} do not broadcast")),
        // In a valid model the other is this or 1.
        (known @ Dim::Static(_), _) | (_, known @ Dim::Static(_)) => known.clone(),
        _ => Dim::Unknown,
    })
}

/// Where `a` is `min(k, b)` with a plain number k above 1: they broadcast only if b is at most k.
fn cap(a: &Dim, b: &Dim) -> Option<(Expr, i64)> {
    let (Dim::Symbolic(a), Dim::Symbolic(b)) = (a, b) else { return None };
    let (AtomOp::Min, x, y) = a.as_op()? else { return None };
    let cap = if x == b { y } else { x };
    let is_capped = x == b || y == b;
    Some((b.clone(), cap.as_constant().filter(|&k| is_capped && k > 1)?))
}

pub fn broadcast_shapes<'s>(shapes: impl IntoIterator<Item = &'s Dims>) -> Result<Dims, Stop> {
    let mut result = Dims::new();
    for shape in shapes {
        result = broadcast_two(&result, shape)?;
    }
    Ok(result)
}

fn broadcast_two(a: &Dims, b: &Dims) -> Result<Dims, Stop> {
    let rank = a.len().max(b.len());
    let pad = |dims: &Dims| -> Dims {
        std::iter::repeat_n(Dim::Static(1), rank - dims.len()).chain(dims.iter().cloned()).collect()
    };
    let (mut a, mut b) = (pad(a), pad(b));
    // A table cut to a length that turns out to fit (a causal mask, positions): what follows from one
    // axis simplifies the others.
    let caps = a.iter().zip(&b).filter_map(|(a, b)| cap(a, b).or_else(|| cap(b, a)));
    for (bound, cap) in caps.collect::<SmallVec<[(Expr, i64); 1]>>() {
        for dim in a.iter_mut().chain(b.iter_mut()) {
            *dim = dim.assume_at_most(&bound, cap);
        }
    }
    a.iter().zip(&b).map(|(a, b)| broadcast_dim(a, b)).collect()
}

/// The broadcast shape of some inputs, all of which have to be known.
pub fn broadcast_inputs(call: &Call<'_, '_>, inputs: &[usize]) -> Result<Dims, Stop> {
    let shapes: Option<SmallVec<[&Dims; 4]>> = inputs.iter().map(|&i| call.shape_of(i)).collect();
    broadcast_shapes(shapes.ok_or(Stop::Unknown)?)
}

/// Broadcasts all inputs into the first output.
pub fn broadcast_all(call: &mut Call<'_, '_>) -> Outcome {
    let inputs: SmallVec<[usize; 4]> = (0..call.inputs.len()).filter(|&i| call.has(i)).collect();
    let shape = broadcast_inputs(call, &inputs)?;
    call.set_shape(0, shape)
}

/// Applies `f` to the elements of the first input, where they are followed.
pub fn map_content(call: &mut Call<'_, '_>, f: impl Fn(&Scalar) -> Scalar) -> Outcome {
    let content = call.content(0).map(|content| content.map(f));
    call.set_content(0, content)
}

fn binary(call: &mut Call<'_, '_>) -> Outcome {
    // Before version 7 the second input was stretched to the first, and only if that was asked for.
    if call.since() < 7 {
        call.same_shape(0, 0)?;
        return match (call.shape_of(0).cloned(), call.shape_of(1)) {
            (Some(a), Some(b)) if a == *b => combine(call),
            _ => Ok(()),
        };
    }
    broadcast_all(call)?;
    combine(call)
}

/// Works out the elements, where both inputs are followed.
fn combine(call: &mut Call<'_, '_>) -> Outcome {
    let (Some(a), Some(b)) = (call.content(0), call.content(1)) else { return Ok(()) };
    let op = &*call.node.op.name;
    let fmod = call.flag("fmod");
    let integer = call.dtype(0).is_some_and(|d| d.is_integer() || d == DType::Bool);
    let content = call.static_shape_out(0).and_then(|dims| {
        Content::broadcast(&dims, &[a, b], |operands| {
            let [x, y] = operands else { return Scalar::UNKNOWN };
            match (x, y) {
                (Scalar::Int(x), Scalar::Int(y)) if integer => Scalar::Int(whole(op, fmod, x, y)),
                _ => match (x.number(), y.number()) {
                    (Some(x), Some(y)) => fraction(op, x, y),
                    _ => symbolic_fraction(op, &x.whole(), &y.whole()),
                },
            }
        })
    });
    call.set_content(0, content)
}

/// Whole-number arithmetic, on plain numbers and on symbolic dimensions.
fn whole(op: &str, fmod: bool, x: &Dim, y: &Dim) -> Dim {
    let both_nonnegative = x.is_nonnegative() && y.is_nonnegative();
    match (op, x, y) {
        ("Add", x, y) => x.add(y),
        ("Sub", x, y) => x.sub(y),
        ("Mul", x, y) => x.mul(y),
        // Integer division rounds towards zero, which is downwards only where nothing is negative.
        ("Div", Dim::Static(x), Dim::Static(y)) => x.checked_div(*y).map_or(Dim::Unknown, Dim::Static),
        ("Div", x, y) => match x.div_exact(y) {
            Some(quotient) => quotient,
            None if both_nonnegative => x.floor_div(y),
            None => Dim::Unknown,
        },
        ("Mod", x, y) if both_nonnegative || !fmod => x.rem(y),
        ("Max", x, y) => x.larger(y),
        ("Min", x, y) => x.smaller(y),
        ("Pow", x, Dim::Static(n @ 0..=4)) => (0..*n).fold(Dim::Static(1), |product, _| product.mul(x)),
        (_, Dim::Static(x), Dim::Static(y)) => truth(op, x.cmp(y), *x != 0, *y != 0),
        ("Equal", x, y) => symbolic_equal(x, y),
        _ => Dim::Unknown,
    }
}

/// A dimension equals itself, and never a negative number; all else is open.
fn symbolic_equal(x: &Dim, y: &Dim) -> Dim {
    match (x, y) {
        (Dim::Unknown, _) | (_, Dim::Unknown) => Dim::Unknown,
        _ if x == y => Dim::Static(1),
        (Dim::Static(n), other) | (other, Dim::Static(n)) if *n < 0 && other.is_nonnegative() => {
            Dim::Static(0)
        }
        _ => Dim::Unknown,
    }
}

fn truth(op: &str, order: std::cmp::Ordering, x: bool, y: bool) -> Dim {
    let result = match op {
        "Equal" => order.is_eq(),
        "Greater" => order.is_gt(),
        "GreaterOrEqual" => order.is_ge(),
        "Less" => order.is_lt(),
        "LessOrEqual" => order.is_le(),
        "And" => x && y,
        "Or" => x || y,
        "Xor" => x != y,
        _ => return Dim::Unknown,
    };
    Dim::Static(i64::from(result))
}

fn fraction(op: &str, x: f64, y: f64) -> Scalar {
    Scalar::Float(match op {
        "Add" => x + y,
        "Sub" => x - y,
        "Mul" => x * y,
        "Div" => x / y,
        "Max" => x.max(y),
        "Min" => x.min(y),
        _ => match x.partial_cmp(&y) {
            Some(order) => return Scalar::Int(truth(op, order, x != 0.0, y != 0.0)),
            None => return Scalar::UNKNOWN,
        },
    })
}

/// A dimension held in a float tensor, combined with a whole number: what stays whole is followed.
fn symbolic_fraction(op: &str, x: &Dim, y: &Dim) -> Scalar {
    Scalar::Int(match op {
        "Add" => x.add(y),
        "Sub" => x.sub(y),
        "Mul" => x.mul(y),
        "Div" => x.div_exact(y).unwrap_or(Dim::Unknown),
        _ => Dim::Unknown,
    })
}

fn variadic(call: &mut Call<'_, '_>) -> Outcome {
    if call.since() < 8 {
        let known = (0..call.inputs.len()).find(|&i| call.shape_of(i).is_some());
        call.same_shape(0, known.ok_or(Stop::Unknown)?)?;
    } else {
        broadcast_all(call)?;
    }
    match call.inputs.len() {
        1 => {
            let content = call.content(0).cloned();
            call.set_content(0, content)
        }
        2 if matches!(&*call.node.op.name, "Max" | "Min") => combine(call),
        _ => Ok(()),
    }
}

fn select(call: &mut Call<'_, '_>) -> Outcome {
    broadcast_all(call)?;
    let (Some(condition), Some(a), Some(b)) = (call.content(0), call.content(1), call.content(2)) else {
        return Ok(());
    };
    let content = call.static_shape_out(0).and_then(|dims| {
        Content::broadcast(&dims, &[condition, a, b], |operands| match operands {
            [Scalar::Int(Dim::Static(0)), _, no] => (*no).clone(),
            [Scalar::Int(Dim::Static(_)), yes, _] => (*yes).clone(),
            [_, yes, no] if yes == no => (*yes).clone(),
            _ => Scalar::UNKNOWN,
        })
    });
    call.set_content(0, content)
}

fn prelu(call: &mut Call<'_, '_>) -> Outcome {
    call.same_shape(0, 0)
}
