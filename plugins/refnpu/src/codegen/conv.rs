//! Convolution on the array.
//!
//! For each tile of outputs a slab of input with all its channels; for each block of 32 output channels, all tiles
//! of weights, accumulated tap by tap and input block by input block. Where the layer's weights fit, they stay in
//! the scratchpad; else they stream through two slots.

use super::scratchpad::Division;
use super::step::Step;
use super::tile::{Slab, Tile, cut, largest};
use super::weights::{Chunk, pack};
use super::{LowerError, Lowering, Placed};
use crate::device::{ALIGNMENT, TILE_BYTES};
use crate::isa::{Command, Transfer, Walk};
use crate::layer::Conv;

pub fn lower(
    lowering: &mut Lowering<'_>,
    conv: &Conv,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let whole = Tile { row: 0, col: 0, rows: output.shape.height, cols: output.shape.width };
    let blocks = input.shape.blocks();
    let spm = lowering.spm;
    let size = largest(&spm, [lowering.split(whole.rows), whole.cols], &conv.window, blocks)
        .ok_or_else(|| lowering.too_large("the input of one output"))?;
    let tiles: Vec<Tile> = cut(whole, size).collect();
    // Cores have other tiles of all blocks, or where there are too few, all tiles of other blocks.
    let all = output.shape.blocks();
    let (tiles, blocks_made) = match tiles.len() >= lowering.cores || all < lowering.cores {
        true => (&tiles[lowering.share(tiles.len())], 0..all),
        false => (&tiles[..], lowering.share(all)),
    };
    let chunks: Vec<(usize, Vec<Chunk>)> = blocks_made
        .map(|block| {
            let (channels, tiles) = (output.shape.channels, spm.chunk_tiles);
            (block, pack(conv, input.shape, channels, block, tiles, lowering.constants))
        })
        .collect();
    let mut residence = Residence::of(&chunks, lowering.slots, spm);

    let mut steps = Vec::new();
    let mut turn = 0;
    for (index, &tile) in tiles.iter().enumerate() {
        let address = spm.slab(index % lowering.slots);
        let (slab, mut slab_load) =
            Slab::load(&tile, &conv.window, input, 0..blocks, address, conv.input_zero);
        for (block, chunks) in &chunks {
            let target = Target { tile, block: *block, slot: turn % lowering.slots, spm };
            turn += 1;
            for (index, chunk) in chunks.iter().enumerate() {
                let (weights, weights_load) = residence.place(chunk);
                let mut step = Step { load: std::mem::take(&mut slab_load), ..Step::default() };
                step.load.extend(weights_load);
                multiply(conv, &slab, chunk, weights, &target, index == 0, &mut step.work);
                if chunk.last {
                    target.finish(conv, weights, output, &mut step);
                }
                steps.push(step);
            }
        }
    }
    Ok(steps)
}

/// A tile of one block of outputs, and the slot for its accumulators and bytes.
struct Target {
    tile: Tile,
    block: usize,
    slot: usize,
    spm: Division,
}

impl Target {
    fn finish(&self, conv: &Conv, parameters: u32, output: Placed, step: &mut Step) {
        let address = self.spm.output(self.slot);
        let area = self.tile.area();
        step.work.push(Command::Requantise {
            area,
            acc: self.spm.accumulators(self.slot),
            parameters,
            target: Walk::dense(address, area.cols),
            range: conv.range,
        });
        step.store.push(self.tile.store(output, self.block, address));
    }
}

fn multiply(
    conv: &Conv,
    slab: &Slab,
    chunk: &Chunk,
    weights: u32,
    target: &Target,
    first: bool,
    work: &mut Vec<Command>,
) {
    for (index, packed) in chunk.tiles.iter().enumerate() {
        let tile = weights + (chunk.tiles_at + index * TILE_BYTES) as u32;
        work.push(Command::Weights { tile, zero: conv.weight_zero });
        let [rows, cols] = conv.window.dilation;
        work.push(Command::MatMul {
            area: target.tile.area(),
            source: slab.tap(packed.block, packed.row * rows, packed.col * cols),
            zero: conv.input_zero,
            acc: target.spm.accumulators(target.slot),
            accumulate: !first || index > 0,
        });
    }
}

/// Where chunks of weights are in the scratchpad.
enum Residence {
    /// Each has a place of its own and is loaded once: addresses in the device's memory of those that are there,
    /// their places, and the next free one.
    Resident { loaded: Vec<(u32, u32)>, next: usize },
    /// They take turns in so many slots.
    Streamed { slots: usize, turn: usize, spm: Division },
}

impl Residence {
    fn of(chunks: &[(usize, Vec<Chunk>)], slots: usize, spm: Division) -> Self {
        let all = chunks.iter().flat_map(|(_, chunks)| chunks);
        let bytes: usize = all.map(|chunk| chunk.bytes.next_multiple_of(ALIGNMENT)).sum();
        if bytes <= spm.weights_bytes {
            Residence::Resident { loaded: Vec::new(), next: 0 }
        } else {
            Residence::Streamed { slots, turn: 0, spm }
        }
    }

    /// The chunk's address in the scratchpad, and the load that brings it there, where it needs one.
    fn place(&mut self, chunk: &Chunk) -> (u32, Option<Command>) {
        let address = match self {
            Residence::Resident { loaded, next } => {
                if let Some((_, address)) = loaded.iter().find(|(from, _)| *from == chunk.address) {
                    return (*address, None);
                }
                let address = *next as u32;
                loaded.push((chunk.address, address));
                *next += chunk.bytes.next_multiple_of(ALIGNMENT);
                address
            }
            Residence::Streamed { slots, turn, spm } => {
                let address = spm.chunk(*turn % *slots);
                *turn += 1;
                address
            }
        };
        (address, Some(Command::Load(Transfer::flat(chunk.address, address, chunk.bytes as u32))))
    }
}
