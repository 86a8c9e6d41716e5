//! Code generation: a region becomes a list of instructions, one for each composite.

use std::borrow::Cow;

use byoc_plugin::{Composite, Error, Region, Result};

use crate::kernels::{self, Conv};

/// A region in the language of the device.
pub struct Program {
    instructions: Vec<Instruction>,
    /// By value of the region: copies of the constants, empty for other values.
    constants: Vec<Vec<f32>>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

struct Instruction {
    kernel: Kernel,
    /// Values of the region; the last one may be missing.
    operands: Vec<usize>,
    result: usize,
}

enum Kernel {
    ConvRelu(Conv),
    /// Rows, inner size and columns.
    MatMulAdd([usize; 3]),
    Add,
}

impl Program {
    pub fn new(region: &Region<'_>) -> Result<Self> {
        let composites = region.composites_in_order().into_iter();
        let constants = region.values.iter().map(|value| value.constant_as().unwrap_or_default().to_vec());
        Ok(Program {
            instructions: composites.map(|c| instruction(region, c)).collect::<Result<_>>()?,
            constants: constants.collect(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
        })
    }

    /// Computes the region's outputs from its inputs.
    pub fn run(&self, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        let mut values: Vec<Cow<'_, [f32]>> = self.constants.iter().map(Cow::from).collect();
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = Cow::from(*input);
        }
        for Instruction { kernel, operands, result } in &self.instructions {
            let operands: Vec<&[f32]> = operands.iter().map(|value| &*values[*value]).collect();
            let made = match kernel {
                Kernel::ConvRelu(conv) => conv.relu(operands[0], operands[1], operands.get(2).copied()),
                Kernel::MatMulAdd(sizes) => {
                    kernels::matmul_add(*sizes, operands[0], operands[1], operands[2])
                }
                Kernel::Add => operands[0].iter().zip(operands[1]).map(|(a, b)| a + b).collect(),
            };
            values[*result] = Cow::from(made);
        }
        self.outputs.iter().map(|value| values[*value].to_vec()).collect()
    }
}

/// What a composite becomes.
fn instruction(region: &Region<'_>, composite: &Composite<'_>) -> Result<Instruction> {
    let unsupported = || Error::unsupported("no such instruction").at_node(composite.nodes[0]);
    let shape = |name: &str| region.bound_shape(composite, name).ok_or_else(unsupported);
    let (names, kernel) = match composite.pattern {
        "conv_relu" => {
            let node = region.bound_node(composite, "c").ok_or_else(unsupported)?;
            let conv = Conv::new([shape("x")?, shape("w")?, shape("y")?], node);
            (["x", "w", "b"], Kernel::ConvRelu(conv.ok_or_else(unsupported)?))
        }
        "matmul_add" => {
            let sizes = [shape("a")?[0], shape("a")?[1], shape("b")?[1]];
            (["a", "b", "c"], Kernel::MatMulAdd(sizes))
        }
        "add" => (["a", "b", ""], Kernel::Add),
        _ => return Err(unsupported()),
    };
    let operands = names.iter().filter_map(|name| composite.binding(name)).collect();
    Ok(Instruction { kernel, operands, result: composite.binding("y").ok_or_else(unsupported)? })
}
