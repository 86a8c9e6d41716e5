//! The device's figures, in one place.

/// Rows and columns of the systolic array, lanes of the vector unit, and channels in a block of the layout.
pub const LANES: usize = 32;
/// Bytes of a tile of weights.
pub const TILE_BYTES: usize = LANES * LANES;
/// Rows of accumulators; a row holds one int32 for every lane.
pub const ACCUMULATOR_ROWS: usize = 1024;

/// What a device is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Of each core.
    pub scratchpad_bytes: usize,
    pub cores: usize,
}

/// What devices may be built with.
pub const SCRATCHPAD_KIB: std::ops::RangeInclusive<i64> = 64..=4096;
pub const CORES: std::ops::RangeInclusive<i64> = 1..=16;

impl Default for Device {
    fn default() -> Self {
        Device { scratchpad_bytes: 512 * 1024, cores: 1 }
    }
}

pub const CLOCK_HZ: u64 = 1_000_000_000;
pub const DMA_BYTES_PER_CYCLE: u64 = 16;
pub const DMA_LATENCY: u64 = 64;
pub const WEIGHT_LOAD_CYCLES: u64 = 32;
/// Cycles until the first product leaves the array, and until the last one has.
pub const ARRAY_FILL: u64 = LANES as u64 - 1;
pub const ARRAY_DRAIN: u64 = LANES as u64 - 1;
/// Stages of the vector unit's pipeline.
pub const VECTOR_LATENCY: u64 = 8;
/// From the last core's end of a layer to the start of all with the next.
pub const BARRIER_CYCLES: u64 = 64;
/// Commands that wait for one engine before the front end stalls.
pub const QUEUE_DEPTH: usize = 16;

/// Where a run's own memory begins; constants lie below.
pub const ACTIVATIONS_BASE: u32 = 0x8000_0000;
/// Every block in the device's memory begins at a multiple of this.
pub const ALIGNMENT: usize = 64;
