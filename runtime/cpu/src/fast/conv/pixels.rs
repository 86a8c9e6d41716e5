//! Convolutions of small images: a matrix product whose rows are pixels and whose columns are output channels, so
//! that no vector is filled in part. Its result is transposed on the way out.

use std::ops::Range;

use super::{ConvEpilogue, Geometry, Pack};
use crate::fast::gemm::PackedB;
use crate::fast::gemm::drive::{self, Dims, Layout, Operand, Problem};
use crate::fast::gemm::tile::{FinishFloat, Float};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};
use crate::fast::{Exec, transpose};

/// Images of fewer pixels gain by it, and those of up to `MORE_PIXELS` where the sums are so long that the
/// transposition is little beside them.
const PIXELS: usize = 64;
const MORE_PIXELS: usize = 200;
const LONG_SUM: usize = 1024;
/// Output channels that fill the panels.
const OUTPUTS: usize = 64;
/// Channels and elements of one piece of the transposition, at least.
const CHANNELS: usize = 32;
const ELEMENTS: usize = 4096;

/// Whether the method pays for that many pixels and output channels, each a sum of `k` products.
pub(super) fn pays(pixels: usize, outputs: usize, k: usize) -> bool {
    outputs >= OUTPUTS && (pixels < PIXELS || pixels <= MORE_PIXELS && k >= LONG_SUM)
}

/// Images as the left operand of the product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// The frames of all planes.
    Frames(&'a [f32]),
    /// Images in which what pixels see lies side by side, so far apart.
    Rows(&'a [f32], usize),
}

/// `weights` has a column for each output channel.
pub(super) fn run(
    exec: Exec<'_>,
    geometry: &Geometry,
    left: Left<'_>,
    images: usize,
    weights: &PackedB,
    output: &mut [f32],
    epilogue: &ConvEpilogue<'_>,
) {
    let (pixels, channels) = (geometry.pixels(), weights.n());
    if let Some(bias) = epilogue.bias {
        assert_eq!(bias.len(), channels, "size of the bias");
    }
    if let Some(addend) = epilogue.addend {
        assert_eq!(addend.len(), output.len(), "size of the addend");
    }
    with_scratch(images * pixels * channels, |sums| {
        drive::run(exec, &Pixels { exec, geometry, left, images, weights, bias: epilogue.bias }, sums);
        let at_a_time = CHANNELS.max(ELEMENTS / pixels);
        let blocks = channels.div_ceil(at_a_time);
        let output = crate::pool::SharedSlice::new(output);
        let sums = &*sums;
        exec.pool.parallel_for(images * blocks, &|piece| {
            let (image, block) = (piece / blocks, piece % blocks);
            let channels_here = block * at_a_time..channels.min((block + 1) * at_a_time);
            let start = (image * channels + channels_here.start) * pixels;
            let end = (image * channels + channels_here.end) * pixels;
            // SAFETY: no other piece has these channels of this image.
            let out = unsafe { output.range(start..end) };
            let sums = &sums[image * pixels * channels..][..pixels * channels];
            exec.isa.run(Out { sums, channels, part: channels_here, out: &mut *out, pixels });
            if let Some(addend) = epilogue.addend {
                out.iter_mut().zip(&addend[start..end]).for_each(|(x, y)| *x += y);
            }
            epilogue.activation.apply(exec.isa, out);
        });
    });
}

/// One product for each image: windows × weights.
struct Pixels<'a> {
    exec: Exec<'a>,
    geometry: &'a Geometry,
    left: Left<'a>,
    images: usize,
    weights: &'a PackedB,
    bias: Option<&'a [f32]>,
}

impl Problem for Pixels<'_> {
    type A = Float;

    fn dims(&self) -> Dims {
        Dims { batch: self.images, m: self.geometry.pixels(), n: self.weights.n(), k: self.weights.k() }
    }

    fn layout(&self) -> Layout {
        Layout { row: self.weights.n(), batch: self.geometry.pixels() * self.weights.n() }
    }

    fn left(&self, batch: usize) -> Operand<'_, f32> {
        match self.left {
            Left::Rows(all, step) => {
                let image = all.len() / self.images;
                Operand::Rows(&all[batch * image..][..image], step)
            }
            Left::Frames(_) => Operand::OnTheSpot,
        }
    }

    fn right(&self, _: usize) -> Operand<'_, f32> {
        Operand::Packed(self.weights.panels())
    }

    fn pack_left(&self, batch: usize, rows: Range<usize>, out: &mut [f32]) {
        let Left::Frames(frame) = self.left else { return };
        let (k, panel) = (self.weights.k(), rows.len());
        let planes = k / self.geometry.taps.len() * self.geometry.plane();
        let frame = &frame[batch * planes..][..planes];
        self.exec.isa.run(Pack { geometry: self.geometry, frame, k: 0..k, n: rows, panel, out });
    }

    fn pack_right(&self, _: usize, _: Range<usize>, _: Range<usize>, _: usize, _: &mut [f32]) {}

    fn finish(&self, _: usize) -> FinishFloat<'_> {
        FinishFloat { column_bias: self.bias, ..FinishFloat::nothing() }
    }
}

/// Columns `part` of `sums`, whose rows are pixels, as rows of `out`.
struct Out<'a> {
    sums: &'a [f32],
    channels: usize,
    part: Range<usize>,
    out: &'a mut [f32],
    pixels: usize,
}

impl Task for Out<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let row = |pixel: usize| &self.sums[pixel * self.channels..][self.part.clone()];
        let whole = self.pixels / 4 * 4;
        for pixel in (0..whole).step_by(4) {
            let rows = [row(pixel), row(pixel + 1), row(pixel + 2), row(pixel + 3)];
            transpose::four_rows(s, rows, &mut self.out[pixel..], self.pixels);
        }
        for pixel in whole..self.pixels {
            let out = self.out[pixel..].iter_mut().step_by(self.pixels);
            out.zip(row(pixel)).for_each(|(out, &x)| *out = x);
        }
    }
}
