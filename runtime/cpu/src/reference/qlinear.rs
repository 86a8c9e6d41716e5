//! Operators on quantised tensors: 32-bit sums of products of 8-bit integers, which `f64` holds exactly.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::conv::{add_bias, correlate, shapes};
use super::fault::{Fault, ensure};
use super::matmul::multiply;
use super::quantize::{Requantise, along, centred, wrapped};
use super::registry::{Entry, onnx};
use super::window::Window;

pub(super) const OPS: &[Entry] = &[
    onnx("ConvInteger", 10, conv_integer),
    onnx("MatMulInteger", 10, matmul_integer),
    onnx("QLinearConv", 10, qlinear_conv),
    onnx("QLinearMatMul", 10, qlinear_matmul),
];

/// Sums as a tensor of `int32`.
fn as_int32(dims: &[usize], sums: &[f64]) -> Outputs {
    Ok(vec![Tensor::from_vec(dims, sums.iter().map(|&s| wrapped(s)).collect::<Vec<i32>>())?.into()])
}

/// The axis of rows on the left or columns on the right, along which parameters may differ.
fn parameter_axis(tensor: &Tensor, from_end: usize) -> usize {
    tensor.rank().saturating_sub(from_end)
}

/// The product of inputs `a` and `b` less their zero points.
fn integer_product(
    call: &Call<'_>,
    (a, a_zero): (usize, usize),
    (b, b_zero): (usize, usize),
) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let (left, right) = (call.tensor(a)?, call.tensor(b)?);
    let a = centred(call, a, a_zero, parameter_axis(left, 2))?;
    let b = centred(call, b, b_zero, parameter_axis(right, 1))?;
    multiply(&a, left.dims(), &b, right.dims())
}

fn matmul_integer(call: &Call<'_>) -> Outputs {
    let (sums, dims) = integer_product(call, (0, 2), (1, 3))?;
    as_int32(&dims, &sums)
}

fn qlinear_matmul(call: &Call<'_>) -> Outputs {
    let (sums, dims) = integer_product(call, (0, 2), (3, 5))?;
    let (a_scale, b_scale) = (call.floats(1)?, call.floats(4)?);
    let rank = dims.len();
    let row = along(&dims, rank.saturating_sub(2), &a_scale)?;
    let column = along(&dims, rank.saturating_sub(1), &b_scale)?;
    let scale = |i: usize| a_scale[row(i)] as f32 * b_scale[column(i)] as f32;
    let result = Requantise::of(call, 6, 7)?;
    // 32 bits hold sums of integers; those of floats are whatever they are.
    if call.tensor(0)?.dtype().is_integer() && call.tensor(3)?.dtype().is_integer() {
        return Ok(vec![result.apply(&dims, &sums, scale)?.into()]);
    }
    let scaled = |(i, &sum): (usize, &f64)| (sum * f64::from(scale(i)) / f64::from(result.scale)) as f32;
    Ok(vec![result.store(&dims, &sums.iter().enumerate().map(scaled).collect::<Vec<f32>>())?.into()])
}

/// The convolution of inputs `x` and `w` less their zero points. The padding holds the zero point.
fn integer_conv(
    call: &Call<'_>,
    (x, x_zero): (usize, usize),
    (w, w_zero): (usize, usize),
) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let (image, filters) = (call.tensor(x)?, call.tensor(w)?);
    let shapes = shapes(call, image.dims(), filters.dims())?;
    let window = Window::of(call, &shapes.space, &shapes.kernel)?;
    let points = call.floats_opt(x_zero)?;
    ensure!(points.is_none_or(|p| p.len() == 1), "an image has one zero point");
    let x = centred(call, x, x_zero, 0)?;
    let w = centred(call, w, w_zero, 0)?;
    correlate(&x, &w, &shapes, &window, 0.0)
}

fn conv_integer(call: &Call<'_>) -> Outputs {
    let (sums, dims) = integer_conv(call, (0, 2), (1, 3))?;
    as_int32(&dims, &sums)
}

pub(super) fn qlinear_conv(call: &Call<'_>) -> Outputs {
    let (mut sums, dims) = integer_conv(call, (0, 2), (3, 5))?;
    add_bias(&mut sums, &dims, call.floats_opt(8)?)?;
    let (x_scale, w_scale) = (call.float_scalar(1)? as f32, call.floats(4)?);
    let feature = along(&dims, 1, &w_scale)?;
    let scale = |i: usize| x_scale * w_scale[feature(i)] as f32;
    Ok(vec![Requantise::of(call, 6, 7)?.apply(&dims, &sums, scale)?.into()])
}
