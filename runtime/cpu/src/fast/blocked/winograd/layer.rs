//! One convolution: transform, products, transform back.

use std::marker::PhantomData;
use std::ops::Range;

use super::transform::{Back, Forward};
use super::{Call, Packed};
use crate::fast::blocked::panels::{FOUR, Panel};
use crate::fast::blocked::tile::{Input, Kernels, Start, Tile};
use crate::fast::blocked::{BLOCK, Ending, Output, Pixel, blocks};
use crate::fast::conv::filtering::Filtering;
use crate::fast::gemm::split::{self, Tiles, part};
use crate::fast::scratch::with_scratch;
use crate::fast::{Exec, Isa};
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

/// Height and width, and the distance between rows and between the pixels of one. A line's kernel runs along the rows:
/// where the image's lies across, the image is taken for its transpose.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    pub size: [usize; 2],
    pub steps: [usize; 2],
    /// Pixels.
    pub len: usize,
}

impl Plane {
    fn new(size: [usize; 2], turned: bool) -> Plane {
        let (len, steps) = (size[0] * size[1], [size[1], 1]);
        match turned {
            true => Plane { size: [size[1], size[0]], steps: [steps[1], steps[0]], len },
            false => Plane { size, steps, len },
        }
    }
}

pub(super) struct Layer<'a, R, C, const RI: usize, const RO: usize, const CI: usize, const CO: usize> {
    kernels: Kernels,
    pub images: &'a [Pixel],
    count: usize,
    pub input: Plane,
    pub output: Plane,
    /// Before the first row and column.
    pub pads: [usize; 2],
    weights: &'a Packed,
    /// Of input and output channels.
    pub blocks: [usize; 2],
    /// How many tiles lie below and beside each other.
    tiles: [usize; 2],
    pub out: Output<'a>,
    pub ending: &'a Ending<'a>,
    /// Whether of each 2 × 2 pixels the largest is wanted.
    pub halved: bool,
    filtering: PhantomData<(R, C)>,
}

/// For each position, for each block of channels, a pixel for each tile. A pixel more lies between positions: else
/// they would often be a power of two apart, and share few sets of the cache.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    pub blocks: usize,
    pub tiles: usize,
}

impl Positions {
    pub fn position(self) -> usize {
        self.blocks * self.tiles + 1
    }
}

impl<
    'a,
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
> Layer<'a, R, C, RI, RO, CI, CO>
{
    const POSITIONS: usize = RI * CI;

    pub fn new(isa: Isa, call: Call<'a>) -> Self {
        let Call { input, window, weights, out, ending, halved } = call;
        let size = window.output(input.size).expect("the window does not fit the images");
        let turned = window.kernel != [R::KERNEL, C::KERNEL];
        let output = Plane::new(size, turned);
        let [above, left, ..] = window.pads;
        Layer {
            kernels: Kernels::of(isa),
            images: input.planes(),
            count: input.count,
            input: Plane::new(input.size, turned),
            output,
            pads: if turned { [left, above] } else { [above, left] },
            weights,
            blocks: [blocks(input.channels), blocks(ending.channels)],
            tiles: [output.size[0].div_ceil(RO), output.size[1].div_ceil(CO)],
            out,
            ending,
            halved,
            filtering: PhantomData,
        }
    }

    pub fn run(&self, exec: Exec<'_>) {
        match self.tiles() <= STAGED_TILES {
            true => (0..self.count).for_each(|image| self.run_staged(exec, image)),
            false => self.run_at_once(exec),
        }
    }

    /// Of an image.
    fn tiles(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// A few tiles after the other, from the input's transform to the output's: all of it stays in the second-level
    /// cache, and the weights are read once for each.
    fn run_at_once(&self, exec: Exec<'_>) {
        let in_blocks = self.blocks[0];
        let tile = Self::POSITIONS * in_blocks * size_of::<Pixel>();
        let at_a_time = (HELD / tile).next_multiple_of(self.kernels.pixels).min(MOST_TILES);
        let parts = split::pieces(self.tiles(), at_a_time.max(1), exec.pool.threads()).min(self.tiles());
        exec.pool.parallel_for(self.count * parts, &|piece| {
            let (image, tiles) = (piece / parts, part(self.tiles(), parts, piece % parts));
            let from = Positions { blocks: in_blocks, tiles: tiles.len() };
            let to = Positions { blocks: self.kernels.blocks, tiles: tiles.len() };
            with_scratch(Self::POSITIONS * (from.position() + to.position()), |scratch: &mut [Pixel]| {
                let (v, sums) = scratch.split_at_mut(Self::POSITIONS * from.position());
                self.forward(exec.isa, image, tiles.clone(), 0..in_blocks, (SharedSlice::new(v), from));
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
        let tiles = self.tiles();
        let from = Positions { blocks: in_blocks, tiles };
        let to = Positions { blocks: out_blocks, tiles };
        let volume = tiles * in_blocks * out_blocks * BLOCK * BLOCK;
        let panels = &self.weights.panels;
        let parts = volume.div_ceil(STAGED_PIECE).min(panels.len());
        with_scratch(Self::POSITIONS * (from.position() + to.position()), |scratch: &mut [Pixel]| {
            let (v, sums) = scratch.split_at_mut(Self::POSITIONS * from.position());
            let shared = SharedSlice::new(v);
            exec.pool.parallel_for(in_blocks, &|block| {
                self.forward(exec.isa, image, 0..tiles, block..block + 1, (shared, from));
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

    /// Transforms tiles of some blocks of input channels, which nobody else does at the same time.
    fn forward(
        &self,
        isa: Isa,
        image: usize,
        tiles: Range<usize>,
        blocks: Range<usize>,
        (v, to): (SharedSlice<'_, Pixel>, Positions),
    ) {
        isa.run(Forward { layer: self, image, tiles, blocks, v, to });
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
    pub fn corner(&self, tile: usize) -> [usize; 2] {
        [tile / self.tiles[1] * RO, tile % self.tiles[1] * CO]
    }
}
