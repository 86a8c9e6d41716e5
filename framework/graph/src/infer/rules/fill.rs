//! Operators that make tensors out of attributes and shapes.

use super::Family;
use super::layout::unknown_dims;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::infer::content::{Content, MAX_ELEMENTS, Scalar};
use crate::{Attr, DType, Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Constant"], constant),
        (&["ConstantOfShape"], constant_of_shape),
        (&["EyeLike"], eye_like),
        (&["GivenTensorFill"], given_tensor_fill),
        (&["Multinomial"], multinomial),
        (&["RandomNormal", "RandomUniform"], random),
        (&["Range"], range),
    ],
};

fn constant(call: &mut Call<'_, '_>) -> Outcome {
    let names = [
        "value",
        "sparse_value",
        "value_int",
        "value_ints",
        "value_float",
        "value_floats",
        "value_string",
        "value_strings",
    ];
    let Some(attr) = names.iter().find_map(|name| call.attr(name)) else {
        return invalid("there is no value");
    };
    let vector = |n: usize| [Dim::Static(n as i64)];
    match attr {
        Attr::Tensor(tensor) => {
            call.set_type(0, tensor.ty().into());
            call.set_content(0, Content::of_tensor(tensor))
        }
        Attr::SparseTensor(sparse) => {
            call.set_dtype(0, sparse.values.dtype());
            call.set_shape(0, sparse.dims.iter().map(|&n| Dim::Static(n as i64)))
        }
        Attr::Int(n) => {
            call.set_dtype(0, DType::I64);
            call.set_content(0, Some(Content::scalar(Scalar::int(*n))))
        }
        Attr::Ints(list) => {
            call.set_dtype(0, DType::I64);
            call.set_shape(0, vector(list.len()))?;
            call.set_content(0, Content::vector(list.iter().map(|&n| Dim::Static(n))))
        }
        Attr::Float(x) => {
            call.set_dtype(0, DType::F32);
            call.set_content(0, Some(Content::scalar(Scalar::Float(f64::from(*x)))))
        }
        Attr::Floats(list) => {
            call.set_dtype(0, DType::F32);
            call.set_shape(0, vector(list.len()))?;
            let elements = list.iter().map(|&x| Scalar::Float(f64::from(x))).collect();
            call.set_content(0, Content::new(&[list.len()], elements))
        }
        Attr::Str(_) => {
            call.set_dtype(0, DType::Str);
            call.set_shape(0, [])
        }
        Attr::Strs(list) => {
            call.set_dtype(0, DType::Str);
            call.set_shape(0, vector(list.len()))
        }
        other => invalid(format!("a value cannot be {:?}", other.kind())),
    }
}

/// A shape that comes as a vector; what may be negative is unknown.
pub fn shape_from(call: &Call<'_, '_>, input: usize) -> Result<Dims, Stop> {
    match call.dims_in(input) {
        Ok(dims) => match dims.iter().find(|d| d.value().is_some_and(|n| n < 0)) {
            Some(negative) => invalid(format!("a dimension cannot be {negative}")),
            None => {
                let known = dims.into_iter().map(|d| if d.is_nonnegative() { d } else { Dim::Unknown });
                Ok(known.collect())
            }
        },
        Err(_) => unknown_dims(call.length(input)?),
    }
}

fn constant_of_shape(call: &mut Call<'_, '_>) -> Outcome {
    let value = call.tensor("value");
    call.set_dtype(0, value.map_or(DType::F32, |tensor| tensor.dtype()));
    let dims = shape_from(call, 0)?;
    call.set_shape(0, dims)?;
    let element = match value {
        Some(tensor) => Content::of_tensor(tensor).and_then(|c| c.elements().first().cloned()),
        None => Some(Scalar::Float(0.0)),
    };
    let content = call.static_shape_out(0).and_then(|dims| Content::build(&dims, |_| element.clone()));
    call.set_content(0, content)
}

fn eye_like(call: &mut Call<'_, '_>) -> Outcome {
    if let Some(dtype) = call.dtype_attr("dtype")?.or_else(|| call.dtype(0)) {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}

fn given_tensor_fill(call: &mut Call<'_, '_>) -> Outcome {
    if call.has(0) {
        return Err(Stop::Unknown);
    }
    let shape = call.ints("shape").ok_or(Stop::Unknown)?;
    let extra = call.ints("extra_shape").unwrap_or_default();
    call.set_shape(0, shape.iter().chain(extra.iter()).map(|&n| Dim::Static(n)))
}

fn multinomial(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(0, call.dtype_attr("dtype")?.unwrap_or(DType::I32));
    let batch = call.shape_of(0).and_then(|dims| dims.first().cloned()).unwrap_or(Dim::Unknown);
    call.set_shape(0, [batch, Dim::Static(call.int_or("sample_size", 1))])
}

fn random(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(0, call.dtype_attr("dtype")?.unwrap_or(DType::F32));
    let shape = call.ints("shape").ok_or(Stop::Unknown)?;
    call.set_shape(0, shape.iter().map(|&n| Dim::Static(n)))
}

pub fn range(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [Dim::Unknown])?;
    let only = |i: usize| -> Option<&Scalar> {
        let elements = call.content(i)?.elements();
        elements.first().filter(|_| elements.len() == 1)
    };
    let (Some(start), Some(limit), Some(step)) = (only(0), only(1), only(2)) else { return Ok(()) };
    let fractional = call.dtype(0).is_some_and(DType::is_float);
    match (start.number(), limit.number(), step.number()) {
        (_, _, Some(0.0)) => invalid("a step of 0 goes nowhere"),
        (Some(start), Some(limit), Some(step)) => {
            let steps = (limit - start) / step;
            // Near a whole number of steps, fractions of another precision may come out on its other side.
            let whole = [start, limit, step].iter().all(|x| x.fract() == 0.0);
            if !whole && (steps - steps.round()).abs() < 1e-3 {
                return Ok(());
            }
            let count = steps.ceil().max(0.0);
            if count.is_nan() || count >= 9.0e15 {
                return invalid("the range has no end");
            }
            call.set_shape(0, [Dim::Static(count as i64)])?;
            if count > MAX_ELEMENTS as f64 || fractional {
                return Ok(());
            }
            let elements = (0..count as i64).map(|i| Dim::Static(start as i64 + i * step as i64));
            call.set_content(0, Content::vector(elements))
        }
        (_, _, Some(step)) if step > 0.0 && step.fract() == 0.0 => {
            let span = limit.dim().sub(&start.dim()).larger(&Dim::Static(0));
            let count = if step == 1.0 { span } else { span.ceil_div(&Dim::Static(step as i64)) };
            call.set_shape(0, [count])
        }
        _ => Ok(()),
    }
}
