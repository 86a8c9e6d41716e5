//! Joining along channels: the DMA engine puts each input's lanes where the output has them.

use super::elementwise::runs;
use super::step::Step;
use super::{Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Command, Transfer};

pub fn lower(lowering: &Lowering<'_>, inputs: &[Placed], output: Placed) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut first = 0;
    for input in inputs {
        for piece in pieces(input.shape.channels, first) {
            copy(lowering, *input, output, &piece, &mut steps);
        }
        first += input.shape.channels;
    }
    steps
}

/// Channels that lie in one block on both sides.
struct Piece {
    from: usize,
    to: usize,
    lanes: usize,
}

fn pieces(channels: usize, first: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < channels {
        let to = first + from;
        let lanes = (LANES - from % LANES).min(LANES - to % LANES).min(channels - from);
        pieces.push(Piece { from, to, lanes });
        from += lanes;
    }
    pieces
}

fn copy(lowering: &Lowering<'_>, input: Placed, output: Placed, piece: &Piece, steps: &mut Vec<Step>) {
    let source = input.vector(piece.from / LANES, 0, 0);
    let target = output.vector(piece.to / LANES, 0, 0);
    for (offset, bytes) in runs(0, input.shape.pixels() * LANES, lowering.spm.slab_bytes) {
        let spm = lowering.spm.slab(steps.len() % lowering.slots);
        let load = Command::Load(Transfer::flat(source + offset, spm, bytes));
        let store = if piece.lanes == LANES {
            Transfer::flat(target + offset, spm, bytes)
        } else {
            Transfer {
                dram: target + offset + (piece.to % LANES) as u32,
                dram_row: LANES as u32,
                dram_plane: 0,
                spm: spm + (piece.from % LANES) as u32,
                spm_row: LANES as u32,
                spm_plane: 0,
                row_bytes: piece.lanes as u32,
                rows: bytes / LANES as u32,
                planes: 1,
            }
        };
        steps.push(Step { load: vec![load], work: Vec::new(), store: vec![Command::Store(store)] });
    }
}
