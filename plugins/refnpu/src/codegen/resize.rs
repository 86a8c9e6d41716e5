//! Resizing that picks pixels: each output is a copy of one input.

use super::scratchpad::Division;
use super::step::Step;
use super::tile::Tile;
use super::{LowerError, Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Area, Command, Transfer, Walk};
use crate::layer::Resize;

pub fn lower(
    lowering: &Lowering<'_>,
    resize: &Resize,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let spm = lowering.spm;
    let vectors = spm.slab_bytes / 2 / LANES;
    let mut steps = Vec::new();
    for block in 0..input.shape.blocks() {
        let mut row = 0;
        while row < output.shape.height {
            let rows = fitting_rows(&resize.rows[row..], input.shape.width, output.shape.width, vectors);
            if rows == 0 {
                return Err(lowering.too_large("one row"));
            }
            let tile = Tile { row, col: 0, rows, cols: output.shape.width };
            steps.push(step(resize, &tile, (block, steps.len() % lowering.slots), spm, input, output));
            row += rows;
        }
    }
    Ok(steps)
}

/// How many output rows go in one step: as many as fit, with the input rows that they need.
fn fitting_rows(picks: &[usize], input_width: usize, output_width: usize, vectors: usize) -> usize {
    let (mut least, mut most) = (usize::MAX, 0);
    let fits = |&(index, &pick): &(usize, &usize)| {
        (least, most) = (least.min(pick), most.max(pick));
        (most - least + 1) * input_width <= vectors && (index + 1) * output_width <= vectors
    };
    picks.iter().enumerate().take_while(fits).count()
}

fn step(
    resize: &Resize,
    tile: &Tile,
    (block, slot): (usize, usize),
    spm: Division,
    input: Placed,
    output: Placed,
) -> Step {
    let picks = &resize.rows[tile.row..tile.row + tile.rows];
    let first = picks.iter().copied().min().unwrap_or(0);
    let last = picks.iter().copied().max().unwrap_or(0);
    let source = spm.slab(slot);
    let target = source + (spm.slab_bytes / 2 / LANES * LANES) as u32;
    let row_bytes = input.shape.width * LANES;
    let bytes = ((last - first + 1) * row_bytes) as u32;
    let load = vec![Command::Load(Transfer::flat(input.vector(block, first, 0), source, bytes))];
    let mut work = Vec::new();
    for rows in runs(picks) {
        for cols in runs(&resize.cols) {
            let from = (rows.pick - first) * row_bytes + cols.pick * LANES;
            let to = (rows.at * tile.cols + cols.at) * LANES;
            work.push(Command::Move {
                area: Area { rows: rows.count as u32, cols: cols.count as u32 },
                source: Walk {
                    address: source + from as u32,
                    row: (rows.pick_step * row_bytes) as u32,
                    col: (cols.pick_step * LANES) as u32,
                },
                target: Walk {
                    address: target + to as u32,
                    row: (rows.step * tile.cols * LANES) as u32,
                    col: (cols.step * LANES) as u32,
                },
            });
        }
    }
    Step { load, work, store: vec![tile.store(output, block, target)] }
}

/// Outputs `at, at + step, …` that pick inputs `pick, pick + pick_step, …`.
struct Run {
    at: usize,
    step: usize,
    pick: usize,
    pick_step: usize,
    count: usize,
}

/// Few runs that together make all picks: with growth by a whole factor, one run for each of its remainders.
fn runs(picks: &[usize]) -> Vec<Run> {
    let repeats = picks.iter().take_while(|&&pick| pick == picks[0]).count().max(1);
    let regular = |offset: usize| {
        let own: Vec<usize> = picks.iter().skip(offset).step_by(repeats).copied().collect();
        let pick_step = own.get(1).map_or(Some(0), |second| second.checked_sub(own[0]))?;
        let even = own.windows(2).all(|pair| pair[0] + pick_step == pair[1]);
        even.then(|| Run { at: offset, step: repeats, pick: own[0], pick_step, count: own.len() })
    };
    let all: Option<Vec<Run>> = (0..repeats.min(picks.len())).map(regular).collect();
    all.unwrap_or_else(|| {
        let single = |(at, &pick)| Run { at, step: 0, pick, pick_step: 0, count: 1 };
        picks.iter().enumerate().map(single).collect()
    })
}
