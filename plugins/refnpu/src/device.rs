//! The device's figures, in one place.

/// Rows and columns of the systolic array, lanes of the vector unit, and channels in a block of the layout.
pub const LANES: usize = 32;
/// Bytes of a tile of weights.
pub const TILE_BYTES: usize = LANES * LANES;
pub const SCRATCHPAD_BYTES: usize = 512 * 1024;
/// Rows of accumulators; a row holds one int32 for every lane.
pub const ACCUMULATOR_ROWS: usize = 1024;

pub const CLOCK_HZ: u64 = 1_000_000_000;
pub const DMA_BYTES_PER_CYCLE: u64 = 16;
pub const DMA_LATENCY: u64 = 64;
pub const WEIGHT_LOAD_CYCLES: u64 = 32;
/// Cycles until the first product leaves the array, and until the last one has.
pub const ARRAY_FILL: u64 = LANES as u64 - 1;
pub const ARRAY_DRAIN: u64 = LANES as u64 - 1;
/// Stages of the vector unit's pipeline.
pub const VECTOR_LATENCY: u64 = 8;
/// Commands that wait for one engine before the front end stalls.
pub const QUEUE_DEPTH: usize = 16;

/// Where a run's own memory begins; constants lie below.
pub const ACTIVATIONS_BASE: u32 = 0x8000_0000;
/// Every block in the device's memory begins at a multiple of this.
pub const ALIGNMENT: usize = 64;
