//! Pooling: maxima have a command of their own; averages are windows of ones whose multiplier divides.

use super::depthwise::{self, Windows, taps};
use super::step::Step;
use super::tile::{Slab, Tile, cut, largest};
use super::weights::parameters;
use super::{LowerError, Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Command, Walk};
use crate::layer::{AveragePool, Window};
use crate::quant::average_multiplier;

pub fn lower_max(
    lowering: &Lowering<'_>,
    window: &Window,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let whole = Tile { row: 0, col: 0, rows: output.shape.height, cols: output.shape.width };
    let spm = lowering.spm;
    let size = largest(&spm, [lowering.split(whole.rows), whole.cols], window, 1)
        .ok_or_else(|| lowering.too_large("the input of one output"))?;
    let mut steps = Vec::new();
    for block in 0..input.shape.blocks() {
        for tile in cut(whole, size) {
            let slot = steps.len() % lowering.slots;
            // Padding never wins: no window lies in it altogether.
            let (slab, load) = Slab::load(&tile, window, input, block..block + 1, spm.slab(slot), i8::MIN);
            let (area, target) = (tile.area(), spm.output(slot));
            let work = vec![Command::MaxPool {
                area,
                source: slab.tap(0, 0, 0),
                taps: taps(window, &slab),
                target: Walk::dense(target, area.cols),
            }];
            steps.push(Step { load, work, store: vec![tile.store(output, block, target)] });
        }
    }
    Ok(steps)
}

pub fn lower_average(
    lowering: &mut Lowering<'_>,
    pool: &AveragePool,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let runs = |axis: usize, size: usize, outputs: usize| {
        equal_runs((0..outputs).map(|index| elements(pool, axis, index, size)).collect())
    };
    let rows = runs(0, input.shape.height, output.shape.height);
    let cols = runs(1, input.shape.width, output.shape.width);
    let (mut zones, mut constants) = (Vec::new(), Vec::new());
    for &(row, rows, high) in &rows {
        for &(col, cols, wide) in &cols {
            zones.push(Tile { row, col, rows, cols });
            let multiplier = average_multiplier(pool.input.scale, pool.scale, high * wide);
            let mut bytes = parameters(&[0; LANES], &[multiplier; LANES], 0);
            bytes.resize(bytes.len() + pool.window.taps() * LANES, 1);
            constants.push(lowering.constants.place(&bytes));
        }
    }
    let windows = Windows {
        window: pool.window,
        input_zero: pool.input.zero,
        weight_zero: 0,
        range: pool.range,
        zones,
        constants: vec![constants; input.shape.blocks()],
    };
    depthwise::lower(lowering, &windows, input, output)
}

/// How many elements count for an output along one axis.
fn elements(pool: &AveragePool, axis: usize, index: usize, size: usize) -> usize {
    let window = &pool.window;
    let pad = window.pads[axis];
    let (from, to) = match pool.count_padding {
        Some(trailing) => (0, pad + size + trailing[axis]),
        None => (pad, pad + size),
    };
    (0..window.kernel[axis])
        .map(|tap| index * window.stride[axis] + tap * window.dilation[axis])
        .filter(|at| (from..to).contains(at))
        .count()
}

/// Runs of equal numbers: where each begins, how long it is, and the number.
fn equal_runs(numbers: Vec<usize>) -> Vec<(usize, usize, usize)> {
    let mut runs: Vec<(usize, usize, usize)> = Vec::new();
    for (index, number) in numbers.into_iter().enumerate() {
        match runs.last_mut() {
            Some((_, length, same)) if *same == number => *length += 1,
            _ => runs.push((index, 1, number)),
        }
    }
    runs
}
