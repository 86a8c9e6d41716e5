//! Quantised operands, for vendors that compute in codes: `number = (code − zero) · scale`.

use crate::sdk::{Composite, DType, Error, Region, Result, Value};

/// How the codes of a tensor stand for numbers: with one scale and zero point, or one for each channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    pub scales: Vec<f32>,
    pub zeros: Vec<i32>,
}

impl Quantity {
    /// From constants; a zero point that is left out is 0.
    pub fn of(scale: &Value<'_>, zero: Option<&Value<'_>>) -> Result<Quantity> {
        let scales = floats(scale).filter(|scales| !scales.is_empty());
        let scales = scales.ok_or_else(|| refuse(scale, "scales are float32 constants"))?;
        if !scales.iter().all(|scale| *scale > 0.0 && scale.is_finite()) {
            return Err(refuse(scale, "a scale that is not above zero"));
        }
        let zeros = zero.map_or(Ok(vec![0]), |zero| {
            let zeros = codes(zero).filter(|zeros| !zeros.is_empty());
            zeros.ok_or_else(|| refuse(zero, "zero points are constants of int8, uint8 or int32"))
        })?;
        Ok(Quantity { scales, zeros })
    }

    /// The one zero point of a tensor, whatever its scales.
    pub fn zero(&self) -> Result<i32> {
        let first = self.zeros[0];
        let all = self.zeros.iter().all(|&zero| zero == first);
        if all { Ok(first) } else { Err(Error::unsupported("a zero point for each channel")) }
    }

    /// The one scale and zero point of a tensor.
    pub fn one(&self) -> Result<(f32, i32)> {
        match self.scales[..] {
            [scale] => Ok((scale, self.zero()?)),
            _ => Err(Error::unsupported("a scale for each channel")),
        }
    }

    fn scale(&self, channel: usize) -> f32 {
        self.scales[channel % self.scales.len()]
    }

    fn is_for(&self, channels: usize) -> bool {
        [self.scales.len(), self.zeros.len()].iter().all(|&len| len == 1 || len == channels)
    }
}

/// Sums of products of codes, as convolutions and matrix products have them:
/// `y = saturate(round((Σ (x − input_zero) · weight + bias) · multiplier) + output_zero)`, halves to even.
#[derive(Debug, Clone, PartialEq)]
pub struct Products {
    pub input_zero: i32,
    /// Less their zero points, which may take them out of 8 bits.
    pub weights: Vec<i32>,
    /// By channel, in steps of the sum: whole where the model has it so. Empty without a bias.
    pub bias: Vec<f64>,
    /// One, or one for each channel: input scale times weight scale over output scale, each step rounded to float32.
    pub multipliers: Vec<f32>,
    pub output_scale: f32,
    pub output_zero: i32,
}

impl Products {
    /// Of a composite that binds codes to `x` and `w`, a bias to `b`, and to the same letters and `y` with `s` and `z`
    /// behind them scales and zero points. `axis` of the weights is that of the output's channels.
    pub fn of(region: &Region<'_>, composite: &Composite<'_>, axis: usize) -> Result<Products> {
        let bound = |name: &str| region.binding(composite, name);
        let need = |name: &str| bound(name).ok_or_else(|| Error::unsupported(format!("`{name}` is missing")));
        let quantity = |scale: &str, zero: &str| Quantity::of(need(scale)?, bound(zero));
        let (input_scale, input_zero) = quantity("xs", "xz")?.one()?;
        let (output_scale, output_zero) = quantity("ys", "yz")?.one()?;
        let (weights, of_weights) = (need("w")?, quantity("ws", "wz")?);
        let shape = weights.shape().filter(|shape| axis < shape.len());
        let shape = shape.ok_or_else(|| refuse(weights, "weights of no known shape"))?;
        let (channels, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        if channels == 0 || !of_weights.is_for(channels) {
            return Err(refuse(weights, "scales or zero points for other channels"));
        }
        let zero = |i: usize| of_weights.zeros[i / inner.max(1) % channels % of_weights.zeros.len()];
        let codes = codes(weights).ok_or_else(|| refuse(weights, "weights that are no constant codes"))?;
        let step = |channel: usize| (input_scale, of_weights.scale(channel));
        let multipliers: Vec<f32> =
            of_weights.scales.iter().map(|scale| input_scale * scale / output_scale).collect();
        let of_bias = bound("bs").map(|scale| Quantity::of(scale, bound("bz"))).transpose()?;
        let bias = bound("b").map_or(Ok(Vec::new()), |b| bias_steps(b, of_bias.as_ref(), channels, &step))?;
        if !multipliers.iter().all(|number| number.is_finite()) || !bias.iter().all(|steps| steps.is_finite())
        {
            return Err(Error::unsupported("scales whose ratio is no float32"));
        }
        Ok(Products {
            input_zero,
            weights: codes.into_iter().enumerate().map(|(i, code)| code - zero(i)).collect(),
            bias,
            multipliers,
            output_scale,
            output_zero,
        })
    }

    /// Codes less the zero point that the numbers `low` and `high` become: clipping numbers and clipping rounded codes
    /// is the same, for quantising never decreases.
    pub fn clipped(&self, low: f32, high: f32) -> (f32, f32) {
        let code = |bound: f32| (bound / self.output_scale).round_ties_even().clamp(-512.0, 512.0);
        (code(low), code(high))
    }
}

/// Float32 biases, codes of a quantity, or codes in steps of the sum already; one for all channels, or one for each.
/// `step` has the two scales whose product a step is.
fn bias_steps(
    bias: &Value<'_>,
    of: Option<&Quantity>,
    channels: usize,
    step: &dyn Fn(usize) -> (f32, f32),
) -> Result<Vec<f64>> {
    let (numbers, whole) = (floats(bias).unwrap_or_default(), codes(bias).unwrap_or_default());
    let count = numbers.len() + whole.len();
    if (count != channels && count != 1) || of.is_some_and(|of| !of.is_for(channels)) {
        return Err(refuse(bias, "a bias that is not one number for each channel"));
    }
    let steps = |channel: usize| {
        let ((input, weight), at) = (step(channel), channel % count);
        let exact = f64::from(input) * f64::from(weight);
        let zero = of.map_or(0, |of| of.zeros[channel % of.zeros.len()]);
        let code = |at: usize| (i64::from(whole[at]) - i64::from(zero)) as f64;
        match (numbers.get(at), of.map(|of| of.scale(channel))) {
            (Some(number), _) => f64::from(*number) / exact,
            (None, Some(scale)) if scale != input * weight => code(at) * f64::from(scale) / exact,
            _ => code(at),
        }
    };
    Ok((0..channels).map(steps).collect())
}

fn refuse(value: &Value<'_>, why: &str) -> Error {
    Error::unsupported(format!("`{}`: {why}", value.name))
}

/// The float32 elements of a constant, at whatever alignment they lie.
pub fn floats(value: &Value<'_>) -> Option<Vec<f32>> {
    Some(bytes(value, DType::F32)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The codes of a constant of int8, uint8 or int32.
pub fn codes(value: &Value<'_>) -> Option<Vec<i32>> {
    Some(match value.dtype? {
        DType::I8 => bytes(value, DType::I8)?.iter().map(|&byte| i32::from(byte as i8)).collect(),
        DType::U8 => bytes(value, DType::U8)?.iter().map(|&byte| i32::from(byte)).collect(),
        _ => bytes(value, DType::I32)?.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect(),
    })
}

fn bytes<'a>(value: &Value<'a>, dtype: DType) -> Option<&'a [u8]> {
    value.constant.filter(|constant| constant.dtype == Some(dtype)).map(|constant| constant.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdk::{Constant, Dim};

    fn constant<'a>(name: &'a str, dtype: DType, dims: &[usize], bytes: &'a [u8]) -> Value<'a> {
        let constant = Some(Constant { index: 0, dtype: Some(dtype), bytes });
        let dims = Some(dims.iter().map(|&dim| Dim::Known(dim)).collect());
        Value { name, dtype: Some(dtype), dims, constant, ..Value::default() }
    }

    fn region<'a>(values: Vec<Value<'a>>) -> (Region<'a>, Composite<'a>) {
        let bindings = values.iter().enumerate().map(|(i, value)| (value.name, i)).collect();
        let composite = Composite { pattern: "conv", nodes: vec![0], bindings };
        (Region { values, ..Region::default() }, composite)
    }

    #[test]
    fn products_are_read_by_the_names_of_their_parts() {
        let (half, quarter) = (0.5f32.to_le_bytes(), 0.25f32.to_le_bytes());
        let scales = [0.5f32, 0.25].map(f32::to_le_bytes).concat();
        let bias = [3i32, -5].map(i32::to_le_bytes).concat();
        let (region, composite) = region(vec![
            constant("xs", DType::F32, &[], &half),
            constant("xz", DType::U8, &[], &[7]),
            constant("w", DType::U8, &[2, 2], &[0, 128, 130, 255]),
            constant("ws", DType::F32, &[2], &scales),
            constant("wz", DType::U8, &[], &[128]),
            constant("b", DType::I32, &[2], &bias),
            constant("ys", DType::F32, &[], &quarter),
        ]);
        let products = Products::of(&region, &composite, 0).unwrap();
        let want = Products {
            input_zero: 7,
            weights: vec![-128, 0, 2, 127],
            bias: vec![3.0, -5.0],
            multipliers: vec![1.0, 0.5],
            output_scale: 0.25,
            output_zero: 0,
        };
        assert_eq!(products, want);
        assert_eq!(products.clipped(0.0, 6.0), (0.0, 24.0));
        assert_eq!(products.clipped(f32::MIN, f32::MAX), (-512.0, 512.0));
    }

    #[test]
    fn what_belongs_to_other_channels_is_refused() {
        let one = 1f32.to_le_bytes();
        let three = [1f32; 3].map(f32::to_le_bytes).concat();
        let (region, composite) = region(vec![
            constant("xs", DType::F32, &[], &one),
            constant("w", DType::I8, &[2, 2], &[1; 4]),
            constant("ws", DType::F32, &[3], &three),
            constant("ys", DType::F32, &[], &one),
        ]);
        let refused = Products::of(&region, &composite, 0).unwrap_err();
        assert_eq!(refused.message, "`w`: scales or zero points for other channels");
    }
}
