//! Transposed convolutions whose windows tile the output: each pixel of the output is seen by one tap, so every tap is
//! a convolution with a kernel of one pixel.

use super::conv::with_frames;
use super::direct::{Direct, Place};
use super::panels::{Packed, pack};
use super::{BLOCK, Blocked, Ending, Output, blocks};
use crate::fast::conv::{Channels, ConvEpilogue, Geometry, Window};
use crate::fast::{Exec, Isa};

/// A transposed convolution's weights, rearranged once for one instruction set.
pub struct BlockedConvTranspose {
    isa: Isa,
    channels: Channels,
    kernel: [usize; 2],
    /// For each tap.
    weights: Vec<Packed>,
}

impl BlockedConvTranspose {
    /// Packs `weights` (input channels, output channels, kernel height, kernel width); the strides are the kernel's
    /// size.
    ///
    /// # Panics
    /// If the weights do not have that size, or there are groups.
    pub fn pack(isa: Isa, channels: Channels, kernel: [usize; 2], weights: &[f32]) -> Self {
        let taps = kernel[0] * kernel[1];
        assert_eq!(channels.groups, 1, "groups");
        assert_eq!(weights.len(), channels.input * channels.output * taps, "size of the weights");
        let at = |o: usize, i: usize, tap: usize| weights[(i * channels.output + o) * taps + tap];
        let of_tap = |tap: usize| pack(isa, channels, BLOCK, 1, |o, i, _| at(o, i, tap));
        Self { isa, channels, kernel, weights: (0..taps).map(of_tap).collect() }
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The size of the output for one of the input, where it can be counted.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        Some([input[0].checked_mul(self.kernel[0])?, input[1].checked_mul(self.kernel[1])?])
    }
}

/// `output = input ∗ᵀ weights + bias`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn conv_transpose(
    exec: Exec<'_>,
    input: Blocked<'_>,
    weights: &BlockedConvTranspose,
    output: &mut [f32],
    bias: Option<&[f32]>,
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let (channels, [rows, cols]) = (weights.channels, weights.kernel);
    assert_eq!(input.channels, channels.input, "channels of the input");
    let geometry = &Geometry::new(Window::new([1, 1]), input.size).expect("one pixel fits every image");
    let [height, width] = weights.output(input.size).expect("the output has a size");
    let len = output.len();
    let out = Output::new(output, input.count * blocks(channels.output), height * width);
    if len == 0 {
        return;
    }
    let epilogue = ConvEpilogue { bias, ..ConvEpilogue::default() };
    Ending::with(exec.isa, &epilogue, channels.output, len, |ending| {
        with_frames(exec, geometry, input, |frames| {
            for (tap, weights) in weights.weights.iter().enumerate() {
                let first = tap / cols * width + tap % cols;
                let place = Place { first, line: rows * width, step: cols };
                Direct::new(geometry, frames, BLOCK, channels.input, weights, ending, place).run(
                    exec,
                    input.count,
                    out,
                    false,
                );
            }
        });
    });
}
