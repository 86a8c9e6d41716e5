//! Convolutions, between DequantizeLinear and QuantizeLinear and as QLinearConv.

use byoc_plugin::{DType, Dim, Error, Result, Value};

use super::{Importer, Match, activation, constant, is_unsigned, shape, window};
use crate::layer::{Conv, Op};
use crate::quant::{Quant, Range, bias_steps, multiplier};

pub fn qdq(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let products = Products::qdq(found)?;
    let range = activation::range(found, products.output)?;
    convolution(importer, found, products, range, "Conv")
}

pub fn qlinear(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let products = Products::qlinear(found)?;
    let range = Range::full(products.output.zero);
    convolution(importer, found, products, range, "QLinearConv")
}

fn convolution(
    importer: &mut Importer<'_, '_>,
    found: &Match<'_, '_>,
    products: Products<'_, '_>,
    range: Range,
    op: &str,
) -> Result<()> {
    let node = found.required_node(&[op])?;
    let (x, y) = (found.required("x")?, found.output()?);
    let (input, output) = (shape(x)?, shape(y)?);
    let dims = fixed(products.weights)?;
    let groups = node.attr_int("group").and_then(|group| usize::try_from(group).ok()).unwrap_or(1);
    let per_group = dims.get(1).copied().unwrap_or(0);
    let fits = dims.len() >= 3
        && dims[0] == output.channels
        && Some(input.channels) == per_group.checked_mul(groups);
    if !fits || !output.channels.is_multiple_of(groups) {
        return Err(Error::unsupported("weights, groups and channels do not fit each other"));
    }
    let window = window::of(node, &dims[2..], input, output)?.window;
    let weights = constant::int8s(products.weights)?;
    let (bias, multiplier) = products.channels(output.channels)?;
    let conv = Conv {
        window,
        groups,
        weights,
        weight_zero: products.weight_zero,
        input_zero: products.input.zero,
        bias,
        multiplier,
        range,
    };
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Conv(conv), inputs)
}

/// The quantised parts that all sums of products have in common, bound to the same names in every pattern.
pub struct Products<'r, 'a> {
    pub input: Quant,
    pub weights: &'r Value<'a>,
    pub weight_zero: i8,
    pub output: Quant,
    weight_scales: Vec<f32>,
    bias: Bias,
}

enum Bias {
    None,
    /// In steps of input scale times weight scale.
    Steps(Vec<i32>),
    Floats(Vec<f64>),
}

impl<'r, 'a> Products<'r, 'a> {
    pub fn qdq(found: &Match<'r, 'a>) -> Result<Self> {
        Self::of(found, bias(found)?)
    }

    pub fn qlinear(found: &Match<'r, 'a>) -> Result<Self> {
        let bias = found.value("b").map_or(Ok(Bias::None), |bias| constant::int32s(bias).map(Bias::Steps))?;
        Self::of(found, bias)
    }

    fn of(found: &Match<'r, 'a>, bias: Bias) -> Result<Self> {
        let weights = found.required("w")?;
        Ok(Products {
            input: constant::quant(found, "xs", "xz", is_unsigned(found.required("x")?)?)?,
            weights,
            weight_zero: constant::zero(found.value("wz"), is_unsigned(weights)?)?,
            output: constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?,
            weight_scales: constant::scales(found.required("ws")?)?,
            bias,
        })
    }

    /// Bias and multiplier of so many channels.
    pub fn channels(&self, count: usize) -> Result<(Vec<i32>, Vec<f32>)> {
        let scales = spread(&self.weight_scales, count, "scales of weights")?;
        let input = self.input.scale;
        let multipliers: Vec<f32> =
            scales.iter().map(|&scale| multiplier(input, scale, self.output.scale)).collect();
        if !multipliers.iter().all(|multiplier| multiplier.is_finite()) {
            return Err(Error::unsupported("scales whose ratio is no float32"));
        }
        let bias = match &self.bias {
            Bias::None => vec![0; count],
            Bias::Steps(steps) => spread(steps, count, "biases")?,
            Bias::Floats(floats) => {
                let floats = spread(floats, count, "biases")?;
                let steps: Vec<i32> = floats
                    .iter()
                    .zip(&scales)
                    .map(|(&bias, &scale)| bias_steps(bias, input, scale))
                    .collect();
                let unit = |channel: usize| f64::from(input) * f64::from(scales[channel]);
                let left =
                    |c: usize| (floats[c] - f64::from(steps[c]) * unit(c)) / f64::from(self.output.scale);
                if (0..count).any(|channel| left(channel).abs() > COARSE) {
                    return Err(Error::unsupported("a bias that steps of the sum are too coarse for"));
                }
                steps
            }
        };
        Ok((bias, multipliers))
    }
}

/// Steps of the result by which a bias may be off when it is stored in steps of the sum.
const COARSE: f64 = 0.0625;

/// A bias as float32 or behind a DequantizeLinear.
fn bias(found: &Match<'_, '_>) -> Result<Bias> {
    let Some(value) = found.value("b") else { return Ok(Bias::None) };
    if value.dtype == Some(DType::F32) {
        return Ok(Bias::Floats(constant::floats(value)?.into_iter().map(f64::from).collect()));
    }
    let steps = constant::int32s(value)?;
    if let Some(zero) = found.value("bz")
        && constant::int32s(zero)?.iter().any(|&zero| zero != 0)
    {
        return Err(Error::unsupported("a bias with a zero point other than 0"));
    }
    let scales = spread(&constant::scales(found.required("bs")?)?, steps.len(), "scales of biases")?;
    Ok(Bias::Floats(
        steps.iter().zip(scales).map(|(&step, scale)| f64::from(step) * f64::from(scale)).collect(),
    ))
}

/// One number for each channel, where there is one for all.
fn spread<T: Copy>(numbers: &[T], count: usize, what: &str) -> Result<Vec<T>> {
    match *numbers {
        [one] => Ok(vec![one; count]),
        _ if numbers.len() == count => Ok(numbers.to_vec()),
        _ => Err(Error::unsupported(format!("{} {what} for {count} channels", numbers.len()))),
    }
}

/// The shape of a constant.
pub fn fixed(value: &Value<'_>) -> Result<Vec<usize>> {
    let known = |dim: &Dim| if let Dim::Known(size) = dim { Some(*size) } else { None };
    let dims: Option<Vec<usize>> = value.dims.as_ref().and_then(|dims| dims.iter().map(known).collect());
    dims.ok_or_else(|| Error::invalid(format!("`{}` is a constant without a shape", value.name)))
}
