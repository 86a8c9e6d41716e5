//! The simulator: executes a command stream, and counts cycles and bytes.
//!
//! Commands take effect in stream order, each at once and whole; when they would run on the device is worked out
//! beside that, from their sizes alone ([`timing`]). The two never influence each other, so a stream can be timed
//! without computing anything.

mod array;
mod bounds;
mod dma;
mod timing;
mod vector;

pub use bounds::{PARAMETER_BYTES, TABLE_BYTES};
pub use dma::Dram;
pub use timing::Counters;

use crate::device::{ACCUMULATOR_ROWS, Device, LANES};
use crate::isa::{Command, Decoder, StreamError};
use array::Tile;
use bounds::Footprint;
use timing::Clock;

/// A row of accumulators.
type Row = [i32; LANES];

/// The state of one core.
pub struct Machine {
    scratchpad: Vec<u8>,
    accumulators: Vec<Row>,
    tile: Option<Box<Tile>>,
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new(&Device::default())
    }
}

impl Machine {
    pub fn new(device: &Device) -> Self {
        Machine {
            scratchpad: vec![0; device.scratchpad_bytes],
            accumulators: vec![[0; LANES]; ACCUMULATOR_ROWS],
            tile: None,
        }
    }

    /// Executes a stream to its end.
    pub fn run(&mut self, words: &[u64], dram: &mut Dram<'_>) -> Result<Counters, StreamError> {
        self.tile = None;
        let mut decoder = Decoder::new(words);
        let mut clock = Clock::new(self.scratchpad.len());
        while let Some((at, command)) = decoder.command()? {
            let footprint = Footprint::of(&command, at, self.scratchpad.len())?;
            self.execute(&command, at, dram)?;
            clock.advance(&command, &footprint, at);
        }
        Ok(clock.finish(words.len()))
    }

    /// Performs one command, whose footprint lies inside scratchpad and accumulators.
    fn execute(&mut self, command: &Command, at: usize, dram: &mut Dram<'_>) -> Result<(), StreamError> {
        match command {
            Command::Load(transfer) => dram.load(transfer, &mut self.scratchpad, at)?,
            Command::Store(transfer) => dram.store(transfer, &self.scratchpad, at)?,
            Command::Weights { tile, zero } => {
                self.tile = Some(array::load_tile(&self.scratchpad, *tile, *zero))
            }
            Command::MatMul { area, source, zero, acc, accumulate } => {
                let tile = self.tile.as_ref().ok_or(StreamError::NoWeights { at })?;
                let rows = &mut self.accumulators[*acc as usize..];
                array::matmul(&self.scratchpad, tile, *area, *source, *zero, rows, *accumulate);
            }
            _ => vector::execute(command, &mut self.scratchpad, &mut self.accumulators),
        }
        Ok(())
    }
}

/// What executing a stream would count, without executing it.
pub fn time(words: &[u64], device: &Device) -> Result<Counters, StreamError> {
    let mut decoder = Decoder::new(words);
    let mut clock = Clock::new(device.scratchpad_bytes);
    while let Some((at, command)) = decoder.command()? {
        clock.advance(&command, &Footprint::of(&command, at, device.scratchpad_bytes)?, at);
    }
    Ok(clock.finish(words.len()))
}
