//! Windows over each channel by itself, on the vector unit: depthwise convolution and averages.

use super::scratchpad::Division;
use super::step::Step;
use super::tile::{Slab, Tile, cut, largest};
use super::weights::parameters;
use super::{LowerError, Lowering, Placed};
use crate::device::LANES;
use crate::isa::{Command, Taps, Transfer, Walk};
use crate::layer::{Conv, Shape, Window};
use crate::quant::Range;
use crate::sim::PARAMETER_BYTES;

/// Has every channel a filter of its own, and one alone?
pub fn is_depthwise(conv: &Conv, input: Shape, output: Shape) -> bool {
    conv.groups == input.channels && input.channels == output.channels && conv.groups > 1
}

/// A layer of such windows.
pub struct Windows {
    pub window: Window,
    pub input_zero: i8,
    pub weight_zero: i8,
    pub range: Range,
    /// Outputs that share parameters.
    pub zones: Vec<Tile>,
    /// For each block of channels and each zone: the address of parameters and weights.
    pub constants: Vec<Vec<u32>>,
}

pub fn lower_conv(
    lowering: &mut Lowering<'_>,
    conv: &Conv,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let taps = conv.window.taps();
    let constants = (0..input.shape.blocks())
        .map(|block| {
            let mut bytes = parameters(&conv.bias, &conv.multiplier, block);
            for tap in 0..taps {
                let lane = |lane: usize| conv.weights.get((block * LANES + lane) * taps + tap);
                bytes.extend((0..LANES).map(|index| *lane(index).unwrap_or(&conv.weight_zero) as u8));
            }
            vec![lowering.constants.place(&bytes)]
        })
        .collect();
    let windows = Windows {
        window: conv.window,
        input_zero: conv.input_zero,
        weight_zero: conv.weight_zero,
        range: conv.range,
        zones: vec![Tile { row: 0, col: 0, rows: output.shape.height, cols: output.shape.width }],
        constants,
    };
    lower(lowering, &windows, input, output)
}

pub fn lower(
    lowering: &Lowering<'_>,
    windows: &Windows,
    input: Placed,
    output: Placed,
) -> Result<Vec<Step>, LowerError> {
    let spm = lowering.spm;
    let constant_bytes = PARAMETER_BYTES + windows.window.taps() * LANES;
    if constant_bytes > spm.chunk_bytes() {
        return Err(lowering.too_large("the window"));
    }
    let mut steps = Vec::new();
    let mut constants_turn = 0;
    // Cores have other blocks, or where there are too few, other tiles of each.
    let all = input.shape.blocks();
    let by_block = all >= lowering.cores;
    for block in if by_block { lowering.share(all) } else { 0..all } {
        for (zone, address) in windows.zones.iter().zip(&windows.constants[block]) {
            let rows = if by_block { zone.rows } else { lowering.split(zone.rows) };
            let size = largest(&spm, [rows, zone.cols], &windows.window, 1)
                .ok_or_else(|| lowering.too_large("the input of one output"))?;
            let mut tiles: Vec<Tile> = cut(*zone, size).collect();
            if !by_block {
                tiles = tiles[lowering.share(tiles.len())].to_vec();
            }
            if tiles.is_empty() {
                continue;
            }
            let constants = spm.chunk(constants_turn % lowering.slots);
            constants_turn += 1;
            let load = Command::Load(Transfer::flat(*address, constants, constant_bytes as u32));
            let mut constants_load = Some(load);
            for tile in &tiles {
                let slot = steps.len() % lowering.slots;
                let place = Place { block, slot, constants, spm };
                let mut step = windows.step(tile, &place, input, output);
                step.load.extend(constants_load.take());
                steps.push(step);
            }
        }
    }
    Ok(steps)
}

/// Which block a step makes, and where it works.
struct Place {
    block: usize,
    slot: usize,
    constants: u32,
    spm: Division,
}

impl Windows {
    fn step(
        &self,
        tile: &Tile,
        &Place { block, slot, constants, spm }: &Place,
        input: Placed,
        output: Placed,
    ) -> Step {
        let blocks = block..block + 1;
        let (slab, load) = Slab::load(tile, &self.window, input, blocks, spm.slab(slot), self.input_zero);
        let (area, acc, target) = (tile.area(), spm.accumulators(slot), spm.output(slot));
        let work = vec![
            Command::Depthwise {
                area,
                source: slab.tap(0, 0, 0),
                taps: taps(&self.window, &slab),
                zero: self.input_zero,
                weights: constants + PARAMETER_BYTES as u32,
                weight_zero: self.weight_zero,
                acc,
                accumulate: false,
            },
            Command::Requantise {
                area,
                acc,
                parameters: constants,
                target: Walk::dense(target, area.cols),
                range: self.range,
            },
        ];
        Step { load, work, store: vec![tile.store(output, block, target)] }
    }
}

/// A window's taps in a slab.
pub fn taps(window: &Window, slab: &Slab) -> Taps {
    Taps {
        rows: window.kernel[0] as u32,
        cols: window.kernel[1] as u32,
        row: (window.dilation[0] * slab.row_bytes()) as u32,
        col: (window.dilation[1] * LANES) as u32,
    }
}
