//! Layers that take each byte by itself. Tensors of one shape lie alike, so they are walked as plain runs of vectors.

use super::step::Step;
use super::{Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Area, Command, Transfer, Walk};
use crate::layer::{Add, Lookup};
use crate::sim::TABLE_BYTES;

pub fn lower_add(lowering: &Lowering<'_>, add: &Add, a: Placed, b: Placed, output: Placed) -> Vec<Step> {
    let half = lowering.spm.slab_bytes / 2 / LANES * LANES;
    let bytes = output.shape.bytes();
    let chunks = runs(0, bytes, half.min(lowering.split(bytes).next_multiple_of(LANES)));
    let step = |(index, (offset, bytes)): (usize, (u32, u32))| {
        let first = lowering.spm.slab(index % lowering.slots);
        let second = first + half as u32;
        let (area, walk) = line(first, bytes);
        let load = vec![
            Command::Load(Transfer::flat(a.address + offset, first, bytes)),
            Command::Load(Transfer::flat(b.address + offset, second, bytes)),
        ];
        let work = vec![Command::Add {
            area,
            a: walk,
            a_quant: add.a,
            b: line(second, bytes).1,
            b_quant: add.b,
            target: walk,
            scale: add.scale,
            range: add.range,
        }];
        let store = vec![Command::Store(Transfer::flat(output.address + offset, first, bytes))];
        Step { load, work, store }
    };
    chunks.enumerate().map(step).collect()
}

pub fn lower_lookup(
    lowering: &mut Lowering<'_>,
    lookup: &Lookup,
    input: Placed,
    output: Placed,
) -> Vec<Step> {
    let per_lane = lookup.tables.len() > 1;
    let block_bytes = output.shape.pixels() * LANES;
    // With tables for each channel every block has its own; else the blocks are one run.
    let parts = if per_lane { output.shape.blocks() } else { 1 };
    let part_bytes = if per_lane { block_bytes } else { output.shape.bytes() };
    // Cores have other parts, or where there are too few, other runs of each.
    let by_part = parts >= lowering.cores;
    let split = if by_part { part_bytes } else { lowering.split(part_bytes).next_multiple_of(LANES) };
    let mut steps = Vec::new();
    let mut turn = 0;
    for part in if by_part { lowering.share(parts) } else { 0..parts } {
        let mut pieces: Vec<_> =
            runs(part * block_bytes, part_bytes, lowering.spm.slab_bytes.min(split)).collect();
        if !by_part {
            pieces = pieces[lowering.share(pieces.len())].to_vec();
        }
        if pieces.is_empty() {
            continue;
        }
        let lanes = if per_lane { LANES } else { 1 };
        let mut bytes: Vec<u8> =
            lookup.tables.iter().skip(part * LANES).take(lanes).flatten().map(|&byte| byte as u8).collect();
        bytes.resize(lanes * TABLE_BYTES, 0);
        let table = lowering.spm.tables(turn % lowering.slots);
        turn += 1;
        let from = lowering.constants.place(&bytes);
        let mut table_load = Some(Command::Load(Transfer::flat(from, table, bytes.len() as u32)));
        for (offset, bytes) in pieces {
            let address = lowering.spm.slab(steps.len() % lowering.slots);
            let (area, walk) = line(address, bytes);
            let mut load = vec![Command::Load(Transfer::flat(input.address + offset, address, bytes))];
            load.extend(table_load.take());
            let work = vec![Command::Lookup { area, source: walk, target: walk, table, per_lane }];
            let store = vec![Command::Store(Transfer::flat(output.address + offset, address, bytes))];
            steps.push(Step { load, work, store });
        }
    }
    steps
}

/// Offset and length of pieces of at most `most` bytes.
pub fn runs(start: usize, bytes: usize, most: usize) -> impl Iterator<Item = (u32, u32)> {
    (0..bytes).step_by(most).map(move |at| ((start + at) as u32, most.min(bytes - at) as u32))
}

/// So many bytes as one row of vectors.
fn line(address: u32, bytes: u32) -> (Area, Walk) {
    (Area { rows: 1, cols: bytes / LANES as u32 }, Walk { address, row: 0, col: LANES as u32 })
}
