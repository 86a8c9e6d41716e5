//! Into blocks, and back.

use super::{BLOCK, Pixel, blocks};
use crate::fast::Exec;
use crate::fast::simd::{Simd, Task};
use crate::fast::transpose::four_rows;

/// Pixels of one piece of work.
const PIECE: usize = 512;

/// Writes `count` images of `channels` planes of `plane` pixels each as blocked ones.
///
/// # Panics
/// If the sizes do not fit together.
pub fn to_blocked(exec: Exec<'_>, input: &[f32], [count, channels, plane]: [usize; 3], output: &mut [f32]) {
    assert_eq!(input.len(), count * channels * plane, "size of the input");
    let (pixels, rest) = output.as_chunks_mut::<BLOCK>();
    assert!(rest.is_empty() && pixels.len() == count * blocks(channels) * plane, "size of the output");
    if pixels.is_empty() {
        return;
    }
    let (parts, out) = (plane.div_ceil(PIECE), crate::pool::SharedSlice::new(pixels));
    let in_blocks = blocks(channels);
    exec.pool.parallel_for(count * in_blocks * parts, &|piece| {
        let (rest, first) = (piece / in_blocks, piece % in_blocks * BLOCK);
        let (image, part) = (rest / parts, rest % parts * PIECE..plane.min((rest % parts + 1) * PIECE));
        let block = image * in_blocks + piece % in_blocks;
        let rows = &input[(image * channels + first) * plane..][..BLOCK.min(channels - first) * plane];
        // SAFETY: no other piece has these pixels of this block.
        let out = unsafe { out.range(block * plane + part.start..block * plane + part.end) };
        exec.isa.run(Gather { rows, plane, start: part.start, out });
    });
}

/// Writes blocked images as images of `channels` planes.
///
/// # Panics
/// If the sizes do not fit together.
pub fn from_blocked(exec: Exec<'_>, input: &[f32], [count, channels, plane]: [usize; 3], output: &mut [f32]) {
    let (pixels, rest) = input.as_chunks::<BLOCK>();
    assert!(rest.is_empty() && pixels.len() == count * blocks(channels) * plane, "size of the input");
    assert_eq!(output.len(), count * channels * plane, "size of the output");
    if output.is_empty() {
        return;
    }
    let out = crate::pool::SharedSlice::new(output);
    exec.pool.parallel_for(count * blocks(channels), &|block| {
        let (image, first) = (block / blocks(channels), block % blocks(channels) * BLOCK);
        let start = (image * channels + first) * plane;
        // SAFETY: no other piece has these channels of this image.
        let out = unsafe { out.range(start..start + BLOCK.min(channels - first) * plane) };
        exec.isa.run(Scatter { pixels: &pixels[block * plane..][..plane], out });
    });
}

/// Pixels from `start` on of up to 16 planes.
struct Gather<'a> {
    rows: &'a [f32],
    plane: usize,
    start: usize,
    out: &'a mut [Pixel],
}

impl Task for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.out.len();
        let channels = self.rows.len() / self.plane;
        let row = |channel: usize| &self.rows[channel * self.plane + self.start..][..len];
        let out = self.out.as_flattened_mut();
        let whole = channels / 4 * 4;
        for first in (0..whole).step_by(4) {
            let rows = [row(first), row(first + 1), row(first + 2), row(first + 3)];
            four_rows(s, rows, &mut out[first..], BLOCK);
        }
        for channel in whole..BLOCK {
            let places = out[channel..].iter_mut().step_by(BLOCK);
            match channel < channels {
                true => places.zip(row(channel)).for_each(|(to, from)| *to = *from),
                false => places.for_each(|to| *to = 0.0),
            }
        }
    }
}

/// The planes of one block, as many as there are.
struct Scatter<'a> {
    pixels: &'a [Pixel],
    out: &'a mut [f32],
}

impl Task for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let plane = self.pixels.len();
        let channels = self.out.len() / plane;
        let whole = plane / 4 * 4;
        for at in (0..whole).step_by(4) {
            let rows = [0, 1, 2, 3].map(|i| &self.pixels[at + i][..channels]);
            four_rows(s, rows, &mut self.out[at..], plane);
        }
        for (at, pixel) in self.pixels.iter().enumerate().skip(whole) {
            let places = self.out[at..].iter_mut().step_by(plane);
            places.zip(pixel).for_each(|(to, from)| *to = *from);
        }
    }
}
