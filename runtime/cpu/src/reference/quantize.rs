//! QuantizeLinear and DequantizeLinear in every form, and DynamicQuantizeLinear.
//!
//! Quotients and products are rounded to `f32` as the standard computes them, then to nearest even, then
//! saturated.

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::minifloat;
use super::numbers::{self, from_codes, from_floats, from_ints, int_range};
use super::registry::{Entry, contrib, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("DequantizeLinear", 10, dequantize),
    onnx("DynamicQuantizeLinear", 11, dynamic_quantize),
    onnx("QuantizeLinear", 10, quantize),
    contrib("DequantizeLinear", dequantize),
    contrib("QuantizeLinear", quantize),
];

/// For each element of a tensor of `dims`, which of the parameters is its.
fn parameter_of(call: &Call<'_>, dims: &[usize], parameters: &Tensor) -> Result<Vec<usize>, Fault> {
    let total = layout::count(dims)?;
    let block = layout::size(call.int_opt("block_size")?.unwrap_or(0))?;
    if parameters.len() == 1 && block == 0 {
        return Ok(vec![0; total]);
    }
    let axis = layout::axis(call.int_opt("axis")?.unwrap_or(1), dims.len())?;
    if block == 0 {
        let fits = parameters.rank() == 1 && parameters.len() == dims[axis];
        ensure!(fits, "parameters of shape {:?} for axis {axis} of {dims:?}", parameters.dims());
        let inner = layout::count(&dims[axis + 1..])?;
        return Ok((0..total).map(|i| i / inner % dims[axis]).collect());
    }
    let mut blocks = dims.to_vec();
    blocks[axis] = dims[axis].div_ceil(block);
    ensure!(parameters.dims() == blocks, "parameters of shape {:?} for blocks {blocks:?}", parameters.dims());
    let inner = layout::count(&dims[axis + 1..])?;
    let place = |i: usize| {
        (i / inner / dims[axis] * blocks[axis] + i / inner % dims[axis] / block) * inner + i % inner
    };
    Ok((0..total).map(place).collect())
}

/// Zero points as numbers, one for each scale.
fn zero_points(call: &Call<'_>, i: usize, scales: &Tensor) -> Result<Vec<f64>, Fault> {
    let Some(points) = call.tensor_opt(i)? else { return Ok(vec![0.0; scales.len()]) };
    ensure!(points.len() == scales.len(), "{} zero points for {} scales", points.len(), scales.len());
    numbers::floats(points)
}

fn quantize(call: &Call<'_>) -> Outputs {
    let (x, scales) = (call.tensor(0)?, call.tensor(1)?);
    let to = match (call.tensor_opt(2)?, call.dtype_opt("output_dtype")?) {
        (Some(points), _) => points.dtype(),
        (None, Some(dtype)) => dtype,
        _ => DType::U8,
    };
    let saturate = call.int_opt("saturate")?.unwrap_or(1) != 0;
    let which = parameter_of(call, x.dims(), scales)?;
    let points = zero_points(call, 2, scales)?;
    let scales = numbers::floats(scales)?;
    let values = numbers::floats(x)?;
    let quotient = |x: f64, p: usize| f64::from(x as f32 / scales[p] as f32);
    let pairs = values.iter().zip(&which);
    if let Some(format) = minifloat::format(to) {
        let codes: Vec<u8> =
            pairs.map(|(&x, &p)| format.encode(quotient(x, p) + points[p], saturate)).collect();
        return Ok(vec![from_codes(to, x.dims(), &codes)?.into()]);
    }
    let range = int_range(to).ok_or(Fault::DType { what: "a quantised result", got: to })?;
    let rounded: Vec<i128> =
        pairs.map(|(&x, &p)| saturated(quotient(x, p).round_ties_even() + points[p], range)).collect();
    Ok(vec![from_ints(to, x.dims(), &rounded)?.into()])
}

/// The nearest value of the range; NaN becomes zero, as a cast makes it.
pub(super) fn saturated(x: f64, (least, greatest): (i128, i128)) -> i128 {
    (x as i128).clamp(least, greatest)
}

fn dequantize(call: &Call<'_>) -> Outputs {
    let (x, scales) = (call.tensor(0)?, call.tensor(1)?);
    let to = call.dtype_opt("output_dtype")?.unwrap_or(scales.dtype());
    let which = parameter_of(call, x.dims(), scales)?;
    let points = zero_points(call, 2, scales)?;
    let scales = numbers::floats(scales)?;
    let values = numbers::floats(x)?;
    let scaled: Vec<f64> = values.iter().zip(&which).map(|(&x, &p)| (x - points[p]) * scales[p]).collect();
    Ok(vec![from_floats(to, x.dims(), &scaled)?.into()])
}

/// Scale and zero point that cover the values and zero with 8 bits.
pub(super) fn dynamic_parameters(values: &[f32]) -> (f32, u8) {
    let least = values.iter().copied().fold(0f32, f32::min);
    let greatest = values.iter().copied().fold(0f32, f32::max);
    parameters_of_range(least, greatest)
}

/// Scale and zero point that cover a range around zero with 8 bits. One without extent counts as of length 1.
pub(crate) fn parameters_of_range(least: f32, greatest: f32) -> (f32, u8) {
    let scale = match (greatest - least) / 255.0 {
        0.0 => 1.0 / 255.0,
        scale => scale,
    };
    (scale, (-least / scale).round_ties_even().clamp(0.0, 255.0) as u8)
}

fn dynamic_quantize(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let values = x.as_slice::<f32>()?;
    let (scale, zero) = dynamic_parameters(&values);
    let quantised = |&x: &f32| ((x / scale).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) as u8;
    let y = Tensor::from_vec(x.dims(), values.iter().map(quantised).collect::<Vec<u8>>())?;
    Ok(vec![y.into(), Tensor::scalar(scale).into(), Tensor::scalar(zero).into()])
}

/// How sums of products become the output of an operator on quantised tensors.
pub(super) struct Requantise {
    pub dtype: DType,
    pub scale: f32,
    pub zero: f64,
}

impl Requantise {
    /// Scale and zero point of the output, both of one element.
    pub fn of(call: &Call<'_>, scale: usize, zero: usize) -> Result<Requantise, Fault> {
        let tensor = call.tensor(zero)?;
        Ok(Requantise {
            dtype: tensor.dtype(),
            scale: call.float_scalar(scale)? as f32,
            zero: call.float_scalar(zero)?,
        })
    }

    /// Sums of 32 bits, each times one `f32` multiplier.
    pub fn apply(
        &self,
        dims: &[usize],
        sums: &[f64],
        product_scale: impl Fn(usize) -> f32,
    ) -> Result<Tensor, Fault> {
        let one = |(i, &sum): (usize, &f64)| wrapped(sum) as f32 * (product_scale(i) / self.scale);
        self.store(dims, &sums.iter().enumerate().map(one).collect::<Vec<f32>>())
    }

    /// Whole numbers are rounded half to even, moved by the zero point and saturated; 8-bit floats have no zero point.
    pub fn store(&self, dims: &[usize], scaled: &[f32]) -> Result<Tensor, Fault> {
        if let Some(range) = int_range(self.dtype) {
            let one = |x: &f32| saturated(f64::from(x.round_ties_even()) + self.zero, range);
            return from_ints(self.dtype, dims, &scaled.iter().map(one).collect::<Vec<i128>>());
        }
        if !minifloat::is_float8(self.dtype) {
            return Err(Fault::DType { what: "a quantised result", got: self.dtype });
        }
        from_floats(self.dtype, dims, &scaled.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>())
    }
}

/// A sum as the 32-bit accumulator holds it. Sums are whole numbers, exact in `f64`.
pub(super) fn wrapped(sum: f64) -> i32 {
    sum as i64 as i32
}

/// An input less its zero point, which is one value or one for each place along `axis`.
pub(super) fn centred(call: &Call<'_>, i: usize, zero: usize, axis: usize) -> Result<Vec<f64>, Fault> {
    let tensor = call.tensor(i)?;
    let mut values = numbers::floats(tensor)?;
    let is_code = tensor.dtype().is_integer() || minifloat::is_float8(tensor.dtype());
    ensure!(is_code, "input {i} is of {}, where integers or 8-bit floats are needed", tensor.dtype());
    if let Some(points) = call.floats_opt(zero)? {
        let of = along(tensor.dims(), axis, &points)?;
        values.iter_mut().enumerate().for_each(|(at, x)| *x -= points[of(at)]);
    }
    Ok(values)
}

/// For an element's place in a tensor, which of the parameters along `axis` is its.
pub(super) fn along(
    dims: &[usize],
    axis: usize,
    parameters: &[f64],
) -> Result<impl Fn(usize) -> usize + use<>, Fault> {
    let dim = dims.get(axis).copied().unwrap_or(1);
    let inner = layout::count(dims.get(axis + 1..).unwrap_or_default())?.max(1);
    let single = parameters.len() == 1;
    if !single && parameters.len() != dim {
        return Err(invalid!("{} parameters for axis {axis} of {dims:?}", parameters.len()));
    }
    Ok(move |at: usize| if single { 0 } else { at / inner % dim })
}
