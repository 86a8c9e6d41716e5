//! 3 × 3 convolutions by Winograd's minimal filtering, see [`crate::fast::conv::filtering`]. Transforms take 16 channels
//! at a time; the product of one position is a convolution with a kernel of one pixel, whose pixels are tiles.

use std::marker::PhantomData;
use std::ops::Range;

use super::panels::{self, FOUR, Panel};
use super::tile::{Input, Kernels, Start, Tile};
use super::{BLOCK, Blocked, Ending, Output, Pixel, blocks, load};
use crate::fast::conv::filtering::{F23, F43, Filtering, KERNEL, transformed};
use crate::fast::conv::winograd::applies;
use crate::fast::conv::{Channels, Window};
use crate::fast::gemm::split::{Tiles, part};
use crate::fast::scratch::with_scratch;
use crate::fast::simd::{Simd, Task};
use crate::fast::{Exec, Isa};
use crate::memory::Aligned;
use crate::pool::SharedSlice;

/// Up to so many tiles an image goes through stage by stage, so that the weights, much more than the tiles, are read
/// once.
const STAGED_TILES: usize = 128;
/// Multiply-adds of one piece of the products then.
const STAGED_PIECE: usize = 1_000_000;
/// Beyond them, bytes of transformed tiles that a piece of work holds, in the second-level cache.
const HELD: usize = 384 * 1024;
/// The most tiles of such a piece: more would leave threads without work.
const MOST_TILES: usize = 56;

/// Images of no more pixels along their shorter side go by F(2×2, 3×3): tiles of 4 × 4 fit them badly, and its
/// transformed weights, which come from memory, are less than half.
const SMALL: usize = 16;

/// Smaller ones yet are worth it where the weights are few: else these, not the arithmetic, are the limit.
const TINY: usize = 12;
const TINY_KERNELS: usize = 128 * 1024;

/// Whether the method applies, and pays for images of this size.
pub(super) fn pays(channels: Channels, window: Window, size: [usize; 2]) -> bool {
    let few = channels.input * channels.output <= TINY_KERNELS;
    applies(channels, window, size, if few { TINY / 2 } else { TINY })
}

/// Transformed weights, packed for one instruction set.
pub(super) struct Packed {
    small: bool,
    /// The positions one after the other, each as of [`panels::pack`].
    data: Aligned<f32>,
    /// Those of each position.
    panels: Vec<Panel>,
}

/// For images of the given height and width; what it gives serves all.
pub(super) fn transform_weights(isa: Isa, channels: Channels, weights: &[f32], size: [usize; 2]) -> Packed {
    let small = size[0].min(size[1]) <= SMALL;
    let panels = panels::panels(Kernels::of(isa).blocks, channels, 1);
    let data = match small {
        true => pack::<F23, 4, 2>(&panels, channels, weights),
        false => pack::<F43, 6, 4>(&panels, channels, weights),
    };
    Packed { small, data, panels }
}

/// For each position, the panels of its weights: those of each input channel for the output channels of the panel.
fn pack<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize>(
    panels: &[Panel],
    channels: Channels,
    weights: &[f32],
) -> Aligned<f32> {
    let len = panels::elements(panels, 1);
    let mut data = Aligned::zeroed(len * IN * IN);
    for panel in panels {
        for input in 0..channels.input {
            for (i, block) in panel.out.clone().enumerate() {
                let mut kernels = [[0.0; BLOCK]; KERNEL * KERNEL];
                for (lane, output) in (block * BLOCK..channels.output.min((block + 1) * BLOCK)).enumerate() {
                    let kernel = &weights[(output * channels.input + input) * kernels.len()..];
                    kernels.iter_mut().zip(kernel).for_each(|(to, &x)| to[lane] = x.into());
                }
                let at = panel.start + input * panel.width() + i * BLOCK;
                let kernels = transformed::<F, IN, OUT, BLOCK>(&kernels);
                for (row, data) in kernels.as_flattened().iter().zip(data.chunks_exact_mut(len)) {
                    data[at..at + BLOCK].copy_from_slice(row);
                }
            }
        }
    }
    data
}

pub(super) fn run(
    exec: Exec<'_>,
    input: Blocked<'_>,
    window: Window,
    weights: &Packed,
    out: Output<'_>,
    ending: &Ending<'_>,
) {
    match weights.small {
        true => Layer::<F23, 4, 2>::new(exec.isa, input, window, weights, out, ending).run(exec),
        false => Layer::<F43, 6, 4>::new(exec.isa, input, window, weights, out, ending).run(exec),
    }
}

struct Layer<'a, F, const IN: usize, const OUT: usize> {
    kernels: Kernels,
    input: Blocked<'a>,
    planes: &'a [Pixel],
    /// Above and on the left.
    pads: [usize; 2],
    weights: &'a Packed,
    /// Of input and output channels.
    blocks: [usize; 2],
    /// Of the output.
    size: [usize; 2],
    /// How many tiles lie below and beside each other.
    tiles: [usize; 2],
    out: Output<'a>,
    ending: &'a Ending<'a>,
    filtering: PhantomData<F>,
}

/// For each position, for each block of channels, a pixel for each tile. A pixel more lies between positions: else
/// they would often be a power of two apart, and share few sets of the cache.
#[derive(Clone, Copy)]
struct Positions {
    blocks: usize,
    tiles: usize,
}

impl Positions {
    fn position(self) -> usize {
        self.blocks * self.tiles + 1
    }
}

impl<'a, F: Filtering<IN, OUT>, const IN: usize, const OUT: usize> Layer<'a, F, IN, OUT> {
    const POSITIONS: usize = IN * IN;

    fn new(
        isa: Isa,
        input: Blocked<'a>,
        window: Window,
        weights: &'a Packed,
        out: Output<'a>,
        ending: &'a Ending<'a>,
    ) -> Self {
        let size = window.output(input.size).expect("the window does not fit the images");
        Layer {
            kernels: Kernels::of(isa),
            input,
            planes: input.planes(),
            pads: [window.pads[0], window.pads[1]],
            weights,
            blocks: [blocks(input.channels), blocks(ending.channels)],
            size,
            tiles: size.map(|len| len.div_ceil(OUT)),
            out,
            ending,
            filtering: PhantomData,
        }
    }

    fn run(&self, exec: Exec<'_>) {
        match self.count() <= STAGED_TILES {
            true => (0..self.input.count).for_each(|image| self.run_staged(exec, image)),
            false => self.run_at_once(exec),
        }
    }

    fn count(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// A few tiles after the other, from the input's transform to the output's: all of it stays in the second-level
    /// cache, and the weights are read once for each.
    fn run_at_once(&self, exec: Exec<'_>) {
        let in_blocks = self.blocks[0];
        let tile = Self::POSITIONS * in_blocks * size_of::<Pixel>();
        let at_a_time = (HELD / tile).next_multiple_of(self.kernels.pixels).min(MOST_TILES);
        let parts = self.count().div_ceil(at_a_time.max(1));
        exec.pool.parallel_for(self.input.count * parts, &|piece| {
            let (image, tiles) = (piece / parts, part(self.count(), parts, piece % parts));
            let from = Positions { blocks: in_blocks, tiles: tiles.len() };
            let to = Positions { blocks: self.kernels.blocks, tiles: tiles.len() };
            with_scratch(Self::POSITIONS * (from.position() + to.position()), |scratch: &mut [Pixel]| {
                let (v, sums) = scratch.split_at_mut(Self::POSITIONS * from.position());
                let shared = SharedSlice::new(v);
                exec.isa.run(Forward {
                    layer: self,
                    image,
                    tiles: tiles.clone(),
                    blocks: 0..in_blocks,
                    v: shared,
                    to: from,
                });
                for panel in &self.weights.panels {
                    for position in 0..Self::POSITIONS {
                        let sums = &mut sums[position * to.position()..][..panel.out.len() * to.tiles];
                        self.multiply(position, panel, (v, from), sums);
                    }
                    for (i, block) in panel.out.clone().enumerate() {
                        self.back(exec.isa, image, tiles.clone(), block, (sums, to, i));
                    }
                }
            });
        });
    }

    /// One stage for all tiles of an image after the other.
    fn run_staged(&self, exec: Exec<'_>, image: usize) {
        let [in_blocks, out_blocks] = self.blocks;
        let tiles = self.count();
        let from = Positions { blocks: in_blocks, tiles };
        let to = Positions { blocks: out_blocks, tiles };
        let volume = tiles * in_blocks * out_blocks * BLOCK * BLOCK;
        let panels = &self.weights.panels;
        let parts = volume.div_ceil(STAGED_PIECE).min(panels.len());
        with_scratch(Self::POSITIONS * (from.position() + to.position()), |scratch: &mut [Pixel]| {
            let (v, sums) = scratch.split_at_mut(Self::POSITIONS * from.position());
            let shared = SharedSlice::new(v);
            exec.pool.parallel_for(in_blocks, &|block| {
                exec.isa.run(Forward {
                    layer: self,
                    image,
                    tiles: 0..tiles,
                    blocks: block..block + 1,
                    v: shared,
                    to: from,
                });
            });
            let shared = SharedSlice::new(sums);
            exec.pool.parallel_for(Self::POSITIONS * parts, &|piece| {
                let (position, own) = (piece / parts, part(panels.len(), parts, piece % parts));
                for panel in &panels[own] {
                    let start = position * to.position() + panel.out.start * tiles;
                    // SAFETY: no other piece has these blocks of this position.
                    let sums = unsafe { shared.range(start..start + panel.out.len() * tiles) };
                    self.multiply(position, panel, (v, from), sums);
                }
            });
            let sums = &*sums;
            exec.pool.parallel_for(out_blocks, &|block| {
                self.back(exec.isa, image, 0..tiles, block, (sums, to, block));
            });
        });
    }

    /// For one position, the sums over the input channels for a panel of output channels.
    fn multiply(&self, position: usize, panel: &Panel, (v, from): (&[Pixel], Positions), sums: &mut [Pixel]) {
        let in_blocks = self.blocks[0];
        let data = &self.weights.data;
        let len = panel.fours.len() * FOUR * panel.width();
        let weights = &data[position * (data.len() / Self::POSITIONS) + panel.start..][..len];
        let v = &v[position * from.position()..][..in_blocks * from.tiles];
        assert_eq!(sums.len(), panel.out.len() * from.tiles);
        let tiles = Tiles::new(from.tiles, self.kernels.pixels);
        let share = size_of_val(weights) / tiles.count();
        for tile in 0..tiles.count() {
            let range = tiles.get(tile);
            let call = Tile {
                x: v[range.start..].as_ptr().cast(),
                x_block: from.tiles * BLOCK,
                fours: panel.fours.clone(),
                taps: &[0],
                weights: weights.as_ptr(),
                out: sums[range.start..].as_mut_ptr().cast(),
                out_block: from.tiles * BLOCK,
                out_step: BLOCK,
                start: Start::Zero,
                finish: None,
                ahead: weights.as_ptr().wrapping_add(len).cast::<u8>().wrapping_add(tile * share),
                ahead_step: share / in_blocks,
            };
            // SAFETY: `v` has these tiles in every block of input channels, the weights a row for each channel, and
            // `sums` these tiles in each block of the panel.
            unsafe { self.kernels.run(range.len(), panel.out.len(), Input::Blocks, &call) }
        }
    }

    /// Transforms the sums of one block of output channels, which are in block `at`, back to pixels.
    fn back(
        &self,
        isa: Isa,
        image: usize,
        tiles: Range<usize>,
        block: usize,
        (sums, from, at): (&[Pixel], Positions, usize),
    ) {
        isa.run(Back { layer: self, image, tiles, block, sums: &sums[at * from.tiles..], from });
    }

    /// A tile's first row and column.
    fn corner(&self, tile: usize) -> [usize; 2] {
        [tile / self.tiles[1] * OUT, tile % self.tiles[1] * OUT]
    }
}

/// The transform of the input.
struct Forward<'a, 'v, F, const IN: usize, const OUT: usize> {
    layer: &'a Layer<'a, F, IN, OUT>,
    image: usize,
    tiles: Range<usize>,
    /// Nobody else transforms these at the same time.
    blocks: Range<usize>,
    v: SharedSlice<'v, Pixel>,
    to: Positions,
}

impl<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize> Task for Forward<'_, '_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layer = self.layer;
        let [height, width] = layer.input.size;
        for block in self.blocks {
            let plane =
                &layer.planes[(self.image * layer.blocks[0] + block) * height * width..][..height * width];
            for (index, tile) in self.tiles.clone().enumerate() {
                let [top, left] = layer.corner(tile);
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let mut d = [[s.splat(0.0); IN]; IN];
                    for (y, d) in d.iter_mut().enumerate() {
                        let Some(row) = (top + y).checked_sub(layer.pads[0]).filter(|&row| row < height)
                        else {
                            continue;
                        };
                        let row = &plane[row * width..][..width];
                        let mut x = [s.splat(0.0); IN];
                        for (i, x) in x.iter_mut().enumerate() {
                            if let Some(pixel) =
                                (left + i).checked_sub(layer.pads[1]).and_then(|col| row.get(col))
                            {
                                // SAFETY: a vector from `lane` on lies in the pixel.
                                *x = unsafe { s.load(pixel.as_ptr().add(lane)) };
                            }
                        }
                        *d = F::forward(s, x);
                    }
                    for x in 0..IN {
                        for (y, value) in F::forward(
                            s,
                            d.map(
                                #[inline(always)]
                                |d| d[x],
                            ),
                        )
                        .into_iter()
                        .enumerate()
                        {
                            let at = (y * IN + x) * self.to.position() + block * self.to.tiles + index;
                            // SAFETY: the block is this call's alone, and a vector from `lane` on lies in the pixel.
                            unsafe { s.store(self.v.range(at..at + 1)[0].as_mut_ptr().add(lane), value) }
                        }
                    }
                }
            }
        }
    }
}

/// The transform of one block's sums back to pixels.
struct Back<'a, F, const IN: usize, const OUT: usize> {
    layer: &'a Layer<'a, F, IN, OUT>,
    image: usize,
    tiles: Range<usize>,
    block: usize,
    /// From this block's first tile on.
    sums: &'a [Pixel],
    from: Positions,
}

impl<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize> Task for Back<'_, F, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let layer = self.layer;
        let ending = layer.ending;
        let [height, width] = layer.size;
        let plane = self.image * layer.blocks[1] + self.block;
        let bias = ending.bias_of(self.block);
        let addend = ending.addend.map(|addend| &addend.as_chunks::<BLOCK>().0[plane * height * width..]);
        let (low, high) = (s.splat(ending.low), s.splat(ending.high));
        for (index, tile) in self.tiles.enumerate() {
            let [top, left] = layer.corner(tile);
            let cols = OUT.min(width - left);
            for lane in (0..BLOCK).step_by(S::LANES) {
                let mut m = [[s.splat(0.0); OUT]; IN];
                for (y, m) in m.iter_mut().enumerate() {
                    let mut x = [s.splat(0.0); IN];
                    for (i, x) in x.iter_mut().enumerate() {
                        *x = load(s, &self.sums[(y * IN + i) * self.from.position() + index], lane);
                    }
                    *m = F::back(s, x);
                }
                let bias = load(s, bias, lane);
                for x in 0..cols {
                    for (y, sum) in F::back(
                        s,
                        m.map(
                            #[inline(always)]
                            |m| m[x],
                        ),
                    )
                    .into_iter()
                    .enumerate()
                    {
                        if top + y >= height {
                            break;
                        }
                        let at = (top + y) * width + left + x;
                        let mut sum = s.add(sum, bias);
                        if let Some(addend) = addend {
                            sum = s.add(sum, load(s, &addend[at], lane));
                        }
                        sum = s.min(high, s.max(low, sum));
                        // SAFETY: each pixel belongs to one tile, each tile and block to one call, and a vector from
                        // `lane` on lies in the pixel.
                        unsafe { s.store(layer.out.range(plane, at..at + 1)[0].as_mut_ptr().add(lane), sum) }
                    }
                }
            }
            for row in top..height.min(top + OUT) {
                let at = row * width + left;
                // SAFETY: as above.
                ending.after(self.block, unsafe { layer.out.range(plane, at..at + cols) });
            }
        }
    }
}
