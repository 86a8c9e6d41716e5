//! Flatten and Reshape to rows of features.

use byoc_plugin::{Error, Result};

use super::{Importer, Match, constant, is_unsigned, shape};
use crate::layer::Op;

pub fn qdq(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let x = found.required("x")?;
    let input = constant::quant(found, "xs", "xz", is_unsigned(x)?)?;
    let output = constant::quant(found, "ys", "yz", is_unsigned(found.output()?)?)?;
    let tensor = importer.tensor(x)?;
    let tensor = importer.requantised(found, tensor, input, output);
    flatten(importer, found, tensor)
}

/// Of 8-bit numbers themselves.
pub fn plain(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>) -> Result<()> {
    let tensor = importer.tensor(found.required("x")?)?;
    flatten(importer, found, tensor)
}

fn flatten(importer: &mut Importer<'_, '_>, found: &Match<'_, '_>, tensor: usize) -> Result<()> {
    let y = found.output()?;
    let (input, output) = (importer.network.tensors[tensor], shape(y)?);
    if y.rank() != Some(2) || output.channels != input.channels * input.pixels() {
        return Err(Error::unsupported("the device reshapes images to rows of features only"));
    }
    if input.pixels() > 1 {
        return importer.result(found, Op::Flatten, vec![tensor]);
    }
    // A single pixel lies as a row of features does.
    importer.tensors[y.index] = Some(tensor);
    Ok(())
}
