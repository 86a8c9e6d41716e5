//! The device's memory, and the DMA engine's copies.

use crate::device::ACTIVATIONS_BASE;
use crate::isa::{StreamError, Transfer};

/// Constants at address 0, shared by all runs and read only; a run's own memory at [`ACTIVATIONS_BASE`].
pub struct Dram<'a> {
    pub constants: &'a [u8],
    pub activations: &'a mut [u8],
}

impl Dram<'_> {
    pub(super) fn load(
        &self,
        transfer: &Transfer,
        scratchpad: &mut [u8],
        at: usize,
    ) -> Result<(), StreamError> {
        let (memory, base) = if transfer.dram < ACTIVATIONS_BASE {
            (self.constants, 0)
        } else {
            (&*self.activations, ACTIVATIONS_BASE)
        };
        let from = inside(transfer, base, memory.len(), at)?;
        let bytes = transfer.row_bytes as usize;
        for (dram, spm) in rows(transfer, from) {
            scratchpad[spm..spm + bytes].copy_from_slice(&memory[dram..dram + bytes]);
        }
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        transfer: &Transfer,
        scratchpad: &[u8],
        at: usize,
    ) -> Result<(), StreamError> {
        if transfer.dram < ACTIVATIONS_BASE {
            return Err(outside(at));
        }
        let from = inside(transfer, ACTIVATIONS_BASE, self.activations.len(), at)?;
        let bytes = transfer.row_bytes as usize;
        for (dram, spm) in rows(transfer, from) {
            self.activations[dram..dram + bytes].copy_from_slice(&scratchpad[spm..spm + bytes]);
        }
        Ok(())
    }
}

fn outside(at: usize) -> StreamError {
    StreamError::Bounds { at, memory: "device memory" }
}

/// The offset of the first byte, where all of the transfer is inside a memory of `len` bytes.
fn inside(transfer: &Transfer, base: u32, len: usize, at: usize) -> Result<usize, StreamError> {
    let first = u64::from(transfer.dram - base);
    // Counts are at least one and their product at most the scratchpad: the footprint has been checked.
    let last = u64::from(transfer.planes - 1) * u64::from(transfer.dram_plane)
        + u64::from(transfer.rows - 1) * u64::from(transfer.dram_row);
    if first + last + u64::from(transfer.row_bytes) > len as u64 {
        return Err(outside(at));
    }
    Ok(first as usize)
}

/// Where each row begins on both sides.
fn rows(transfer: &Transfer, from: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let t = *transfer;
    (0..t.planes as usize).flat_map(move |plane| {
        (0..t.rows as usize).map(move |row| {
            let dram = from + plane * t.dram_plane as usize + row * t.dram_row as usize;
            let spm = t.spm as usize + plane * t.spm_plane as usize + row * t.spm_row as usize;
            (dram, spm)
        })
    })
}
