//! The transforms of tiles, sixteen channels at a time.

use std::ops::Range;

use super::layer::{Layer, Positions};
use crate::fast::blocked::{BLOCK, Pixel, load};
use crate::fast::conv::filtering::Filtering;
use crate::fast::simd::{Simd, Task};
use crate::pool::SharedSlice;

/// The transform of the input.
pub(super) struct Forward<'a, 'v, R, C, const RI: usize, const RO: usize, const CI: usize, const CO: usize> {
    pub layer: &'a Layer<'a, R, C, RI, RO, CI, CO>,
    pub image: usize,
    pub tiles: Range<usize>,
    /// Nobody else transforms these at the same time.
    pub blocks: Range<usize>,
    pub v: SharedSlice<'v, Pixel>,
    pub to: Positions,
}

impl<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
> Task for Forward<'_, '_, R, C, RI, RO, CI, CO>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layer = self.layer;
        assert!(self.v.len() >= RI * CI * self.to.position() && self.tiles.len() <= self.to.tiles);
        assert!(self.blocks.end <= self.to.blocks);
        for block in self.blocks.clone() {
            let plane = (self.image * layer.blocks[0] + block) * layer.input.len;
            let plane = &layer.images[plane..][..layer.input.len];
            for (index, tile) in self.tiles.clone().enumerate() {
                let at = block * self.to.tiles + index;
                let [top, left] = layer.corner(tile);
                let inside = |start: usize, len: usize, axis: usize| {
                    start >= layer.pads[axis] && start - layer.pads[axis] + len <= layer.input.size[axis]
                };
                match inside(top, RI, 0) && inside(left, CI, 1) {
                    true => self.tile::<S, true>(s, plane, [top, left], at),
                    false => self.tile::<S, false>(s, plane, [top, left], at),
                }
            }
        }
    }
}

impl<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
> Forward<'_, '_, R, C, RI, RO, CI, CO>
{
    /// Writes the tile that begins at `corner` of the padded plane to pixel `at` of each position.
    #[inline(always)]
    fn tile<S: Simd, const INSIDE: bool>(&self, s: S, plane: &[Pixel], [top, left]: [usize; 2], at: usize) {
        let layer = self.layer;
        let (pads, steps) = (layer.pads, layer.input.steps);
        // A column's distance from the row's start; `None` in the padding.
        let place = |start: usize, axis: usize| {
            let i = start.wrapping_sub(pads[axis]);
            (INSIDE || i < layer.input.size[axis]).then(|| i * steps[axis])
        };
        let cols: [Option<usize>; CI] = std::array::from_fn(|x| place(left + x, 1));
        for lane in (0..BLOCK).step_by(S::LANES) {
            let mut d = [[s.splat(0.0); CI]; RI];
            for (y, d) in d.iter_mut().enumerate() {
                let Some(row) = place(top + y, 0) else { continue };
                let mut x = [s.splat(0.0); CI];
                for (x, col) in x.iter_mut().zip(cols) {
                    if let Some(col) = col {
                        debug_assert!(row + col < plane.len());
                        // SAFETY: row and column lie in the plane, and a vector from `lane` on in the pixel.
                        *x = unsafe { s.load(plane.as_ptr().add(row + col).cast::<f32>().add(lane)) };
                    }
                }
                *d = C::forward(s, x);
            }
            for x in 0..CI {
                let mut column = [s.splat(0.0); RI];
                column.iter_mut().zip(&d).for_each(|(to, d)| *to = d[x]);
                for (y, value) in R::forward(s, column).into_iter().enumerate() {
                    let at = (y * CI + x) * self.to.position() + at;
                    // SAFETY: `v` has this tile of this block in every position (`run` has checked that), the block is
                    // this call's alone, and a vector from `lane` on lies in the pixel.
                    unsafe { s.store(self.v.as_mut_ptr().add(at).cast::<f32>().add(lane), value) }
                }
            }
        }
    }
}

/// The transform of one block's sums back to pixels.
pub(super) struct Back<'a, R, C, const RI: usize, const RO: usize, const CI: usize, const CO: usize> {
    pub layer: &'a Layer<'a, R, C, RI, RO, CI, CO>,
    pub image: usize,
    pub tiles: Range<usize>,
    pub block: usize,
    /// From this block's first tile on.
    pub sums: &'a [Pixel],
    pub from: Positions,
}

impl<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
> Task for Back<'_, R, C, RI, RO, CI, CO>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layer = self.layer;
        assert!(self.sums.len() > (RI * CI - 1) * self.from.position() + self.tiles.len() - 1);
        for (index, tile) in self.tiles.clone().enumerate() {
            let corner = layer.corner(tile);
            let mut pixels = [[[0.0; BLOCK]; CO]; RO];
            for lane in (0..BLOCK).step_by(S::LANES) {
                let mut m = [[s.splat(0.0); CO]; RI];
                for (y, m) in m.iter_mut().enumerate() {
                    let mut x = [s.splat(0.0); CI];
                    for (i, x) in x.iter_mut().enumerate() {
                        *x = load(s, &self.sums[(y * CI + i) * self.from.position() + index], lane);
                    }
                    *m = C::back(s, x);
                }
                for x in 0..CO {
                    let mut column = [s.splat(0.0); RI];
                    column.iter_mut().zip(&m).for_each(|(to, m)| *to = m[x]);
                    for (row, value) in pixels.iter_mut().zip(R::back(s, column)) {
                        // SAFETY: a vector from `lane` on lies in the pixel.
                        unsafe { s.store(row[x].as_mut_ptr().add(lane), value) }
                    }
                }
            }
            match layer.halved {
                true => self.finish_halved(s, corner, &pixels),
                false => self.finish(s, corner, &pixels),
            }
        }
    }
}

impl<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
> Back<'_, R, C, RI, RO, CI, CO>
{
    fn plane(&self) -> usize {
        self.image * self.layer.blocks[1] + self.block
    }

    /// Bias, addend, and activation.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, [top, left]: [usize; 2], pixels: &[[Pixel; CO]; RO]) {
        let layer = self.layer;
        let (ending, output, plane) = (layer.ending, layer.output, self.plane());
        let bias = ending.bias_of(self.block);
        let addend = ending.addend.map(|addend| &addend.as_chunks::<BLOCK>().0[plane * output.len..]);
        let (low, high) = (s.splat(ending.low), s.splat(ending.high));
        let cols = CO.min(output.size[1] - left);
        for (row, pixels) in (top..output.size[0]).zip(pixels) {
            for (col, pixel) in (left..).zip(&pixels[..cols]) {
                let at = row * output.steps[0] + col * output.steps[1];
                // SAFETY: each pixel belongs to one tile, each tile and block to one call.
                let to = unsafe { &mut layer.out.range(plane, at..at + 1)[0] };
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let mut sum = s.add(load(s, pixel, lane), load(s, bias, lane));
                    if let Some(addend) = addend {
                        sum = s.add(sum, load(s, &addend[at], lane));
                    }
                    // SAFETY: a vector from `lane` on lies in the pixel.
                    unsafe { s.store(to.as_mut_ptr().add(lane), s.min(high, s.max(low, sum))) }
                }
            }
            if output.steps[1] == 1 {
                let at = row * output.steps[0] + left;
                // SAFETY: as above.
                ending.after(self.block, unsafe { layer.out.range(plane, at..at + cols) });
            } else {
                for col in left..left + cols {
                    let at = row * output.steps[0] + col * output.steps[1];
                    // SAFETY: as above.
                    ending.after(self.block, unsafe { layer.out.range(plane, at..at + 1) });
                }
            }
        }
    }

    /// The same for the largest of each 2 × 2 pixels. What follows never gives more for less, so it comes behind.
    #[inline(always)]
    fn finish_halved<S: Simd>(&self, s: S, [top, left]: [usize; 2], pixels: &[[Pixel; CO]; RO]) {
        let layer = self.layer;
        let (ending, plane) = (layer.ending, self.plane());
        let [height, width] = layer.output.size.map(|len| len / 2);
        let bias = ending.bias_of(self.block);
        let (low, high) = (s.splat(ending.low), s.splat(ending.high));
        let cols = left / 2..width.min((left + CO) / 2);
        for (row, pixels) in (top / 2..height).zip(pixels.as_chunks::<2>().0) {
            let at = row * width;
            if cols.is_empty() {
                continue;
            }
            // SAFETY: each pixel belongs to one tile, each tile and block to one call.
            let out = unsafe { layer.out.range(plane, at + cols.start..at + cols.end) };
            for (i, to) in out.iter_mut().enumerate() {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let of =
                        |row: &[Pixel; CO]| s.max(load(s, &row[2 * i], lane), load(s, &row[2 * i + 1], lane));
                    let sum = s.add(s.max(of(&pixels[0]), of(&pixels[1])), load(s, bias, lane));
                    // SAFETY: a vector from `lane` on lies in the pixel.
                    unsafe { s.store(to.as_mut_ptr().add(lane), s.min(high, s.max(low, sum))) }
                }
            }
            ending.after(self.block, out);
        }
    }
}
