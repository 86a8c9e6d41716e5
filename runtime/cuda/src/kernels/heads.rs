//! Heads with what operators do to them before they meet: a bias added, or pairs of items turned by an angle.

use byoc_plugin::{DType, Error, Result};

use super::attention::{Lengths, Lies, words};
use crate::kernel::{Kernel, Launch, Source};
use crate::shape::{Shape, elements};
use crate::types;

/// The first input, dense by heads. Others are those of the change.
pub struct Heads {
    pub dtype: DType,
    pub lies: Lies,
    pub change: Change,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// A number for each head and item. Inputs are these, and for their shapes alone the heads that have theirs before.
    Bias {
        before: Vec<Lies>,
    },
    Turn(Turn),
}

/// By position, the cosines and sines of pairs of items. Inputs are cosines, sines, then positions or the numbers of
/// `Lengths::Filled`; behind these, for its shape alone, the past where there is one.
#[derive(Debug, Clone)]
pub struct Turn {
    pub angles: DType,
    /// Items of a pair stand side by side, not half a head apart.
    pub interleaved: bool,
    pub at: At,
    pub past: bool,
}

/// Where rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Each with its position.
    Positions(DType),
    /// Behind the keys of the past, as `Lengths::Filled` has it.
    Filled([DType; 2]),
}

impl Turn {
    fn write(&self) -> Result<(Vec<String>, String)> {
        let (named, position) = match self.at {
            At::Positions(dtype) => (vec![("positions", dtype)], "(long long)positions[batch * rows + r]"),
            At::Filled(lengths) => (
                Lengths::Filled(lengths).named(),
                "(long long)filled(lengths[batch], total[0], rows, room) + r",
            ),
        };
        let angles = [("cosines", self.angles), ("sines", self.angles)];
        let arguments = angles
            .into_iter()
            .chain(named)
            .map(|(name, dtype)| Ok(format!("const {}* __restrict__ {name}", types::of(dtype)?.stored)));
        let arguments = arguments.collect::<Result<_>>()?;
        let (pair, other, is_first) = match self.interleaved {
            true => ("d / 2", "d ^ 1u", "d % 2 == 0"),
            false => ("d < half ? d : d - half", "d < half ? d + half : d - half", "d < half"),
        };
        let body = format!(
            "        if (d < 2 * half) {{
            long long at = {position};
            at = at < 0 ? 0 : at >= table ? (long long)table - 1 : at;
            const u32 angle = (u32)at * half + ({pair});
            const T c = (T)ld(cosines + angle), s = (T)ld(sines + angle), other = ld(ITEM(x, h, r, {other}));
            value = {is_first} ? c * value - s * other : c * value + s * other;
        }}
"
        );
        Ok((arguments, body))
    }

    /// Pairs that are turned, positions that there are angles for, and the room of the past.
    fn numbers(&self, inputs: &[&[usize]], [batches, _, rows, size]: [usize; 4]) -> Result<[usize; 3]> {
        let &[table, half] = inputs[1] else {
            return Err(Error::invalid(format!("angles of {:?}", inputs[1])));
        };
        let fits = inputs[1] == inputs[2] && 2 * half <= size && table > 0;
        let wanted = if matches!(self.at, At::Positions(_)) { batches * rows } else { batches };
        if !fits || elements(inputs[3])? != wanted {
            return Err(Error::invalid(format!("{:?} do not turn heads of {size}", &inputs[1..])));
        }
        let room = if self.past { inputs[inputs.len() - 1].get(2).copied().unwrap_or(0) } else { 0 };
        Ok([half, table, room])
    }
}

impl Heads {
    fn write(&self) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let (name, numbers, (further, body)) = match &self.change {
            Change::Bias { .. } => {
                let argument = format!("const {}* __restrict__ bias", of.stored);
                let body = "        value += ld(&bias[start + h * size + d]);\n".to_owned();
                ("heads_bias", &["start"][..], (vec![argument], body))
            }
            Change::Turn(turn) => ("heads_turn", &["half", "table", "room"][..], turn.write()?),
        };
        let mut arguments = vec!["const E* __restrict__ x".to_owned()];
        arguments.extend(further);
        arguments.push("E* __restrict__ y".into());
        let numbers = ["n", "heads", "rows", "size"].iter().chain(numbers);
        arguments.extend(numbers.map(|number| format!("const u32 {number}")));
        arguments.push("const __grid_constant__ Heads x_lies".into());
        let body = format!(
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{
        const u32 d = i % size, row = i / size, r = row % rows, h = row / rows % heads, batch = row / rows / heads;
        T value = ld(ITEM(x, h, r, d));
{body}        st(y + i, value);
    }}
"
        );
        let source = Source::new(name.into(), &arguments, &body);
        let types = format!("typedef {} T;\ntypedef {} E;\n", of.computed, of.stored);
        Ok(Source { text: types + include_str!("attention/common.cuh") + &source.text, ..source })
    }
}

impl Kernel for Heads {
    fn source(&self) -> Source {
        self.write().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        Ok(self.lies.sizes(inputs[0])?.to_vec())
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        inputs.iter().try_for_each(|shape| elements(shape).map(drop))?;
        let own @ [_, heads, rows, size] = self.lies.sizes(inputs[0])?;
        let mut numbers = vec![elements(output)?, heads, rows, size];
        match &self.change {
            Change::Bias { before } => {
                let widths = before.iter().zip(&inputs[2..]).map(|(lies, shape)| {
                    let [_, heads, _, size] = lies.sizes(shape)?;
                    Ok(heads * size)
                });
                let start = widths.sum::<Result<usize>>()?;
                if elements(inputs[1])? < start + heads * size {
                    return Err(Error::invalid(format!("a bias of {:?}", inputs[1])));
                }
                numbers.push(start);
            }
            Change::Turn(turn) => numbers.extend(turn.numbers(inputs, own)?),
        }
        let mut structs: Vec<Vec<u32>> = numbers.iter().map(|number| words(&[*number])).collect();
        structs.push(words(&self.lies.fields(inputs[0])?));
        Ok(Launch::over(numbers[0], structs))
    }

    fn operands(&self, _: usize) -> Vec<usize> {
        let further = match &self.change {
            Change::Bias { .. } => 1,
            Change::Turn(turn) => 3 + usize::from(matches!(turn.at, At::Filled(_))),
        };
        (0..=further).collect()
    }
}
