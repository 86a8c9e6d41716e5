//! Windows over one plane: channels stay apart, so a plane is read where it lies. What lies in the padding is left out:
//! rows above and below altogether, columns at both ends pixel by pixel.

use std::ops::Range;

use super::{BLOCK, Pixel, load};
use crate::fast::conv::Window;
use crate::fast::simd::{Simd, Task};

/// What is made of the pixels under a window. `part` is the first channel of a vector.
pub(super) trait Gather {
    /// What sums begin with.
    fn start<S: Simd>(&self, s: S, part: usize) -> S::F;
    fn weight<S: Simd>(&self, s: S, tap: usize, part: usize) -> S::F;
    fn add<S: Simd>(&self, s: S, sum: S::F, x: S::F, weight: S::F) -> S::F;
    fn finish<S: Simd>(&self, s: S, sum: S::F, pixel: [usize; 2], part: usize) -> S::F;
}

/// Every row has a place of its own.
pub(super) const ALL: usize = usize::MAX;

/// Some rows of one plane of the output.
pub(super) struct Walk<'a, G> {
    pub gather: &'a G,
    pub window: Window,
    pub size: [usize; 2],
    pub plane: &'a [Pixel],
    /// Row `y` lies in the plane as row `y & held`: `ALL`, or one less than a power of two of rows that come and go.
    pub held: usize,
    pub rows: Range<usize>,
    pub width: usize,
    /// The pixels of these rows.
    pub out: &'a mut [Pixel],
}

impl<G: Gather> Task for Walk<'_, G> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let rows = if self.held == ALL { self.size[0] } else { self.held + 1 };
        assert!(self.plane.len() == rows * self.size[1]);
        assert!(self.out.len() == self.rows.len() * self.width);
        let inside = self.inside();
        for row in self.rows.clone() {
            let taps = self.taps(0, row);
            for col in (0..inside.start).chain(inside.end..self.width) {
                let cols = self.taps(1, col);
                self.pixels::<S, 1>(s, [row, col], [taps.clone(), cols]);
            }
            match at_a_time(inside.len()) {
                8 => self.line::<S, 8>(s, row, &inside, &taps),
                7 => self.line::<S, 7>(s, row, &inside, &taps),
                4 => self.line::<S, 4>(s, row, &inside, &taps),
                _ => self.line::<S, 1>(s, row, &inside, &taps),
            }
        }
    }
}

/// How many of so many pixels are computed at a time: as many as registers hold, and so that few are computed twice.
fn at_a_time(pixels: usize) -> usize {
    let fit = [8, 7, 4].into_iter().filter(|&size| size <= pixels);
    fit.min_by_key(|&size| pixels.next_multiple_of(size)).unwrap_or(1)
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

    /// The pixels of a row that see all columns of the window, `P` or more; the last ones may be computed twice.
    #[inline(always)]
    fn line<S: Simd, const P: usize>(
        &mut self,
        s: S,
        row: usize,
        inside: &Range<usize>,
        taps: &Range<usize>,
    ) {
        let Window { kernel, strides, dilations, .. } = self.window;
        for col in inside.clone().step_by(P).map(|col| col.min(inside.end - P)) {
            match (kernel[1], dilations[1], strides[1]) {
                (3, 1, 1) => self.triples::<S, P>(s, [row, col], taps),
                _ => self.pixels::<S, P>(s, [row, col], [taps.clone(), 0..kernel[1]]),
            }
        }
    }

    /// `P` pixels, each of which sees three neighbouring columns, one further on than the last; what several of them see is loaded once.
    #[inline(always)]
    fn triples<S: Simd, const P: usize>(&mut self, s: S, [row, col]: [usize; 2], taps: &Range<usize>) {
        for part in (0..BLOCK).step_by(S::LANES) {
            let mut sums = [self.gather.start(s, part); P];
            for tap_row in taps.clone() {
                let seen = &self.line_under(row, tap_row)[col - self.window.pads[1]..][..P + 2];
                let tap = |i: usize| self.gather.weight(s, tap_row * 3 + i, part);
                let weights = [tap(0), tap(1), tap(2)];
                for (j, pixel) in seen.iter().enumerate() {
                    let x = load(s, pixel, part);
                    for (i, &weight) in weights.iter().enumerate() {
                        if j >= i && j - i < P {
                            let sum = &mut sums[j - i];
                            *sum = self.gather.add(s, *sum, x, weight);
                        }
                    }
                }
            }
            self.finish(s, sums, [row, col], part);
        }
    }

    /// The row of the image that a row of the window sees from one of the output.
    #[inline(always)]
    fn line_under(&self, row: usize, tap_row: usize) -> &[Pixel] {
        let Window { strides, dilations, pads, .. } = self.window;
        let y = row * strides[0] + tap_row * dilations[0] - pads[0];
        &self.plane[(y & self.held) * self.size[1]..][..self.size[1]]
    }

    #[inline(always)]
    fn finish<S: Simd, const P: usize>(
        &mut self,
        s: S,
        sums: [S::F; P],
        [row, col]: [usize; 2],
        part: usize,
    ) {
        let to = (row - self.rows.start) * self.width + col;
        for (i, (sum, out)) in sums.into_iter().zip(&mut self.out[to..to + P]).enumerate() {
            let sum = self.gather.finish(s, sum, [row, col + i], part);
            // SAFETY: a vector from `part` on lies in the pixel.
            unsafe { s.store(out.as_mut_ptr().add(part), sum) }
        }
    }

    /// `P` pixels from one on, all of which see these taps.
    #[inline(always)]
    fn pixels<S: Simd, const P: usize>(&mut self, s: S, [row, col]: [usize; 2], taps: [Range<usize>; 2]) {
        let Window { strides, dilations, pads, kernel } = self.window;
        for part in (0..BLOCK).step_by(S::LANES) {
            let mut sums = [self.gather.start(s, part); P];
            for tap_row in taps[0].clone() {
                let line = self.line_under(row, tap_row);
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
            self.finish(s, sums, [row, col], part);
        }
    }
}
