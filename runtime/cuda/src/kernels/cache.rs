//! Keys or values behind those of the past, by heads: what the next run has as its past.

use byoc_plugin::{DType, Error, Result};

use super::attention::{Lengths, Lies, words};
use crate::kernel::{Call, Calls, Kernel, Launch, Libraries, Slot, Source};
use crate::shape::{Shape, elements};
use crate::types::{self, size};

/// Inputs are the new ones, those of the past where there is one, and the numbers of `Lengths::Filled` where not all of these
/// count.
pub struct Cache {
    pub dtype: DType,
    /// How the new ones lie; the past is by heads.
    pub lies: Lies,
    pub past: bool,
    pub filled: Option<Filled>,
}

/// A cache that sequences fill to their own lengths: it keeps its length, but for this least one.
#[derive(Debug, Clone, Copy)]
pub struct Filled {
    pub lengths: [DType; 2],
    pub least: usize,
}

/// What a cache's launch needs to know.
struct Sizes {
    /// Those of the new ones.
    own: [usize; 4],
    past: usize,
    length: usize,
}

impl Cache {
    fn sizes(&self, inputs: &[&[usize]]) -> Result<Sizes> {
        let own = self.lies.sizes(inputs[0])?;
        let mut past = 0;
        if self.past {
            let [batches, heads, rows, size] = Lies::HEADS.sizes(inputs[1])?;
            if [batches, heads, size] != [own[0], own[1], own[3]] {
                return Err(Error::invalid(format!("a past of {:?} before {own:?}", inputs[1])));
            }
            past = rows;
        }
        let length = match self.filled {
            Some(filled) => past.max(filled.least),
            None => past.saturating_add(own[2]),
        };
        Ok(Sizes { own, past, length })
    }

    /// Written for elements, or for 16 bytes of them at a time.
    fn write(&self, wide: bool) -> Result<Source> {
        let (name, element) = match (wide, size(self.dtype)) {
            (true, _) => ("cache", "Words"),
            (_, 1) => ("cache1", "unsigned char"),
            (_, 2) => ("cache2", "unsigned short"),
            (_, 4) => ("cache4", "u32"),
            _ => ("cache8", "u64"),
        };
        let mut arguments = vec!["const E* __restrict__ x".to_owned()];
        arguments.extend(self.past.then(|| "const E* __restrict__ past".into()));
        let mut before = "room";
        if let Some(Filled { lengths, .. }) = self.filled {
            for (name, dtype) in Lengths::Filled(lengths).named() {
                arguments.push(format!("const {}* __restrict__ {name}", types::of(dtype)?.stored));
            }
            before = "filled(lengths[batch], total[0], rows, room)";
        }
        arguments.push("E* __restrict__ y".into());
        let numbers = ["n", "heads", "rows", "size", "room", "length"];
        arguments.extend(numbers.map(|number| format!("const u32 {number}")));
        arguments.push("const __grid_constant__ Heads x_lies".into());
        arguments.extend(self.past.then(|| "const __grid_constant__ Heads past_lies".into()));
        let past = if self.past { "r < before ? *ITEM(past, h, r, d) : " } else { "" };
        let body = format!(
            "    const E nothing = {{}};
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{
        const u32 d = i % size, row = i / size, r = row % length, h = row / length % heads;
        const u32 batch = row / length / heads, before = {before};
        y[i] = {past}r - before < rows ? *ITEM(x, h, r - before, d) : nothing;
    }}
"
        );
        let source = Source::new(name.into(), &arguments, &body);
        // The helper has the types that elements may be of.
        let helper = format!("{}typedef {element} E;\n", super::vectors::HELPER);
        let text = helper + include_str!("attention/common.cuh") + &source.text;
        Ok(Source { text, ..source })
    }
}

impl Kernel for Cache {
    fn source(&self) -> Source {
        self.sources().swap_remove(0)
    }

    fn sources(&self) -> Vec<Source> {
        let written = [false, true].map(|wide| self.write(wide)).into_iter().collect::<Result<_>>();
        written.unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let Sizes { own: [batches, heads, _, size], length, .. } = self.sizes(inputs)?;
        Ok(vec![batches, heads, length, size])
    }

    fn calls(&self, inputs: &[&[usize]], output: &[usize], _: &dyn Libraries) -> Result<Calls> {
        inputs.iter().try_for_each(|shape| elements(shape).map(drop))?;
        let Sizes { own: [batches, heads, rows, size], past, length } = self.sizes(inputs)?;
        let first = 1 + usize::from(self.past);
        if self.filled.is_some() && (elements(inputs[first])? != batches || elements(inputs[first + 1])? != 1)
        {
            return Err(Error::invalid(format!("lengths of {:?} for {batches} sequences", &inputs[first..])));
        }
        let mut lies = vec![self.lies.fields(inputs[0])?];
        lies.extend(self.past.then(|| Lies::HEADS.fields(inputs[1])).transpose()?);
        let mut numbers = [elements(output)?, heads, rows, size, past, length];
        let pack = super::vectors::pack(self.dtype);
        let strides = lies.iter().flat_map(|lies| &lies[..4]);
        let is_wide =
            lies.iter().all(|lies| lies[4] == 1) && strides.chain([&size]).all(|n| n.is_multiple_of(pack));
        if is_wide {
            lies.iter_mut().for_each(|lies| lies[..4].iter_mut().for_each(|stride| *stride /= pack));
            [numbers[0], numbers[3]] = [numbers[0] / pack, size / pack];
        }
        let mut structs: Vec<Vec<u32>> = numbers.iter().map(|number| words(&[*number])).collect();
        structs.extend(lies.iter().map(|lies| words(lies)));
        let read = self.operands(inputs.len()).into_iter().map(Slot::Input);
        let slots = read.chain([Slot::Output]).collect();
        let launch = Launch::over(numbers[0], structs);
        Ok(Calls::one(Call::Launch { source: usize::from(is_wide), launch, slots }))
    }

    fn work(&self, _: &[&[usize]], _: &[usize]) -> f64 {
        0.0
    }
}
