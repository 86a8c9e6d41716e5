//! Lowers a network to a command stream.
//!
//! Every layer becomes *steps*: what it loads into the scratchpad, computes there and stores ([`step`]). One rule
//! then orders them so that the next step's loads run while this one computes. A file a kind of layer.

mod concat;
mod conv;
mod depthwise;
mod elementwise;
mod flatten;
mod memory;
mod pool;
mod resize;
mod scratchpad;
mod step;
mod tile;
mod weights;

use std::ops::Range;

use crate::device::Device;
use crate::isa::{self, Command};
use crate::layer::{Border, Layer, Network, Op, Shape};
use crate::program::{Port, Program};
use memory::Constants;
use scratchpad::Division;
use step::{Step, schedule};

/// Why a network cannot be lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    #[error("`{layer}`: {what} does not fit the scratchpad, however small the tile")]
    Scratchpad { layer: String, what: &'static str },
    #[error("the region needs more than 2 GiB of device memory")]
    Memory,
}

/// How to generate code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Load the next step's data while this one computes.
    pub double_buffer: bool,
    pub device: Device,
}

impl Default for Options {
    fn default() -> Self {
        Options { double_buffer: true, device: Device::default() }
    }
}

/// A tensor at its address in the device's memory.
#[derive(Debug, Clone, Copy)]
struct Placed {
    address: u32,
    shape: Shape,
}

/// What the lowering of one layer has at hand.
struct Lowering<'a> {
    layer: &'a str,
    /// Buffers of each kind: two, or one without double buffering.
    slots: usize,
    spm: Division,
    /// Which core of how many the code is for.
    core: usize,
    cores: usize,
    constants: &'a mut Constants,
}

impl Lowering<'_> {
    fn too_large(&self, what: &'static str) -> LowerError {
        LowerError::Scratchpad { layer: self.layer.to_string(), what }
    }

    /// This core's share of so many things.
    fn share(&self, count: usize) -> Range<usize> {
        count * self.core / self.cores..count * (self.core + 1) / self.cores
    }

    /// Rows of a tile, or bytes of a run, so small that every core gets some of so many.
    fn split(&self, count: usize) -> usize {
        count.div_ceil(self.cores).max(1)
    }

    /// This core's share of steps that need nothing of each other.
    fn own(&self, mut steps: Vec<Step>) -> Vec<Step> {
        let share = self.share(steps.len());
        steps.truncate(share.end);
        steps.split_off(share.start)
    }
}

impl Placed {
    /// The address of a pixel's vector.
    fn vector(&self, block: usize, row: usize, col: usize) -> u32 {
        let index = (block * self.shape.height + row) * self.shape.width + col;
        self.address + (index * crate::device::LANES) as u32
    }
}

/// Lowers a network.
pub fn lower(network: &Network, options: Options) -> Result<Program, LowerError> {
    let plan = memory::plan(network)?;
    let mut constants = Constants::default();
    let mut phases = Vec::new();
    for layer in &network.layers {
        let mut streams = Vec::new();
        for core in 0..options.device.cores {
            let commands = lower_layer(layer, network, &plan.addresses, &mut constants, options, core)?;
            if !commands.is_empty() {
                streams.push(commands);
            }
        }
        phases.push(streams);
    }
    // One core waits for nobody.
    if options.device.cores == 1 {
        phases = vec![vec![phases.into_iter().flatten().flatten().collect()]];
    }
    let port = |border: &Border| Port {
        address: plan.addresses[border.tensor],
        shape: network.tensors[border.tensor],
        unsigned: border.unsigned,
        rank: border.rank,
    };
    Ok(Program {
        device: options.device,
        phases: phases.iter().map(|streams| streams.iter().map(isa::encode).collect()).collect(),
        constants: constants.finish()?,
        activation_bytes: plan.bytes,
        inputs: network.inputs.iter().map(port).collect(),
        outputs: network.outputs.iter().map(port).collect(),
    })
}

fn lower_layer(
    layer: &Layer,
    network: &Network,
    addresses: &[u32],
    constants: &mut Constants,
    options: Options,
    core: usize,
) -> Result<Vec<Command>, LowerError> {
    let placed = |tensor: usize| Placed { address: addresses[tensor], shape: network.tensors[tensor] };
    let inputs: Vec<Placed> = layer.inputs.iter().map(|&tensor| placed(tensor)).collect();
    let output = placed(layer.output);
    let slots = if options.double_buffer { 2 } else { 1 };
    let (spm, cores) = (Division::of(&options.device), options.device.cores);
    let lowering = &mut Lowering { layer: &layer.name, slots, spm, core, cores, constants };
    let steps = match &layer.op {
        Op::Conv(conv) if depthwise::is_depthwise(conv, inputs[0].shape, output.shape) => {
            depthwise::lower_conv(lowering, conv, inputs[0], output)?
        }
        Op::Conv(conv) => conv::lower(lowering, conv, inputs[0], output)?,
        Op::Add(add) => lowering.own(elementwise::lower_add(lowering, add, inputs[0], inputs[1], output)),
        Op::MaxPool(window) => lowering.own(pool::lower_max(lowering, window, inputs[0], output)?),
        Op::AveragePool(pool) => pool::lower_average(lowering, pool, inputs[0], output)?,
        Op::Lookup(lookup) => elementwise::lower_lookup(lowering, lookup, inputs[0], output),
        Op::Concat => lowering.own(concat::lower(lowering, &inputs, output)),
        Op::Resize(resize) => lowering.own(resize::lower(lowering, resize, inputs[0], output)?),
        Op::Flatten => lowering.own(flatten::lower(lowering, inputs[0], output)),
    };
    Ok(schedule(steps, options.double_buffer))
}
