//! Convolutions of images of one row: their channels are put side by side, pixel after pixel, so that what a pixel sees
//! lies together and is a row of a matrix product. Nothing is packed.

use super::pixels::{self, Left};
use super::{Channels, ConvEpilogue, Geometry, Images, Window};
use crate::fast::Exec;
use crate::fast::gemm::{Matrix, PackedB};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Isa, MOST_LANES};
use crate::fast::transpose::Strip;

/// Whether windows see neighbours in a row, in images of one row.
pub(super) fn suits(window: Window, size: [usize; 2]) -> bool {
    size[0] == 1
        && window.kernel[0] == 1
        && window.dilations[1] == 1
        && [window.pads[0], window.pads[2]] == [0; 2]
}

/// A column for each output channel; tap after tap, each with all channels.
pub(super) fn pack(isa: Isa, channels: Channels, taps: usize, weights: &[f32]) -> PackedB {
    let (inputs, k) = (channels.input, channels.input * taps);
    let mut turned = Vec::with_capacity(weights.len());
    for output in weights.chunks_exact(k) {
        turned.extend((0..k).map(|i| output[i % inputs * taps + i / inputs]));
    }
    PackedB::pack(isa, Matrix::row_major(&turned, channels.output, k).transposed())
}

/// # Panics
/// If the images have several rows.
pub(super) fn run(
    exec: Exec<'_>,
    geometry: &Geometry,
    input: Images<'_, f32>,
    channels: usize,
    weights: &PackedB,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let Window { strides, pads: [_, left, _, right], .. } = geometry.window();
    let [height, width] = input.size;
    assert_eq!(height, 1, "rows of the images");
    let (step, line) = (strides[1] * channels, (left + width + right) * channels);
    let mut product = |all: &[f32]| {
        pixels::run(exec, geometry, Left::Rows(all, step), input.count, weights, output, epilogue)
    };
    if channels == 1 && left + right == 0 {
        return product(input.data);
    }
    with_scratch(input.count * line, |all| {
        for (i, line) in all.chunks_exact_mut(line).enumerate() {
            let image = &input.data[i * channels * width..][..channels * width];
            turn(exec.isa, image, [channels, width], left * channels, line);
        }
        product(all);
    });
}

/// Puts the channels of a pixel side by side, from element `start` on, between zeros.
fn turn(isa: Isa, image: &[f32], [channels, width]: [usize; 2], start: usize, line: &mut [f32]) {
    let end = start + image.len();
    line[..start].fill(0.0);
    line[end..].fill(0.0);
    for first in (0..width).step_by(MOST_LANES) {
        let height = MOST_LANES.min(width - first);
        let out = line[start + first * channels..end].as_mut_ptr();
        // SAFETY: all channels of `height` pixels lie there, up to `end` at most.
        unsafe {
            Strip { x: &image[first..], step: width, out, far: channels, height, width: channels }.run(isa)
        };
    }
}
