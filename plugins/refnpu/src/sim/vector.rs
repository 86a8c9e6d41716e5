//! The vector unit: 32 lanes beside the array.

use super::Row;
use super::array::{addresses, vector};
use super::bounds::{PARAMETER_BYTES, TABLE_BYTES};
use crate::device::LANES;
use crate::isa::{Area, Command, Taps, Walk};
use crate::quant::{self, Range};

type Vector = [u8; LANES];

/// Performs a command of the vector unit, whose footprint has been checked.
pub fn execute(command: &Command, scratchpad: &mut [u8], accumulators: &mut [Row]) {
    match *command {
        Command::Depthwise { area, source, taps, zero, weights, weight_zero, acc, accumulate } => {
            let weights: Vec<_> = (0..taps.count() as usize)
                .map(|tap| vector(scratchpad, weights as usize + tap * LANES, weight_zero))
                .collect();
            let rows = &mut accumulators[acc as usize..];
            depthwise(scratchpad, area, source, taps, zero, &weights, rows, accumulate);
        }
        Command::Requantise { area, acc, parameters, target, range } => {
            requantise(scratchpad, &accumulators[acc as usize..], area, parameters, target, range);
        }
        Command::Add { area, a, a_quant, b, b_quant, target, scale, range } => {
            for ((a, b), target) in addresses(area, a).zip(addresses(area, b)).zip(addresses(area, target)) {
                let (a, b) = (get(scratchpad, a), get(scratchpad, b));
                put(scratchpad, target, |lane| {
                    quant::add((a[lane] as i8, a_quant), (b[lane] as i8, b_quant), scale, range) as u8
                });
            }
        }
        Command::Lookup { area, source, target, table, per_lane } => {
            lookup(scratchpad, area, source, target, table, per_lane);
        }
        Command::MaxPool { area, source, taps, target } => max_pool(scratchpad, area, source, taps, target),
        Command::Move { area, source, target } => {
            for (source, target) in addresses(area, source).zip(addresses(area, target)) {
                scratchpad.copy_within(source..source + LANES, target);
            }
        }
        Command::Fill { area, target, value } => {
            for target in addresses(area, target) {
                scratchpad[target..target + LANES].fill(value as u8);
            }
        }
        // Other engines' commands.
        Command::Load(_) | Command::Store(_) | Command::Weights { .. } | Command::MatMul { .. } => {}
    }
}

fn get(scratchpad: &[u8], address: usize) -> Vector {
    let mut vector = [0; LANES];
    vector.copy_from_slice(&scratchpad[address..address + LANES]);
    vector
}

#[inline(always)]
fn put(scratchpad: &mut [u8], address: usize, value: impl Fn(usize) -> u8) {
    for (lane, out) in scratchpad[address..address + LANES].iter_mut().enumerate() {
        *out = value(lane);
    }
}

/// The distance of every tap of a window from its first, row by row.
fn offsets(taps: Taps) -> impl Iterator<Item = usize> {
    addresses(Area { rows: taps.rows, cols: taps.cols }, Walk { address: 0, row: taps.row, col: taps.col })
}

#[allow(clippy::too_many_arguments)]
fn depthwise(
    scratchpad: &[u8],
    area: Area,
    source: Walk,
    taps: Taps,
    zero: i8,
    weights: &[[i16; LANES]],
    rows: &mut [Row],
    accumulate: bool,
) {
    for (address, row) in addresses(area, source).zip(rows) {
        let mut sums = if accumulate { *row } else { [0; LANES] };
        for (offset, weights) in offsets(taps).zip(weights) {
            let input = vector(scratchpad, address + offset, zero);
            for lane in 0..LANES {
                sums[lane] = sums[lane].wrapping_add(i32::from(input[lane]) * i32::from(weights[lane]));
            }
        }
        *row = sums;
    }
}

fn requantise(scratchpad: &mut [u8], rows: &[Row], area: Area, parameters: u32, target: Walk, range: Range) {
    let block = &scratchpad[parameters as usize..parameters as usize + PARAMETER_BYTES];
    let word = |index: usize| [0, 1, 2, 3].map(|byte| block[index * 4 + byte]);
    let biases: [i32; LANES] = std::array::from_fn(|lane| i32::from_le_bytes(word(lane)));
    let multipliers: [f32; LANES] = std::array::from_fn(|lane| f32::from_le_bytes(word(LANES + lane)));
    for (row, address) in rows.iter().zip(addresses(area, target)) {
        put(scratchpad, address, |lane| {
            quant::requantise(row[lane].wrapping_add(biases[lane]), multipliers[lane], range) as u8
        });
    }
}

fn lookup(scratchpad: &mut [u8], area: Area, source: Walk, target: Walk, table: u32, per_lane: bool) {
    let step = if per_lane { TABLE_BYTES } else { 0 };
    let last = step * (LANES - 1);
    let tables = scratchpad[table as usize..table as usize + last + TABLE_BYTES].to_vec();
    for (source, target) in addresses(area, source).zip(addresses(area, target)) {
        let input = get(scratchpad, source);
        // The table's first entry is for −128.
        put(scratchpad, target, |lane| tables[lane * step + usize::from(input[lane] ^ 0x80)]);
    }
}

fn max_pool(scratchpad: &mut [u8], area: Area, source: Walk, taps: Taps, target: Walk) {
    for (source, target) in addresses(area, source).zip(addresses(area, target)) {
        let mut most = [i8::MIN; LANES];
        for offset in offsets(taps) {
            for (most, byte) in most.iter_mut().zip(get(scratchpad, source + offset)) {
                *most = (*most).max(byte as i8);
            }
        }
        put(scratchpad, target, |lane| most[lane] as u8);
    }
}
