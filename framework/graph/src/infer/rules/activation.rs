//! Operators whose outputs have the shape of their first input.

use super::Family;
use super::arithmetic::map_content;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::infer::content::Scalar;
use crate::{DType, Dim};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (
            &[
                "Acos",
                "Acosh",
                "Affine",
                "Asin",
                "Asinh",
                "Atan",
                "Atanh",
                "BitwiseNot",
                "Celu",
                "Cos",
                "Cosh",
                "CumProd",
                "CumSum",
                "Elu",
                "Erf",
                "Exp",
                "GRUUnit",
                "Gelu",
                "HardSigmoid",
                "HardSwish",
                "Hardmax",
                "ImageScaler",
                "IsInf",
                "IsNaN",
                "LRN",
                "LeakyRelu",
                "Log",
                "LogSoftmax",
                "LpNormalization",
                "Mish",
                "ParametricSoftplus",
                "Scale",
                "ScaledTanh",
                "Scatter",
                "ScatterElements",
                "ScatterND",
                "Selu",
                "Shrink",
                "Sigmoid",
                "Sin",
                "Sinh",
                "Softmax",
                "Softplus",
                "Softsign",
                "SwiGLU",
                "Swish",
                "Tan",
                "Tanh",
                "TensorScatter",
                "ThresholdedRelu",
                "Trilu",
                "ReverseSequence",
            ],
            same_as_input,
        ),
        (&["Abs", "Ceil", "Floor", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sign", "Sqrt"], number),
        (&["Identity"], identity),
        (&["Cast", "BitCast"], cast),
        (&["CastLike"], cast_like),
        (&["Clip"], clip),
        (&["Dropout"], dropout),
        (&["QuantizeLinear"], quantize),
        (&["DequantizeLinear"], dequantize),
        (&["DynamicQuantizeLinear"], dynamic_quantize),
        (&["Bernoulli", "RandomNormalLike", "RandomUniformLike"], random_like),
    ],
};

pub fn same_as_input(call: &mut Call<'_, '_>) -> Outcome {
    call.same_shape(0, 0)
}

/// Functions of one number that shapes are computed with.
fn number(call: &mut Call<'_, '_>) -> Outcome {
    call.same_shape(0, 0)?;
    let op = &*call.node.op.name;
    let float = |x: f64| match op {
        "Abs" => Some(x.abs()),
        "Ceil" => Some(x.ceil()),
        "Floor" => Some(x.floor()),
        "Neg" => Some(-x),
        "Reciprocal" => Some(1.0 / x),
        "Relu" => Some(x.max(0.0)),
        "Round" => Some(x.round_ties_even()),
        "Sqrt" => Some(x.sqrt()),
        _ => None,
    };
    let int = |d: &Dim| match (op, d) {
        ("Neg", d) => Dim::Static(0).sub(d),
        ("Abs", Dim::Static(n)) => n.checked_abs().map_or(Dim::Unknown, Dim::Static),
        ("Abs", d) if d.is_nonnegative() => d.clone(),
        ("Relu", d) => d.larger(&Dim::Static(0)),
        ("Sign", Dim::Static(n)) => Dim::Static(n.signum()),
        ("Ceil" | "Floor" | "Round", d) => d.clone(),
        ("Not", Dim::Static(n)) => Dim::Static(i64::from(*n == 0)),
        _ => Dim::Unknown,
    };
    map_content(call, |element| match element {
        Scalar::Int(d) => Scalar::Int(int(d)),
        Scalar::Float(x) => float(*x).map_or(Scalar::UNKNOWN, Scalar::Float),
    })
}

fn identity(call: &mut Call<'_, '_>) -> Outcome {
    if let (Some(fact), Some(output)) = (call.fact(0).cloned(), call.outputs.first_mut()) {
        *output = fact;
    }
    Ok(())
}

fn cast(call: &mut Call<'_, '_>) -> Outcome {
    let to = match call.text("to") {
        // The first version names the type.
        Some(name) => DType::from_name(&name.to_lowercase()),
        None => call.dtype_attr("to")?,
    };
    let Some(to) = to else { return invalid("`to` names no element type") };
    call.set_dtype(0, to);
    cast_content(call, to)
}

fn cast_like(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape_of(0).cloned();
    if let Some(shape) = shape {
        call.set_shape(0, shape)?;
    }
    let to = call.dtype(1).ok_or(Stop::Unknown)?;
    call.set_dtype(0, to);
    cast_content(call, to)
}

fn cast_content(call: &mut Call<'_, '_>, to: DType) -> Outcome {
    call.same_shape(0, 0)?;
    if &*call.node.op.name == "BitCast" {
        return Ok(());
    }
    map_content(call, |element| match element {
        Scalar::Int(d) if to == DType::Bool => match d {
            Dim::Static(n) => Scalar::int(i64::from(*n != 0)),
            _ => Scalar::UNKNOWN,
        },
        Scalar::Int(Dim::Static(n)) if to.is_float() => Scalar::Float(*n as f64),
        // A symbolic dimension is a whole number, whatever type holds it.
        Scalar::Int(d) => Scalar::Int(d.clone()),
        Scalar::Float(x) if to == DType::Bool => Scalar::int(i64::from(*x != 0.0)),
        Scalar::Float(x) if to.is_float() => Scalar::Float(*x),
        Scalar::Float(x) if to.is_integer() && x.abs() < 9.0e15 => Scalar::int(x.trunc() as i64),
        Scalar::Float(_) => Scalar::UNKNOWN,
    })
}

fn clip(call: &mut Call<'_, '_>) -> Outcome {
    call.same_shape(0, 0)?;
    if call.since() < 11 {
        return Ok(()); // The bounds are attributes, and no shape goes through them.
    }
    let bound = |call: &Call<'_, '_>, i: usize| match call.has(i) {
        true => call.content(i).and_then(|c| c.elements().first().cloned()).map(Some),
        false => Some(None),
    };
    let (Some(low), Some(high)) = (bound(call, 1), bound(call, 2)) else { return Ok(()) };
    map_content(call, |element| {
        let mut dim = element.dim();
        if let Some(low) = &low {
            dim = dim.larger(&low.dim());
        }
        if let Some(high) = &high {
            dim = dim.smaller(&high.dim());
        }
        Scalar::Int(dim)
    })
}

fn dropout(call: &mut Call<'_, '_>) -> Outcome {
    if call.since() < 7 && call.outputs.len() > 1 {
        call.outputs[1].ty = call.ty(0).cloned();
    }
    call.same_shape(0, 0)?;
    call.same_shape(1, 0)
}

fn quantize(call: &mut Call<'_, '_>) -> Outcome {
    let asked = call.dtype_attr("output_dtype")?;
    let dtype = call.dtype(2).or(asked).or((!call.has(2)).then_some(DType::U8));
    if let Some(dtype) = dtype {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}

fn dequantize(call: &mut Call<'_, '_>) -> Outcome {
    let asked = call.dtype_attr("output_dtype")?;
    if let Some(dtype) = asked.or_else(|| call.dtype(1)) {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}

fn dynamic_quantize(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(1, [])?;
    call.set_shape(2, [])?;
    call.same_shape(0, 0)
}

fn random_like(call: &mut Call<'_, '_>) -> Outcome {
    let asked = call.dtype_attr("dtype")?;
    if let Some(dtype) = asked.or_else(|| call.dtype(0)) {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}
