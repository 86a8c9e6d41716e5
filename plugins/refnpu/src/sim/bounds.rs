//! What a command touches: for the bounds check before it runs, and for the scoreboard.

use std::ops::Range;

use crate::device::{ACCUMULATOR_ROWS, LANES, TILE_BYTES};
use crate::isa::{Area, Command, StreamError, Taps, Transfer, Walk};

/// Bytes of 32 biases and 32 multipliers.
pub const PARAMETER_BYTES: usize = LANES * 8;
pub const TABLE_BYTES: usize = 256;

const NO_TAPS: Taps = Taps { rows: 1, cols: 1, row: 0, col: 0 };

/// Ranges of scratchpad bytes and accumulator rows; empty where a command has none.
#[derive(Debug, Default)]
pub struct Footprint {
    pub reads: [Range<usize>; 3],
    pub writes: Range<usize>,
    pub rows_read: Range<usize>,
    pub rows_written: Range<usize>,
}

impl Footprint {
    /// Refuses what reaches outside a scratchpad of so many bytes or the accumulators. The device's memory is the DMA's
    /// to check.
    pub fn of(command: &Command, at: usize, scratchpad: usize) -> Result<Self, StreamError> {
        let check = Check { at, scratchpad: scratchpad as u64 };
        let mut footprint = Footprint::default();
        match command {
            Command::Load(transfer) => footprint.writes = check.transfer(transfer)?,
            Command::Store(transfer) => footprint.reads[0] = check.transfer(transfer)?,
            Command::Weights { tile, .. } => footprint.reads[0] = check.bytes(*tile, TILE_BYTES as u64)?,
            Command::MatMul { area, source, acc, accumulate, .. } => {
                footprint.reads[0] = check.walk(*area, *source, NO_TAPS)?;
                footprint.accumulate(check.rows(*area, *acc)?, *accumulate);
            }
            Command::Depthwise { area, source, taps, weights, acc, accumulate, .. } => {
                footprint.reads[0] = check.walk(*area, *source, *taps)?;
                footprint.reads[1] = check.bytes(*weights, taps.count() * LANES as u64)?;
                footprint.accumulate(check.rows(*area, *acc)?, *accumulate);
            }
            Command::Requantise { area, acc, parameters, target, .. } => {
                footprint.reads[0] = check.bytes(*parameters, PARAMETER_BYTES as u64)?;
                footprint.rows_read = check.rows(*area, *acc)?;
                footprint.writes = check.walk(*area, *target, NO_TAPS)?;
            }
            Command::Add { area, a, b, target, .. } => {
                footprint.reads[0] = check.walk(*area, *a, NO_TAPS)?;
                footprint.reads[1] = check.walk(*area, *b, NO_TAPS)?;
                footprint.writes = check.walk(*area, *target, NO_TAPS)?;
            }
            Command::Lookup { area, source, target, table, per_lane } => {
                let tables = if *per_lane { LANES } else { 1 };
                footprint.reads[0] = check.walk(*area, *source, NO_TAPS)?;
                footprint.reads[1] = check.bytes(*table, (tables * TABLE_BYTES) as u64)?;
                footprint.writes = check.walk(*area, *target, NO_TAPS)?;
            }
            Command::MaxPool { area, source, taps, target } => {
                footprint.reads[0] = check.walk(*area, *source, *taps)?;
                footprint.writes = check.walk(*area, *target, NO_TAPS)?;
            }
            Command::Move { area, source, target } => {
                footprint.reads[0] = check.walk(*area, *source, NO_TAPS)?;
                footprint.writes = check.walk(*area, *target, NO_TAPS)?;
            }
            Command::Fill { area, target, .. } => footprint.writes = check.walk(*area, *target, NO_TAPS)?,
        }
        Ok(footprint)
    }

    fn accumulate(&mut self, rows: Range<usize>, accumulate: bool) {
        if accumulate {
            self.rows_read = rows.clone();
        }
        self.rows_written = rows;
    }
}

struct Check {
    at: usize,
    scratchpad: u64,
}

impl Check {
    fn walk(&self, area: Area, walk: Walk, taps: Taps) -> Result<Range<usize>, StreamError> {
        for count in [area.vectors(), taps.count()] {
            // As many vectors as fit the scratchpad; also the most taps of a window.
            if count == 0 || count > self.scratchpad / LANES as u64 {
                return Err(StreamError::TooLarge { at: self.at });
            }
        }
        // Each factor is below 2^32 and each count far less: no sum overflows.
        let last =
            [(area.rows, walk.row), (area.cols, walk.col), (taps.rows, taps.row), (taps.cols, taps.col)]
                .iter()
                .map(|&(count, step)| u64::from(count - 1) * u64::from(step))
                .sum::<u64>();
        self.bytes(walk.address, last + LANES as u64)
    }

    fn transfer(&self, transfer: &Transfer) -> Result<Range<usize>, StreamError> {
        let (planes, rows) = (u64::from(transfer.planes), u64::from(transfer.rows));
        let bytes = transfer.bytes();
        if bytes == 0 || bytes > self.scratchpad {
            return Err(StreamError::TooLarge { at: self.at });
        }
        let last = (planes - 1) * u64::from(transfer.spm_plane) + (rows - 1) * u64::from(transfer.spm_row);
        self.bytes(transfer.spm, last + u64::from(transfer.row_bytes))
    }

    fn bytes(&self, address: u32, count: u64) -> Result<Range<usize>, StreamError> {
        let end = u64::from(address) + count;
        if end > self.scratchpad {
            return Err(StreamError::Bounds { at: self.at, memory: "scratchpad" });
        }
        Ok(address as usize..end as usize)
    }

    fn rows(&self, area: Area, first: u32) -> Result<Range<usize>, StreamError> {
        let end = u64::from(first) + area.vectors();
        if end > ACCUMULATOR_ROWS as u64 {
            return Err(StreamError::Bounds { at: self.at, memory: "accumulators" });
        }
        Ok(first as usize..end as usize)
    }
}
