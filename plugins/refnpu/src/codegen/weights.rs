//! Weights as the array wants them: tiles of 32 × 32, in chunks that are loaded at once.

use super::memory::Constants;
use crate::device::{LANES, TILE_BYTES};
use crate::layer::{Conv, Shape};
use crate::sim::PARAMETER_BYTES;

/// What one tile is multiplied with.
#[derive(Debug, Clone, Copy)]
pub struct PackedTile {
    pub block: usize,
    pub row: usize,
    pub col: usize,
}

/// Tiles that lie one behind the other in the device's memory. The last chunk of a block of outputs begins with
/// their biases and multipliers.
pub struct Chunk {
    pub address: u32,
    pub bytes: usize,
    /// Where its tiles begin.
    pub tiles_at: usize,
    pub tiles: Vec<PackedTile>,
    pub last: bool,
}

/// The chunks of a block of 32 output channels. A grouped convolution is a whole one with weights that are zero
/// between groups; tiles of nothing else are left out.
pub fn pack(
    conv: &Conv,
    input: Shape,
    outputs: usize,
    block: usize,
    chunk_tiles: usize,
    constants: &mut Constants,
) -> Vec<Chunk> {
    let groups = Groups { inputs: input.channels / conv.groups, outputs: outputs / conv.groups };
    let lanes = block * LANES..outputs.min((block + 1) * LANES);
    let tiles: Vec<PackedTile> = (0..input.blocks())
        .filter(|&input_block| groups.meet(&lanes, input_block, input.channels))
        .flat_map(|block| {
            let [rows, cols] = conv.window.kernel;
            (0..rows).flat_map(move |row| (0..cols).map(move |col| PackedTile { block, row, col }))
        })
        .collect();
    let count = tiles.len().div_ceil(chunk_tiles);
    tiles
        .chunks(chunk_tiles)
        .enumerate()
        .map(|(index, tiles)| {
            let last = index + 1 == count;
            let mut bytes = if last { parameters(&conv.bias, &conv.multiplier, block) } else { Vec::new() };
            let tiles_at = bytes.len();
            for tile in tiles {
                pack_tile(conv, &groups, &lanes, input.channels, tile, &mut bytes);
            }
            Chunk {
                address: constants.place(&bytes),
                bytes: bytes.len(),
                tiles_at,
                tiles: tiles.to_vec(),
                last,
            }
        })
        .collect()
}

/// Channels of each group.
struct Groups {
    inputs: usize,
    outputs: usize,
}

impl Groups {
    /// Does any of these output channels see any channel of an input block?
    fn meet(&self, outputs: &std::ops::Range<usize>, input_block: usize, inputs: usize) -> bool {
        let input_end = inputs.min((input_block + 1) * LANES) - 1;
        let (first, last) = (outputs.start / self.outputs, (outputs.end - 1) / self.outputs);
        input_block * LANES / self.inputs <= last && first <= input_end / self.inputs
    }
}

fn pack_tile(
    conv: &Conv,
    groups: &Groups,
    outputs: &std::ops::Range<usize>,
    inputs: usize,
    tile: &PackedTile,
    bytes: &mut Vec<u8>,
) {
    let at = bytes.len();
    bytes.resize(at + TILE_BYTES, conv.weight_zero as u8);
    let [rows, cols] = conv.window.kernel;
    for output in outputs.clone() {
        let first = output / groups.outputs * groups.inputs;
        let from = first.max(tile.block * LANES);
        let to = inputs.min((tile.block + 1) * LANES).min(first + groups.inputs);
        for input in from..to {
            let weight = ((output * groups.inputs + input - first) * rows + tile.row) * cols + tile.col;
            let lane = (output - outputs.start) * LANES + input - tile.block * LANES;
            bytes[at + lane] = conv.weights[weight] as u8;
        }
    }
}

/// The 32 biases and 32 multipliers of a block; lanes without a channel get zeros.
pub fn parameters(bias: &[i32], multiplier: &[f32], block: usize) -> Vec<u8> {
    let lanes = block * LANES..(block + 1) * LANES;
    let mut bytes = Vec::with_capacity(PARAMETER_BYTES);
    for lane in lanes.clone() {
        bytes.extend(bias.get(lane).copied().unwrap_or(0).to_le_bytes());
    }
    for lane in lanes {
        bytes.extend(multiplier.get(lane).copied().unwrap_or(0.0).to_le_bytes());
    }
    bytes
}
