//! How the code generator divides the scratchpad and the accumulators.

use crate::device::{ACCUMULATOR_ROWS, LANES, SCRATCHPAD_BYTES, TILE_BYTES};
use crate::sim::{PARAMETER_BYTES, TABLE_BYTES};

/// Most tiles of weights that are loaded at once.
pub const CHUNK_TILES: usize = 64;
/// A chunk of weights, behind its parameters.
pub const CHUNK_BYTES: usize = PARAMETER_BYTES + CHUNK_TILES * TILE_BYTES;
/// Vectors that a step computes at most: half of the accumulators.
pub const STEP_VECTORS: usize = ACCUMULATOR_ROWS / 2;

pub const WEIGHTS_BYTES: usize = 192 * 1024;
/// Input of one step.
pub const SLAB_BYTES: usize = 128 * 1024;
pub const SLAB_VECTORS: usize = SLAB_BYTES / LANES;
const OUTPUT_BYTES: usize = STEP_VECTORS * LANES;
const TABLES_BYTES: usize = LANES * TABLE_BYTES;

const SLABS: usize = WEIGHTS_BYTES;
const OUTPUTS: usize = SLABS + 2 * SLAB_BYTES;
const TABLES: usize = OUTPUTS + 2 * OUTPUT_BYTES;
const _: () = assert!(TABLES + 2 * TABLES_BYTES <= SCRATCHPAD_BYTES && 2 * CHUNK_BYTES <= WEIGHTS_BYTES);

pub fn chunk(slot: usize) -> u32 {
    (slot * CHUNK_BYTES) as u32
}

pub fn slab(slot: usize) -> u32 {
    (SLABS + slot * SLAB_BYTES) as u32
}

pub fn output(slot: usize) -> u32 {
    (OUTPUTS + slot * OUTPUT_BYTES) as u32
}

pub fn tables(slot: usize) -> u32 {
    (TABLES + slot * TABLES_BYTES) as u32
}

/// The first row of accumulators of a slot.
pub fn accumulators(slot: usize) -> u32 {
    (slot * STEP_VECTORS) as u32
}
