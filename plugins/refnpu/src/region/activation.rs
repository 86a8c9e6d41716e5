//! Activations that only narrow the range of a result.

use byoc_plugin::{Error, Node, Region, Result};

use super::Match;
use super::constant;
use crate::quant::{Quant, Range};

/// The range of a result behind the composite's Relu or Clip, or all of int8.
pub fn range(found: &Match<'_, '_>, output: Quant) -> Result<Range> {
    match found.node(&["Relu", "Clip"]) {
        None => Ok(Range::full(output.zero)),
        Some(node) => {
            let (low, high) = bounds(found.region, node)?;
            Ok(output.clipped(low, high))
        }
    }
}

/// The least and greatest value that Relu or Clip lets through.
pub fn bounds(region: &Region<'_>, node: &Node<'_>) -> Result<(f32, f32)> {
    if node.op == "Relu" {
        return Ok((0.0, f32::INFINITY));
    }
    // Bounds became inputs at opset 11.
    let bound = |input: usize, attribute: &str, default: f32| match region.input(node, input) {
        Some(value) => constant::float(value),
        None => Ok(node.attr_float(attribute).unwrap_or(default)),
    };
    let (low, high) = (bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?);
    if low <= high {
        return Ok((low, high));
    }
    Err(Error::unsupported("Clip with its least value above its greatest").at_node(node.index))
}
