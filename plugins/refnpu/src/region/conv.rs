//! Convolutions, between DequantizeLinear and QuantizeLinear and as QLinearConv.

use byoc_plugin::{Error, Result, Value};

use super::sums::Sums;
use super::{Importer, Match, activation, shape, window};
use crate::layer::{Conv, Op};

pub fn conv(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let node = found.required_node(&["Conv", "QLinearConv"])?;
    let (x, y) = (found.required("x")?, found.output()?);
    let (input, output) = (shape(x)?, shape(y)?);
    let dims = fixed(found.required("w")?)?;
    let groups = node.attr_int("group").and_then(|group| usize::try_from(group).ok()).unwrap_or(1);
    let per_group = dims.get(1).copied().unwrap_or(0);
    let fits = dims.len() >= 3
        && dims[0] == output.channels
        && Some(input.channels) == per_group.checked_mul(groups);
    if !fits || !output.channels.is_multiple_of(groups) {
        return Err(Error::unsupported("weights, groups and channels do not fit each other"));
    }
    let kernel: Vec<i64> = dims[2..].iter().map(|&size| size as i64).collect();
    let window = window::of(node, &kernel, input, output)?.window;
    let sums = Sums::of(found, 0, output.channels)?;
    let conv = Conv {
        window,
        groups,
        weights: sums.weights,
        weight_zero: sums.weight_zero,
        input_zero: sums.input_zero,
        bias: sums.bias,
        multiplier: sums.multiplier,
        range: activation::range(found, sums.output)?,
    };
    let inputs = vec![importer.tensor(x)?];
    importer.result(found, Op::Conv(conv), inputs)
}

/// The shape of a constant.
pub fn fixed(value: &Value<'_>) -> Result<Vec<usize>> {
    value.shape().ok_or_else(|| Error::invalid(format!("`{}` is a constant without a shape", value.name)))
}
