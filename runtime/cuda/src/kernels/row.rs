//! Reductions, softmax and normalisations: a block for each row, which goes over its elements once or more.
//!
//! A description is a list of passes. Each gives one number of the row: `x` is an element, `s0`, `s1`, … are the numbers of
//! earlier passes, `n` is the count of elements. What comes out is the last number, or an expression for each element.

use std::fmt::Write;

use byoc_plugin::{DType, Result};

use super::{name, store};
use crate::kernel::{Kernel, Launch, Source};
use crate::pointwise::Pointwise;
use crate::shape::{self, Shape, Walk, axis, dense, elements, words};
use crate::types;

/// Most threads of a block; a power of two, as the joining of their numbers wants it.
const MOST_THREADS: usize = 256;
const LEAST_THREADS: usize = 32;

#[derive(Debug)]
pub struct Pass {
    pub start: &'static str,
    /// What an element adds to `s`.
    pub each: &'static str,
    /// How two numbers become one.
    pub join: &'static str,
    /// What is made of the number in the end.
    pub end: &'static str,
}

#[derive(Debug)]
pub struct RowOp {
    pub op: &'static str,
    pub passes: &'static [Pass],
    /// What each element becomes; `None`: the output is a number for each row.
    pub gives: Option<&'static str>,
    /// Whole numbers, too.
    pub ints: bool,
}

const LOWEST: &str = "(T)(-1.0 / 0.0)";

const fn pass(start: &'static str, each: &'static str, join: &'static str, end: &'static str) -> Pass {
    Pass { start, each, join, end }
}

const fn sum(each: &'static str, end: &'static str) -> Pass {
    pass("(T)0", each, "p + q", end)
}

const MAX: Pass = pass(LOWEST, "x", "greater_of(p, q)", "s");
const MEAN: Pass = sum("x", "s / (T)n");
const VARIANCE: Pass = sum("(x - s0) * (x - s0)", "s / (T)n");

const fn number(op: &'static str, passes: &'static [Pass], ints: bool) -> RowOp {
    RowOp { op, passes, gives: None, ints }
}

const fn each(op: &'static str, passes: &'static [Pass], gives: &'static str) -> RowOp {
    RowOp { op, passes, gives: Some(gives), ints: false }
}

#[rustfmt::skip]
const ROWS: &[RowOp] = &[
    number("ReduceSum", &[sum("x", "s")], true),
    number("ReduceMean", &[MEAN], false),
    number("ReduceMax", &[pass("x0[base]", "x", "greater_of(p, q)", "s")], true),
    number("ReduceMin", &[pass("x0[base]", "x", "smaller_of(p, q)", "s")], true),
    number("ReduceProd", &[pass("(T)1", "x", "p * q", "s")], true),
    number("ReduceL1", &[sum("fabs(x)", "s")], false),
    number("ReduceL2", &[sum("x * x", "sqrt(s)")], false),
    number("ReduceSumSquare", &[sum("x * x", "s")], true),
    number("ReduceLogSum", &[sum("x", "log(s)")], false),
    number("ReduceLogSumExp", &[MAX, sum("exp(x - s0)", "log(s) + s0")], false),
    each("Softmax", &[MAX, sum("exp(x - s0)", "s")], "exp(x - s0) / s1"),
    each("LogSoftmax", &[MAX, sum("exp(x - s0)", "log(s)")], "x - s0 - s1"),
    each("LayerNormalization", &[MEAN, VARIANCE], "(x - s0) / sqrt(s1 + epsilon)"),
    each("RMSNormalization", &[sum("x * x", "s / (T)n")], "x / sqrt(s0 + epsilon)"),
    each("LpNormalization:1", &[sum("fabs(x)", "s")], "s0 == 0 ? (T)0 : x / s0"),
    each("LpNormalization:2", &[sum("x * x", "sqrt(s)")], "s0 == 0 ? (T)0 : x / s0"),
    each("MeanVarianceNormalization", &[MEAN, VARIANCE], "(x - s0) / (sqrt(s1) + (T)1e-9)"),
];

pub fn find(op: &str) -> Option<&'static RowOp> {
    ROWS.iter().find(|row| row.op == op)
}

/// Which elements make a row.
#[derive(Debug, Clone)]
pub enum Over {
    /// Those along these axes; all of them where there are none.
    Axes(Vec<i64>),
    /// Those along this axis and all behind.
    From(i64),
    /// As many groups of channels for each image.
    Groups(usize),
}

pub struct Row {
    pub op: &'static RowOp,
    pub over: Over,
    /// Whether what is reduced stays as a dimension of 1.
    pub keep: bool,
    pub epsilon: f64,
    pub dtype: DType,
    pub tail: Pointwise,
}

/// Dimensions that tell rows apart, and those within one.
struct Parts {
    kept: Walk<usize>,
    reduced: Walk<usize>,
    output: Shape,
}

impl Row {
    fn is_reduced(&self, rank: usize) -> Result<Vec<bool>> {
        let mut reduced = vec![false; rank];
        match &self.over {
            Over::Axes(axes) if axes.is_empty() => reduced.fill(true),
            Over::Axes(axes) => axes.iter().try_for_each(|a| axis(*a, rank).map(|a| reduced[a] = true))?,
            Over::From(first) => reduced[axis(*first, rank)?..].fill(true),
            Over::Groups(_) => reduced.iter_mut().skip(2).for_each(|reduced| *reduced = true),
        }
        Ok(reduced)
    }

    fn parts(&self, x: &[usize]) -> Result<Parts> {
        // Channels of an image lie one behind the other: groups of them are a dimension of their own.
        let seen: Shape = match (&self.over, x) {
            (Over::Groups(groups), [images, channels, ..]) if *groups > 0 && channels % groups == 0 => {
                vec![*images, *groups, x[2..].iter().product::<usize>() * (channels / groups)]
            }
            (Over::Groups(groups), _) => {
                return Err(byoc_plugin::Error::invalid(format!("{x:?} has no {groups} groups of channels")));
            }
            _ => x.to_vec(),
        };
        let (reduced, strides) = (self.is_reduced(seen.len())?, dense(&seen));
        let part = |wanted: bool| {
            let of = |list: &[usize]| -> Vec<usize> {
                list.iter().zip(&reduced).filter(|(_, r)| **r == wanted).map(|(v, _)| *v).collect()
            };
            Walk { dims: of(&seen), strides: vec![of(&strides)] }.folded()
        };
        let output = match (self.op.gives, self.keep) {
            (Some(_), _) => x.to_vec(),
            (None, true) => seen.iter().zip(&reduced).map(|(size, r)| if *r { 1 } else { *size }).collect(),
            (None, false) => seen.iter().zip(&reduced).filter(|(_, r)| !**r).map(|(size, _)| *size).collect(),
        };
        Ok(Parts { kept: part(false), reduced: part(true), output })
    }

    fn text(&self) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let ty = of.computed;
        let mut arguments = vec![format!("const {}* __restrict__ x0", of.stored)];
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* __restrict__ y", types::of(self.tail.root.dtype)?.stored));
        arguments.extend(["const u32 rows", "const u32 n"].map(str::to_owned));
        arguments.extend(["kept", "within"].map(|dims| format!("const __grid_constant__ Dims {dims}")));
        arguments.extend(self.tail.argument());
        let mut body = format!("    __shared__ {ty} part[{MOST_THREADS}];\n");
        if self.op.gives.is_some_and(|gives| gives.contains("epsilon")) {
            let _ = writeln!(body, "    const {ty} epsilon = {};", of.literal(self.epsilon));
        }
        body += "    for (u32 row = blockIdx.x; row < rows; row += gridDim.x) {\n";
        body += "        const u32 base = place(kept, row);\n";
        for (number, pass) in self.op.passes.iter().enumerate() {
            body += &pass_text(pass, number, ty);
        }
        let last = self.op.passes.len() - 1;
        match self.op.gives {
            None => {
                let _ = writeln!(body, "        if (threadIdx.x == 0) {{");
                let _ = writeln!(body, "            const {ty} fresh = s{last};");
                body += &store(&self.tail, "row", "            ")?;
            }
            Some(gives) => {
                body += "        for (u32 j = threadIdx.x; j < n; j += blockDim.x) {\n";
                body += "            const u32 i = base + place(within, j);\n";
                let _ = writeln!(body, "            const {ty} x = ld(x0 + i);");
                let _ = writeln!(body, "            const {ty} fresh = {};", typed(gives, ty));
                body += &store(&self.tail, "i", "            ")?;
            }
        }
        body += "        }\n    }\n";
        let family = self.op.op.replace(':', "_").to_lowercase();
        Ok(Source::new(name(&family, &self.tail), &arguments, &body))
    }
}

/// `T` is the type that is computed in.
fn typed(text: &str, ty: &str) -> String {
    text.replace("(T)", &format!("({ty})"))
}

fn pass_text(pass: &Pass, number: usize, ty: &str) -> String {
    let [start, each, join, end] = [pass.start, pass.each, pass.join, pass.end].map(|text| typed(text, ty));
    // The first element of a row, as it is computed with.
    let start = start.replace("x0[base]", "ld(x0 + base)");
    let (mine, other) = ("p", "q");
    format!(
        "        {ty} s{number} = {start};
        for (u32 j = threadIdx.x; j < n; j += blockDim.x) {{
            const {ty} x = ld(x0 + base + place(within, j));
            const {ty} {mine} = s{number}, {other} = {each};
            s{number} = {join};
        }}
        __syncthreads();
        part[threadIdx.x] = s{number};
        for (u32 half = blockDim.x / 2; half > 0; half /= 2) {{
            __syncthreads();
            if (threadIdx.x < half) {{
                const {ty} {mine} = part[threadIdx.x], {other} = part[threadIdx.x + half];
                part[threadIdx.x] = {join};
            }}
        }}
        __syncthreads();
        {{
            const {ty} s = part[0];
            s{number} = {end};
        }}
"
    )
}

impl Kernel for Row {
    fn source(&self) -> Source {
        self.text().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        Ok(self.parts(inputs[0])?.output)
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        elements(inputs[0])?;
        let Parts { kept, reduced, .. } = self.parts(inputs[0])?;
        let (rows, n) = (elements(&kept.dims)?, elements(&reduced.dims)?);
        if n == 0 {
            return Err(byoc_plugin::Error::unsupported("a reduction of nothing"));
        }
        let dims = |walk: &Walk<usize>| {
            let mut fields = vec![walk.dims.len() as u32];
            fields.extend(words(&walk.dims));
            fields.extend(words(&walk.strides[0]));
            fields
        };
        let mut structs = vec![vec![rows as u32], vec![n as u32], dims(&kept), dims(&reduced)];
        structs.extend(self.tail.structs(&inputs[1..], output));
        let threads = n.next_power_of_two().clamp(LEAST_THREADS, MOST_THREADS) as u32;
        Ok(Launch::blocks(rows, threads, structs))
    }

    fn work(&self, inputs: &[&[usize]], _: &[usize]) -> f64 {
        let passes = self.op.passes.len() + usize::from(self.op.gives.is_some());
        (2 * passes) as f64 * shape::elements(inputs[0]).unwrap_or(0) as f64
    }
}
