//! Weights of quantised convolutions as sums of `i8`s, so that products of `u8` and `i8` are all there is.

use crate::fast::conv::{Channels, Window};
use crate::fast::gemm::{Quantized, Zero};

/// Weights less their zero points: output channels, input channels of a group, kernel height, kernel width.
pub(super) struct Weights {
    values: Vec<i32>,
    inputs: usize,
    window: Window,
}

impl Weights {
    /// # Panics
    /// If the sizes do not fit together.
    pub fn new<W: Quantized>(channels: Channels, window: Window, weights: &[W], zero: Zero<'_, W>) -> Self {
        let (inputs, _) = channels.per_group();
        let each = inputs * window.taps();
        assert_eq!(weights.len(), channels.output * each, "size of the weights");
        let zero = |output: usize| match zero {
            Zero::All(zero) => zero.widen(),
            Zero::Rows(zeros) => zeros[output].widen(),
            Zero::Columns(_) => panic!("zero points belong to output channels"),
        };
        let values = weights.iter().enumerate().map(|(i, w)| w.widen() - zero(i / each.max(1))).collect();
        Self { values, inputs, window }
    }

    pub fn get(&self, output: usize, input: usize, [row, col]: [usize; 2]) -> i32 {
        let [height, width] = self.window.kernel;
        self.values[((output * self.inputs + input) * height + row) * width + col]
    }

    /// The sum of all weights of an output channel.
    pub fn sum(&self, output: usize) -> i32 {
        let each = self.inputs * self.window.taps();
        self.values[output * each..(output + 1) * each].iter().sum()
    }

    /// How many `i8`s add up to each weight; more than one only where zero points are far from the middle.
    pub fn parts(&self) -> usize {
        let parts = |&w: &i32| (1..).find(|&n| (0..n).map(|i| part(w, i)).sum::<i32>() == w);
        self.values.iter().filter_map(parts).max().unwrap_or(1)
    }
}

/// The `i`th of the `i8`s that add up to `weight`.
pub(super) fn part(weight: i32, i: usize) -> i32 {
    let mut rest = weight;
    for _ in 0..i {
        rest -= rest.clamp(-128, 127);
    }
    rest.clamp(-128, 127)
}
