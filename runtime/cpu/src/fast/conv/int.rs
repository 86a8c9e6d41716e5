//! Convolutions of 8-bit images with zero points: exact sums, or quantised again on the way out.

use std::ops::Range;

use super::{Channels, Geometry, Images, Pack, Plane, SLACK, Window, fill_frames};
use crate::fast::gemm::drive::{self, Dims, Layout, Operand, Problem};
use crate::fast::gemm::kernels::Kernels;
use crate::fast::gemm::pairs::{Pairs, pair};
use crate::fast::gemm::split::Tiles;
use crate::fast::gemm::{Quantized, Zero};
use crate::fast::quantize::Requantize;
use crate::fast::scratch::with_scratch;
use crate::fast::simd::vectorised;
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;
use crate::pool::SharedSlice;

/// A quantised convolution's weights, rearranged once for one instruction set, their zero points taken off.
///
/// A word holds the weights of two neighbouring input channels (of one, for depthwise convolutions).
pub struct PackedConvInt {
    isa: Isa,
    channels: Channels,
    window: Window,
    weights: Aligned<i32>,
}

impl PackedConvInt {
    /// Packs `weights` (output channels, input channels of a group, kernel height, kernel width); the zero
    /// point is one, or one for each output channel (`Zero::Rows`).
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn pack<T: Quantized>(
        isa: Isa,
        channels: Channels,
        window: Window,
        weights: &[T],
        zero: Zero<'_, T>,
    ) -> Self {
        let (inputs, outputs) = channels.per_group();
        let taps = window.taps();
        assert_eq!(weights.len(), channels.output * inputs * taps, "size of the weights");
        let zero = |output: usize| match zero {
            Zero::All(zero) => zero.widen(),
            Zero::Rows(zeros) => zeros[output].widen(),
            Zero::Columns(_) => panic!("zero points belong to output channels"),
        };
        let at = |output: usize, input: usize, tap: usize| {
            let at = (output * inputs + input) * taps + tap;
            if input < inputs { weights[at].widen() - zero(output) } else { 0 }
        };
        let mut words = Vec::new();
        if channels.is_depthwise() {
            words.extend((0..weights.len()).map(|i| pair(at(i / taps, 0, i % taps), 0)));
        } else {
            let tiles = Tiles::new(outputs, Kernels::<Pairs>::of(isa).rows);
            for group in 0..channels.groups {
                for tile in (0..tiles.count()).map(|i| tiles.get(i)) {
                    for (input, tap) in (0..inputs).step_by(2).flat_map(|i| (0..taps).map(move |t| (i, t))) {
                        words.extend(tile.clone().map(|output| {
                            let output = group * outputs + output;
                            pair(at(output, input, tap), at(output, input + 1, tap))
                        }));
                    }
                }
            }
        }
        let mut weights = Aligned::zeroed(words.len());
        weights.copy_from_slice(&words);
        Self { isa, channels, window, weights }
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// `output = (input - zero) ∗ weights`; padding counts as `zero`.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv_int<T: Quantized>(
    exec: Exec<'_>,
    input: Images<'_, T>,
    zero: T,
    weights: &PackedConvInt,
    output: &mut [i32],
) {
    run(exec, input, zero, weights, output, &|_, _, _: &[i32]| {});
}

/// The same, each sum converted by `how` into `output`.
///
/// # Panics
/// If the sizes do not fit together, or the window does not fit the images.
pub fn conv_quantized<T: Quantized, U: Quantized>(
    exec: Exec<'_>,
    input: Images<'_, T>,
    zero: T,
    weights: &PackedConvInt,
    how: &Requantize<'_, U>,
    output: &mut [U],
) {
    how.check(weights.channels.output);
    let pixels = weights.window.output(input.size).map_or(0, |[height, width]| height * width);
    let output = SharedSlice::new(output);
    assert_eq!(output.len(), input.count * weights.channels.output * pixels, "size of the output");
    with_scratch(output.len(), |sums| {
        run(exec, input, zero, weights, sums, &|plane, first, sums: &[i32]| {
            let start = plane * pixels + first;
            // SAFETY: as the sums, which have the same places, no two calls share these elements.
            let out = unsafe { output.range(start..start + sums.len()) };
            how.channel(weights.isa, plane % weights.channels.output, sums, out);
        });
    });
}

/// Computes all sums; `done(plane, first pixel, sums)` is called once for each part that is complete.
fn run<T: Quantized>(
    exec: Exec<'_>,
    input: Images<'_, T>,
    zero: T,
    weights: &PackedConvInt,
    sums: &mut [i32],
    done: &(impl Fn(usize, usize, &[i32]) + Sync),
) {
    let exec = Exec { isa: weights.isa, ..exec };
    let channels = weights.channels;
    let geometry = &Geometry::new(weights.window, input.size).expect("the window does not fit the images");
    let pixels = geometry.pixels();
    let in_pixels = input.size[0] * input.size[1];
    assert_eq!(input.data.len(), input.count * channels.input * in_pixels, "size of the input");
    assert_eq!(sums.len(), input.count * channels.output * pixels, "size of the output");
    let plane = |index: usize| &input.data[index * in_pixels..][..in_pixels];
    let zero = zero.widen();
    if channels.is_depthwise() {
        let taps = geometry.taps.len();
        exec.pool.parallel_chunks(sums, pixels, &|index, output| {
            with_scratch(geometry.plane() + SLACK, |frame| {
                let source = plane(index);
                let frame_here = &mut frame[..geometry.plane()];
                vectorised(
                    exec.isa,
                    #[inline(always)]
                    || geometry.fill(frame_here, 0, |out, start, step| widen(out, source, zero, start, step)),
                );
                let weights = &weights.weights[index % channels.output * taps..][..taps];
                exec.isa.run(Plane::<Pairs> { geometry, frame, weights, output, finish: () });
                done(index, 0, output);
            });
        });
        return;
    }
    let (inputs, _) = channels.per_group();
    let words = inputs.div_ceil(2);
    with_scratch(input.count * channels.groups * words * geometry.plane(), |frames| {
        fill_frames(exec, geometry, frames, |index, frame| {
            let (product, word) = (index / words, index % words);
            let low = plane(product * inputs + 2 * word);
            let high = (2 * word + 1 < inputs).then(|| plane(product * inputs + 2 * word + 1));
            vectorised(
                exec.isa,
                #[inline(always)]
                || geometry.fill(frame, 0, |out, start, step| pair_up(out, low, high, zero, start, step)),
            );
        });
        drive::run(exec, &ConvInt { geometry, frames, images: input.count, weights, done }, sums);
    });
}

/// `out[i]` becomes what the plane has at `start + i · step`, less `zero`.
#[inline(always)]
fn widen<T: Quantized>(out: &mut [i32], source: &[T], zero: i32, start: usize, step: usize) {
    let source = &source[start..];
    match step {
        // The common cases, in a form that vectorises.
        1 => out.iter_mut().zip(source).for_each(|(out, x)| *out = x.widen() - zero),
        _ => out.iter_mut().zip(source.iter().step_by(step)).for_each(|(out, x)| *out = x.widen() - zero),
    }
}

/// `out[i]` becomes the pair of what the two planes have at `start + i · step`, less `zero`.
#[inline(always)]
fn pair_up<T: Quantized>(
    out: &mut [i32],
    low: &[T],
    high: Option<&[T]>,
    zero: i32,
    start: usize,
    step: usize,
) {
    let widen = |x: &T| x.widen() - zero;
    match (high, step) {
        // The common case, in a form that vectorises.
        (Some(high), 1) => {
            let (low, high) = (&low[start..][..out.len()], &high[start..][..out.len()]);
            for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                *out = pair(widen(low), widen(high));
            }
        }
        (Some(high), _) => {
            let both = low[start..].iter().step_by(step).zip(high[start..].iter().step_by(step));
            out.iter_mut().zip(both).for_each(|(out, (low, high))| *out = pair(widen(low), widen(high)));
        }
        (None, _) => {
            let low = low[start..].iter().step_by(step);
            out.iter_mut().zip(low).for_each(|(out, low)| *out = pair(widen(low), 0));
        }
    }
}

/// One product for each group of each image: weights × windows.
struct ConvInt<'a, F> {
    geometry: &'a Geometry,
    frames: &'a [i32],
    images: usize,
    weights: &'a PackedConvInt,
    done: &'a F,
}

impl<F> ConvInt<'_, F> {
    fn words(&self) -> usize {
        self.weights.channels.per_group().0.div_ceil(2)
    }
}

impl<F: Fn(usize, usize, &[i32]) + Sync> Problem for ConvInt<'_, F> {
    type A = Pairs;

    fn dims(&self) -> Dims {
        Dims {
            batch: self.images * self.weights.channels.groups,
            m: self.weights.channels.per_group().1,
            n: self.geometry.pixels(),
            k: self.words() * self.geometry.taps.len(),
        }
    }

    fn layout(&self) -> Layout {
        let row = self.geometry.pixels();
        Layout { row, batch: self.weights.channels.per_group().1 * row }
    }

    fn left(&self, batch: usize) -> Operand<'_, i32> {
        let size = self.weights.weights.len() / self.weights.channels.groups;
        Operand::Packed(&self.weights.weights[batch % self.weights.channels.groups * size..][..size])
    }

    fn right(&self, _: usize) -> Operand<'_, i32> {
        Operand::OnTheSpot
    }

    fn pack_left(&self, _: usize, _: Range<usize>, _: &mut [i32]) {}

    fn pack_right(&self, batch: usize, k: Range<usize>, n: Range<usize>, panel: usize, out: &mut [i32]) {
        let planes = self.words() * self.geometry.plane();
        let frame = &self.frames[batch * planes..][..planes];
        self.weights.isa.run(Pack { geometry: self.geometry, frame, k, n, panel, out });
    }

    fn finish(&self, _: usize) {}

    fn after(&self, batch: usize, row: usize, col: usize, sums: &mut [i32]) {
        (self.done)(batch * self.weights.channels.per_group().1 + row, col, sums);
    }
}
