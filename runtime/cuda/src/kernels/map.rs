//! Chains of operators that work element by element.

use byoc_plugin::{Error, Result};

use super::{name, store};
use crate::kernel::{Kernel, Launch, Source};
use crate::pointwise::{Align, Pointwise};
use crate::shape::{Shape, broadcast, elements};
use crate::types;

pub struct Map(pub Pointwise);

impl Kernel for Map {
    fn source(&self) -> Source {
        source(&self.0).unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let trailing = self.0.operands.iter().zip(inputs).filter(|(own, _)| own.align == Align::Trailing);
        let shape = broadcast(trailing.map(|(_, shape)| *shape))?;
        for (operand, own) in self.0.operands.iter().zip(inputs) {
            if let Align::FromEnd(from_end) = operand.align {
                let along = shape.len().checked_sub(from_end).map(|axis| shape[axis]);
                let size: usize = own.iter().product();
                if size != 1 && along != Some(size) {
                    return Err(Error::invalid(format!("{own:?} does not lie along an axis of {shape:?}")));
                }
            }
        }
        Ok(shape)
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        let count = elements(output)?;
        let structs = [vec![vec![count as u32]], self.0.structs(inputs, output)].concat();
        Ok(Launch::over(count, structs))
    }

    fn work(&self, _: &[&[usize]], output: &[usize]) -> f64 {
        self.0.operations() as f64 * output.iter().map(|size| *size as f64).product::<f64>()
    }
}

fn source(pointwise: &Pointwise) -> Result<Source> {
    let mut arguments = pointwise.addresses()?;
    arguments.push(format!("{}* __restrict__ y", types::of(pointwise.root.dtype)?.stored));
    arguments.push("const u32 n".into());
    arguments.extend(pointwise.argument());
    let body = format!(
        "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{\n{}    }}\n",
        store(pointwise, "i", "        ")?
    );
    Ok(Source::new(name("map", pointwise), &arguments, &body))
}
