//! Operators that ONNX Runtime fuses others into.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Outputs};
use super::conv::convolved;
use super::elementwise_unary::{map_floats, unary};
use super::fault::{Fault, ensure};
use super::layout::{self, Lanes};
use super::matmul::{gemm, multiply};
use super::norm::{moments, over_root_mean_square};
use super::numbers::{self, from_floats};
use super::reduce::reduced_dims;
use super::registry::{Entry, contrib, onnx};
use super::shape::permuted;
use super::special::{gelu, gelu_tanh, sigmoid};

pub(super) const OPS: &[Entry] = &[
    contrib("BiasAdd", bias_add),
    contrib("BiasGelu", bias_gelu),
    contrib("FastGelu", bias_gelu),
    contrib("FusedConv", fused_conv),
    contrib("FusedGemm", fused_gemm),
    contrib("FusedMatMul", fused_matmul),
    contrib("Gelu", bias_gelu),
    contrib("QuickGelu", unary),
    contrib("SkipLayerNormalization", skip_layer_normalization),
    contrib("SkipSimplifiedLayerNormalization", skip_layer_normalization),
    contrib("TransposeMatMul", fused_matmul),
    onnx("SimplifiedLayerNormalization", 1, simplified_layer_normalization),
];

/// The sum of the inputs that are there, with all but the first broadcast.
fn sum_of(call: &Call<'_>, inputs: &[usize]) -> Result<Vec<f64>, Fault> {
    let dims = call.tensor(0)?.dims();
    let mut sum = call.floats(0)?;
    for &i in inputs {
        if let Some(tensor) = call.tensor_opt(i)? {
            let values = layout::expand(numbers::floats(tensor)?, tensor.dims(), dims)?;
            sum.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
        }
    }
    Ok(sum)
}

fn bias_add(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    Ok(vec![from_floats(x.dtype(), x.dims(), &sum_of(call, &[1, 2])?)?.into()])
}

/// Gelu, with or without a bias before it; FastGelu is the approximation by tanh.
fn bias_gelu(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let f = if &*call.node.op.name == "FastGelu" { gelu_tanh } else { gelu };
    let values: Vec<f64> = sum_of(call, &[1])?.into_iter().map(f).collect();
    Ok(vec![from_floats(x.dtype(), x.dims(), &values)?.into()])
}

pub(super) fn fused_conv(call: &Call<'_>) -> Outputs {
    let (mut out, dims) = convolved(call)?;
    if let Some(z) = call.floats_opt(3)? {
        ensure!(z.len() == out.len(), "an addend of another size than the result");
        out.iter_mut().zip(z).for_each(|(x, z)| *x += z);
    }
    let parameters = call.floats_attr("activation_params")?.unwrap_or_default();
    let y = from_floats(call.tensor(0)?.dtype(), &dims, &out)?;
    activated(call, &y, [parameters.first().copied(), parameters.get(1).copied()])
}

fn fused_gemm(call: &Call<'_>) -> Outputs {
    let parameters = [call.float_opt("activation_alpha")?, call.float_opt("activation_beta")?];
    activated(call, &gemm(call)?, parameters)
}

/// What the attribute `activation` makes of a result.
fn activated(call: &Call<'_>, y: &Tensor, parameters: [Option<f64>; 2]) -> Outputs {
    let (a, b) =
        (|default: f64| parameters[0].unwrap_or(default), |default: f64| parameters[1].unwrap_or(default));
    let y = match call.text_opt("activation")?.unwrap_or("") {
        "" => y.clone(),
        "Relu" => map_floats(y, |x| x.max(0.0))?,
        "Tanh" => map_floats(y, f64::tanh)?,
        "Sigmoid" => map_floats(y, sigmoid)?,
        "HardSwish" => map_floats(y, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0))?,
        "LeakyRelu" => map_floats(y, |x| if x < 0.0 { a(0.01) * x } else { x })?,
        "Elu" => map_floats(y, |x| if x < 0.0 { a(1.0) * x.exp_m1() } else { x })?,
        "Clip" => map_floats(y, |x| x.max(a(f64::NAN)).min(b(f64::NAN)))?,
        "HardSigmoid" => map_floats(y, |x| (a(0.2) * x + b(0.5)).clamp(0.0, 1.0))?,
        other => return Err(Fault::Unsupported(format!("activation `{other}`"))),
    };
    Ok(vec![y.into()])
}

/// A matrix operand, its last axes exchanged where asked; where `outer`, its rows are its first axis, before batches.
fn turned(tensor: &Tensor, turn: bool, outer: bool) -> Result<Tensor, Fault> {
    let rank = tensor.rank();
    if rank < 2 {
        return Ok(tensor.clone());
    }
    let mut order: Vec<usize> = (0..rank).collect();
    if outer {
        order[..rank - 1].rotate_left(1);
    }
    if turn {
        order.swap(rank - 2, rank - 1);
    }
    permuted(tensor, &order)
}

fn fused_matmul(call: &Call<'_>) -> Outputs {
    let a = turned(call.tensor(0)?, call.flag("transA")?, call.flag("transBatchA")?)?;
    let b = turned(call.tensor(1)?, call.flag("transB")?, call.flag("transBatchB")?)?;
    let (mut out, dims) = multiply(&numbers::floats(&a)?, a.dims(), &numbers::floats(&b)?, b.dims())?;
    let alpha = call.float("alpha")?;
    out.iter_mut().for_each(|x| *x *= alpha);
    Ok(vec![from_floats(a.dtype(), &dims, &out)?.into()])
}

/// Multiplies each lane by one list and adds another.
fn scaled_lanes(values: &mut [f64], scale: &[f64], bias: Option<&[f64]>) -> Result<(), Fault> {
    let n = scale.len();
    ensure!(n > 0 && values.len().is_multiple_of(n), "{n} scales do not fit");
    ensure!(bias.is_none_or(|b| b.len() == n), "scales and biases differ in number");
    values.iter_mut().enumerate().for_each(|(i, x)| *x = *x * scale[i % n] + bias.map_or(0.0, |b| b[i % n]));
    Ok(())
}

/// Layer or root-mean-square normalisation of a sum, along the last axis. The sum is the fourth output.
fn skip_layer_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() > 0, "a scalar cannot be normalised");
    let epsilon = call.float("epsilon")?;
    let simplified = &*call.node.op.name == "SkipSimplifiedLayerNormalization";
    let sum = sum_of(call, &[1, if simplified { 3 } else { 4 }])?;
    let lanes = Lanes::new(x.dims(), &[x.rank() - 1])?;
    let about = lanes.reduce(&sum, |lane| match simplified {
        true => (0.0, lane.iter().map(|x| x * x).sum::<f64>() / lane.len() as f64),
        false => moments(lane),
    });
    let (mean, scale): (Vec<f64>, Vec<f64>) =
        about.into_iter().map(|(mean, variance)| (mean, 1.0 / (variance + epsilon).sqrt())).unzip();
    let n = lanes.len.max(1);
    let mut values: Vec<f64> =
        sum.iter().enumerate().map(|(i, x)| (x - mean[i / n]) * scale[i / n]).collect();
    let bias = if simplified { None } else { call.floats_opt(3)? };
    scaled_lanes(&mut values, &call.floats(2)?, bias.as_deref())?;
    let kept = reduced_dims(x.dims(), &[x.rank() - 1], true);
    let statistics =
        |values: &[f64]| -> Result<Datum, Fault> { Ok(from_floats(DType::F32, &kept, values)?.into()) };
    Ok(vec![
        from_floats(x.dtype(), x.dims(), &values)?.into(),
        statistics(&mean)?,
        statistics(&scale)?,
        from_floats(x.dtype(), x.dims(), &sum)?.into(),
    ])
}

fn simplified_layer_normalization(call: &Call<'_>) -> Outputs {
    let (x, scale) = (call.tensor(0)?, call.tensor(1)?);
    let axis = layout::axis(call.int("axis")?, x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let epsilon = call.float("epsilon")?;
    let (lanes, values) = (Lanes::new(x.dims(), &axes)?, call.floats(0)?);
    let mut y = lanes.map(&values, 0.0, |lane| over_root_mean_square(lane, epsilon));
    scaled_lanes(&mut y, &numbers::floats(scale)?, None)?;
    let deviation = lanes.reduce(&values, |lane| {
        1.0 / (lane.iter().map(|x| x * x).sum::<f64>() / lane.len() as f64 + epsilon).sqrt()
    });
    let kept = reduced_dims(x.dims(), &axes, true);
    Ok(vec![
        from_floats(scale.dtype(), x.dims(), &y)?.into(),
        from_floats(DType::F32, &kept, &deviation)?.into(),
    ])
}
