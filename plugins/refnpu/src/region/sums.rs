//! What all sums of products have in common, whether between DequantizeLinear and QuantizeLinear or of their own kind.

use byoc_plugin::quantised::Products;
use byoc_plugin::{Error, Result};

use super::{Match, constant, is_unsigned};
use crate::quant::Quant;

/// A composite's products as the device computes them.
pub struct Sums {
    pub weights: Vec<i8>,
    pub weight_zero: i8,
    pub input_zero: i8,
    pub output: Quant,
    /// For each output channel.
    pub bias: Vec<i32>,
    pub multiplier: Vec<f32>,
}

impl Sums {
    /// `axis` of the weights is that of the output's so many channels.
    pub fn of(found: &Match<'_, '_>, axis: usize, channels: usize) -> Result<Sums> {
        let products = Products::of(found.region, found.composite, axis)?;
        let (weights, weight_zero) = int8s(&products.weights)?;
        let multipliers = products.multipliers.iter().copied().cycle();
        let multiplier: Vec<f32> = multipliers.take(channels).collect();
        let zero = constant::zero(products.output_zero, is_unsigned(found.output()?)?)?;
        Ok(Sums {
            weights,
            weight_zero,
            input_zero: constant::zero(products.input_zero, is_unsigned(found.required("x")?)?)?,
            output: Quant { scale: products.output_scale, zero },
            bias: bias_steps(&products.bias, &multiplier)?,
            multiplier,
        })
    }
}

/// Weights less their zero points as int8, with one zero point again where they go beyond it.
fn int8s(weights: &[i32]) -> Result<(Vec<i8>, i8)> {
    let (least, most) = weights.iter().fold((0, 0), |(least, most), &w| (w.min(least), w.max(most)));
    let (low, high) = (i32::from(i8::MIN) - least, i32::from(i8::MAX) - most);
    let zero = i8::try_from(low.max(0.min(high))).ok().filter(|zero| i32::from(*zero) <= high);
    let zero = zero.ok_or_else(|| Error::unsupported("weights with zero points too far from each other"))?;
    Ok((weights.iter().map(|weight| (weight + i32::from(zero)) as i8).collect(), zero))
}

/// Steps of the result by which a bias may be off when it is stored in steps of the sum.
const COARSE: f64 = 0.0625;

/// Whole steps of the sum for each channel, halves to even.
fn bias_steps(bias: &[f64], multiplier: &[f32]) -> Result<Vec<i32>> {
    if bias.is_empty() {
        return Ok(vec![0; multiplier.len()]);
    }
    let steps: Vec<i32> = bias.iter().map(|steps| steps.round_ties_even() as i32).collect();
    let left = |channel: usize| (bias[channel] - f64::from(steps[channel])) * f64::from(multiplier[channel]);
    if (0..steps.len()).any(|channel| left(channel).abs() > COARSE) {
        return Err(Error::unsupported("a bias that steps of the sum are too coarse for"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_numbers_in_eight_bits() {
        assert_eq!(int8s(&[-128, 127]).unwrap(), (vec![-128, 127], 0));
        assert_eq!(int8s(&[0, 255]).unwrap(), (vec![-128, 127], -128));
        assert_eq!(int8s(&[-200, 3]).unwrap(), (vec![-128, 75], 72));
        assert!(int8s(&[-200, 100]).is_err());
    }

    #[test]
    fn biases_are_whole_steps_or_refused() {
        assert_eq!(bias_steps(&[2.5, -1.5], &[0.1, 0.1]).unwrap(), [2, -2]);
        assert_eq!(bias_steps(&[], &[0.1, 0.1]).unwrap(), [0, 0]);
        assert!(bias_steps(&[0.5], &[1.0]).is_err());
        assert!(bias_steps(&[1e12], &[1.0]).is_err());
    }
}
