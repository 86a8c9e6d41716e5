//! Windows over one plane: channels stay apart, so a plane is read where it lies. What lies in the padding is left out:
//! rows above and below altogether, columns at both ends pixel by pixel.

use std::ops::Range;

use super::{BLOCK, Pixel};
use crate::fast::conv::Window;
use crate::fast::simd::{Simd, Task};

/// Pixels computed at a time.
const PIXELS: usize = 8;

/// What is made of the pixels under a window. `part` is the first channel of a vector.
pub(super) trait Gather {
    fn zero<S: Simd>(&self, s: S) -> S::F;
    fn weight<S: Simd>(&self, s: S, tap: usize, part: usize) -> S::F;
    fn add<S: Simd>(&self, s: S, sum: S::F, x: S::F, weight: S::F) -> S::F;
    fn finish<S: Simd>(&self, s: S, sum: S::F, pixel: [usize; 2], part: usize) -> S::F;
}

/// Some rows of one plane of the output.
pub(super) struct Walk<'a, G> {
    pub gather: &'a G,
    pub window: Window,
    pub size: [usize; 2],
    pub plane: &'a [Pixel],
    pub rows: Range<usize>,
    pub width: usize,
    /// The pixels of these rows.
    pub out: &'a mut [Pixel],
}

impl<G: Gather> Task for Walk<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        assert!(self.plane.len() == self.size[0] * self.size[1]);
        assert!(self.out.len() == self.rows.len() * self.width);
        let inside = self.inside();
        for row in self.rows.clone() {
            let taps = self.taps(0, row);
            for col in (0..inside.start).chain(inside.end..self.width) {
                let cols = self.taps(1, col);
                self.pixels::<S, 1>(s, [row, col], [taps.clone(), cols]);
            }
            let mut col = inside.start;
            let all = 0..self.window.kernel[1];
            while col + PIXELS <= inside.end {
                self.pixels::<S, PIXELS>(s, [row, col], [taps.clone(), all.clone()]);
                col += PIXELS;
            }
            while col + 4 <= inside.end {
                self.pixels::<S, 4>(s, [row, col], [taps.clone(), all.clone()]);
                col += 4;
            }
            for col in col..inside.end {
                self.pixels::<S, 1>(s, [row, col], [taps.clone(), all.clone()]);
            }
        }
    }
}

impl<G: Gather> Walk<'_, G> {
    /// The taps along an axis that see the image from an output pixel.
    fn taps(&self, axis: usize, at: usize) -> Range<usize> {
        let Window { kernel, strides, dilations, pads } = self.window;
        let (from, pad, step) = (at * strides[axis], pads[axis], dilations[axis]);
        let first = pad.saturating_sub(from).div_ceil(step).min(kernel[axis]);
        let end = (self.size[axis] + pad).saturating_sub(from).div_ceil(step).min(kernel[axis]);
        first..end.max(first)
    }

    /// The columns of the output from which all taps see the image.
    fn inside(&self) -> Range<usize> {
        let Window { kernel, strides, dilations, pads } = self.window;
        let reach = (kernel[1] - 1) * dilations[1];
        let first = pads[1].div_ceil(strides[1]).min(self.width);
        // Those that see the last tap at less than `width + pad`.
        let end = (self.size[1] + pads[1]).saturating_sub(reach).div_ceil(strides[1]).min(self.width);
        first..end.max(first)
    }

    /// `P` pixels from one on, all of which see these taps.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize>(&mut self, s: S, [row, col]: [usize; 2], taps: [Range<usize>; 2]) {
        let Window { strides, dilations, pads, kernel } = self.window;
        let to = (row - self.rows.start) * self.width + col;
        let out = &mut self.out[to..to + P];
        for part in (0..BLOCK).step_by(S::LANES) {
            let mut sums = [self.gather.zero(s); P];
            for tap_row in taps[0].clone() {
                let y = row * strides[0] + tap_row * dilations[0] - pads[0];
                let line = &self.plane[y * self.size[1]..][..self.size[1]];
                for tap_col in taps[1].clone() {
                    let x = col * strides[1] + tap_col * dilations[1] - pads[1];
                    let seen = &line[x..x + (P - 1) * strides[1] + 1];
                    let weight = self.gather.weight(s, tap_row * kernel[1] + tap_col, part);
                    for (i, sum) in sums.iter_mut().enumerate() {
                        // SAFETY: the last of these pixels is in `seen`, and a vector from `part` on in a pixel.
                        let x = unsafe { s.load(seen.as_ptr().add(i * strides[1]).cast::<f32>().add(part)) };
                        *sum = self.gather.add(s, *sum, x, weight);
                    }
                }
            }
            for (i, (sum, out)) in sums.into_iter().zip(&mut *out).enumerate() {
                let sum = self.gather.finish(s, sum, [row, col + i], part);
                // SAFETY: a vector from `part` on lies in the pixel.
                unsafe { s.store(out.as_mut_ptr().add(part), sum) }
            }
        }
    }
}
