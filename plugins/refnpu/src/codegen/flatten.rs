//! Channels, rows and columns to channels alone: every channel's pixels become neighbours, byte by byte.

use super::elementwise::runs;
use super::step::Step;
use super::{Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Command, Transfer};

pub fn lower(lowering: &Lowering<'_>, input: Placed, output: Placed) -> Vec<Step> {
    let pixels = input.shape.pixels();
    let mut steps = Vec::new();
    for block in 0..input.shape.blocks() {
        let channels = block * LANES..input.shape.channels.min((block + 1) * LANES);
        for (offset, bytes) in runs(0, pixels * LANES, lowering.spm.slab_bytes) {
            let spm = lowering.spm.slab(steps.len() % lowering.slots);
            let load = Command::Load(Transfer::flat(input.vector(block, 0, 0) + offset, spm, bytes));
            let first = offset as usize / LANES;
            let store = channels.clone().map(|channel| {
                Command::Store(Transfer {
                    dram: output.address + (channel * pixels + first) as u32,
                    dram_row: 1,
                    dram_plane: 0,
                    spm: spm + (channel % LANES) as u32,
                    spm_row: LANES as u32,
                    spm_plane: 0,
                    row_bytes: 1,
                    rows: bytes / LANES as u32,
                    planes: 1,
                })
            });
            steps.push(Step { load: vec![load], work: Vec::new(), store: store.collect() });
        }
    }
    steps
}
