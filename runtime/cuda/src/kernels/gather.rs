//! Elements that are picked by indices from another tensor.

use byoc_plugin::{DType, Result};

use super::{name, store};
use crate::kernel::{Kernel, Launch, Source};
use crate::pointwise::Pointwise;
use crate::shape::{Shape, axis, dense, elements};
use crate::types;

/// `y[o, i, r] = x[o, indices[i], r]`. Indices below 0 count from the end; what is beyond the end is the nearest end,
/// since a device cannot tell of an error without being waited for.
pub struct Gather {
    pub axis: i64,
    pub dtype: DType,
    pub indices: DType,
    pub tail: Pointwise,
}

impl Gather {
    fn text(&self) -> Result<Source> {
        let (data, indices) = (types::of(self.dtype)?, types::of(self.indices)?);
        let mut arguments = vec![
            format!("const {}* __restrict__ x0", data.stored),
            format!("const {}* __restrict__ indices", indices.stored),
        ];
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* __restrict__ y", types::of(self.tail.root.dtype)?.stored));
        arguments.extend(["n", "picked", "size", "inner"].map(|number| format!("const u32 {number}")));
        arguments.extend(self.tail.argument());
        let body = format!(
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{
        const u32 r = i % inner, q = i / inner, o = q / picked;
        long long at_axis = (long long)indices[q % picked];
        if (at_axis < 0) at_axis += size;
        at_axis = at_axis < 0 ? 0 : at_axis >= size ? (long long)size - 1 : at_axis;
        const {} fresh = ld(x0 + (o * size + (u32)at_axis) * inner + r);
{}    }}
",
            data.computed,
            store(&self.tail, "i", "        ")?
        );
        Ok(Source::new(name("gather", &self.tail), &arguments, &body))
    }
}

impl Kernel for Gather {
    fn source(&self) -> Source {
        self.text().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let (x, indices) = (inputs[0], inputs[1]);
        let along = axis(self.axis, x.len())?;
        Ok([&x[..along], indices, &x[along + 1..]].concat())
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        let (x, count) = (inputs[0], elements(output)?);
        let along = axis(self.axis, x.len())?;
        if elements(x)? == 0 {
            return Err(byoc_plugin::Error::invalid("Gather picks from nothing"));
        }
        let numbers = [count, elements(inputs[1])?, x[along], dense(x)[along]];
        let mut structs: Vec<Vec<u32>> = numbers.iter().map(|number| vec![*number as u32]).collect();
        structs.extend(self.tail.structs(&inputs[2..], output));
        Ok(Launch::over(count, structs))
    }
}
