//! How the code generator divides the scratchpad and the accumulators.

use crate::device::{ACCUMULATOR_ROWS, Device, LANES, TILE_BYTES};
use crate::sim::{PARAMETER_BYTES, TABLE_BYTES};

/// Most tiles of weights that are loaded at once.
const MOST_CHUNK_TILES: usize = 64;
/// Tables for all lanes.
const TABLES_BYTES: usize = LANES * TABLE_BYTES;

/// The parts of a scratchpad, one behind the other: weights, two slabs of input, two buffers of output, two of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    pub weights_bytes: usize,
    /// Tiles of weights that are loaded at once.
    pub chunk_tiles: usize,
    /// Input of one step.
    pub slab_bytes: usize,
    /// Vectors that a step computes at most: no more than half of the accumulators.
    pub step_vectors: usize,
}

impl Division {
    pub fn of(device: &Device) -> Self {
        let size = device.scratchpad_bytes;
        let slab_bytes = (size / 4).next_multiple_of(LANES);
        let step_vectors = (size / 32 / LANES).min(ACCUMULATOR_ROWS / 2);
        let rest = size - 2 * (slab_bytes + step_vectors * LANES + TABLES_BYTES);
        // What is over stays over, so that a scratchpad of the usual size is divided evenly.
        let weights_bytes = rest.min(size / 8 * 3);
        let chunk_tiles = ((weights_bytes / 2 - PARAMETER_BYTES) / TILE_BYTES).min(MOST_CHUNK_TILES);
        Division { weights_bytes, chunk_tiles, slab_bytes, step_vectors }
    }

    /// A chunk of weights, behind its parameters.
    pub fn chunk_bytes(&self) -> usize {
        PARAMETER_BYTES + self.chunk_tiles * TILE_BYTES
    }

    pub fn slab_vectors(&self) -> usize {
        self.slab_bytes / LANES
    }

    pub fn chunk(&self, slot: usize) -> u32 {
        (slot * self.chunk_bytes()) as u32
    }

    pub fn slab(&self, slot: usize) -> u32 {
        (self.weights_bytes + slot * self.slab_bytes) as u32
    }

    pub fn output(&self, slot: usize) -> u32 {
        self.slab(2) + (slot * self.step_vectors * LANES) as u32
    }

    pub fn tables(&self, slot: usize) -> u32 {
        self.output(2) + (slot * TABLES_BYTES) as u32
    }

    /// The first row of accumulators of a slot.
    pub fn accumulators(&self, slot: usize) -> u32 {
        (slot * self.step_vectors) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::SCRATCHPAD_KIB;

    #[test]
    fn every_size_is_divided() {
        for kib in SCRATCHPAD_KIB {
            let device = Device { scratchpad_bytes: kib as usize * 1024, cores: 1 };
            let spm = Division::of(&device);
            assert!(spm.tables(2) as usize <= device.scratchpad_bytes, "{kib} KiB: {spm:?}");
            assert!(2 * spm.chunk_bytes() <= spm.weights_bytes && spm.chunk_tiles > 0, "{kib} KiB: {spm:?}");
            assert!(spm.accumulators(2) as usize <= ACCUMULATOR_ROWS, "{kib} KiB: {spm:?}");
        }
    }
}
