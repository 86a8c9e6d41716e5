//! Concatenation along channels; each input is first brought to the output's scale.

use byoc_plugin::{Error, Node, Result, Value};

use super::{Importer, Match, constant, is_unsigned};
use crate::layer::Op;
use crate::quant::Quant;

/// Names of the tensors in the patterns, with those of their scales and zero points.
const INPUTS: [[&str; 3]; 4] = [["a", "as_", "az"], ["b", "bs", "bz"], ["c", "cs", "cz"], ["d", "ds", "dz"]];

pub fn qdq(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let node = found.required_node(&["Concat"])?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let mut inputs = Vec::new();
    for [name, scale, zero] in INPUTS {
        if let Some(value) = found.value(name) {
            inputs.push((value, constant::quant(found, scale, zero, is_unsigned(value)?)?));
        }
    }
    join(importer, found, node, &inputs, output)
}

/// Inputs after the output's scale and zero point come in threes: tensor, scale, zero point.
pub fn qlinear(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let node = found.required_node(&["QLinearConcat"])?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let input = |position: usize| {
        let missing = || Error::invalid("QLinearConcat with an incomplete input");
        found.region.input(node, position).ok_or_else(missing)
    };
    let mut inputs = Vec::new();
    for position in (2..node.inputs.len()).step_by(3) {
        let value = input(position)?;
        let quant = constant::pair(input(position + 1)?, Some(input(position + 2)?), is_unsigned(value)?)?;
        inputs.push((value, quant));
    }
    join(importer, found, node, &inputs, output)
}

fn join(
    importer: &mut Importer<'_, '_>,
    found: &Match<'_, '_>,
    node: &Node<'_>,
    inputs: &[(&Value<'_>, Quant)],
    output: Quant,
) -> Result<()> {
    let rank = found.output()?.rank().unwrap_or(0) as i64;
    let axis = node.attr_int("axis").unwrap_or(0);
    if axis != 1 && axis != 1 - rank {
        return Err(Error::unsupported("the device joins along channels").at_node(node.index));
    }
    let mut tensors = Vec::new();
    for (value, quant) in inputs {
        let tensor = importer.tensor(value)?;
        tensors.push(importer.requantised(found, tensor, *quant, output));
    }
    importer.result(found, Op::Concat, tensors)
}
