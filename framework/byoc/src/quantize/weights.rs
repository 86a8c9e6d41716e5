//! Weights and biases as whole numbers.

use byoc_graph::{Tensor, TensorError};

/// Weights lie in −127…127.
const GREATEST: f64 = 127.0;
/// The greatest bias in steps of the sum: it leaves as much room for the sum itself.
const GREATEST_BIAS: f64 = (1u32 << 30) as f64;

/// Weights in int8, and the scale of each channel, or of all.
#[derive(Debug)]
pub struct Stored {
    pub codes: Vec<i8>,
    pub scales: Vec<f32>,
    axis: Option<usize>,
    dims: Vec<usize>,
}

impl Stored {
    /// `bias` has a value for each channel; scales are raised until it fits, in steps of `input` times scale.
    pub fn of(
        weights: &Tensor,
        axis: Option<usize>,
        bias: Option<&[f64]>,
        input: f32,
    ) -> Result<Stored, TensorError> {
        let dims = weights.dims().to_vec();
        let values = weights.as_slice::<f32>()?;
        let channel = |i: usize| channel_of(&dims, axis, i);
        let mut largest = vec![0f64; axis.map_or(1, |axis| dims[axis])];
        for (i, value) in values.iter().enumerate() {
            let most = &mut largest[channel(i)];
            *most = most.max(f64::from(value.abs()));
        }
        let mut scales: Vec<f32> = largest.iter().map(|most| (most / GREATEST) as f32).collect();
        for (i, bias) in bias.into_iter().flatten().enumerate() {
            let scale = &mut scales[if axis.is_some() { i } else { 0 }];
            *scale = scale.max((bias.abs() / GREATEST_BIAS / f64::from(input)) as f32);
        }
        for scale in &mut scales {
            if !(*scale >= f32::MIN_POSITIVE && scale.is_finite()) {
                *scale = 1.0;
            }
        }
        let code = |(i, value): (usize, &f32)| {
            let steps = f64::from(*value) / f64::from(scales[channel(i)]);
            steps.round_ties_even().clamp(-GREATEST, GREATEST) as i8
        };
        let codes = values.iter().enumerate().map(code).collect();
        Ok(Stored { codes, scales, axis, dims })
    }

    pub fn tensor(&self) -> Result<Tensor, TensorError> {
        Tensor::from_vec(&self.dims, self.codes.clone())
    }

    /// The weights that the codes stand for.
    pub fn real(&self) -> Result<Tensor, TensorError> {
        let real =
            |(i, code): (usize, &i8)| f32::from(*code) * self.scales[channel_of(&self.dims, self.axis, i)];
        Tensor::from_vec(&self.dims, self.codes.iter().enumerate().map(real).collect())
    }

    /// Biases in steps of `input` times the scale of the weights, and those steps.
    pub fn bias(&self, bias: &[f64], input: f32) -> (Vec<i32>, Vec<f32>) {
        let scales: Vec<f32> = self.scales.iter().map(|scale| scale * input).collect();
        let scale = |i: usize| f64::from(scales[if scales.len() == 1 { 0 } else { i }]);
        let codes = bias.iter().enumerate().map(|(i, b)| (b / scale(i)).round_ties_even() as i32).collect();
        (codes, scales)
    }
}

fn channel_of(dims: &[usize], axis: Option<usize>, element: usize) -> usize {
    let Some(axis) = axis else { return 0 };
    element / dims[axis + 1..].iter().product::<usize>() % dims[axis]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_scale() {
        let weights = Tensor::from_vec(&[2, 2], vec![1.27f32, -0.5, 0.0, 0.0]).unwrap();
        let stored = Stored::of(&weights, Some(0), None, 1.0).unwrap();
        assert_eq!(stored.codes, [127, -50, 0, 0]);
        assert_eq!(stored.scales, [0.01, 1.0]);
        let stored = Stored::of(&weights, Some(1), None, 1.0).unwrap();
        assert_eq!(stored.codes, [127, -127, 0, 0]);
        assert_eq!(Stored::of(&weights, None, None, 1.0).unwrap().codes, [127, -50, 0, 0]);
    }

    #[test]
    fn a_bias_that_is_too_large_coarsens_the_weights() {
        let weights = Tensor::from_vec(&[1, 1], vec![1e-9f32]).unwrap();
        let stored = Stored::of(&weights, Some(0), Some(&[5.0]), 0.1).unwrap();
        let (codes, scales) = stored.bias(&[5.0], 0.1);
        assert!((f64::from(codes[0]) * f64::from(scales[0]) - 5.0).abs() < 1e-5, "{codes:?} {scales:?}");
    }
}
