//! What only moves elements: one kernel for each size of an element, whatever the operator.
//!
//! A move walks over some elements with strides for where they are read and where they are written. Those of a Slice may
//! go backwards; those of a Tile stand still. Concat and Pad write parts of their output, one move each.

use byoc_plugin::{DType, Error, Result};

use super::transpose;
use crate::kernel::{Call, Calls, Kernel, Launch, Libraries, Slot, Source};
use crate::shape::{Shape, Walk, axis, broadcast, broadcast_strides, dense, elements, padded};
use crate::types::size;

/// What a move does.
#[derive(Debug, Clone)]
pub enum Rule {
    Transpose(Vec<i64>),
    Expand(Vec<usize>),
    Tile(Vec<usize>),
    /// By axis: start, end and step, as the standard writes them.
    Slice(Vec<(i64, [i64; 3])>),
    /// The part of one input in all of them.
    Concat {
        axis: i64,
        part: usize,
    },
    /// One part of several.
    Split {
        axis: i64,
        sizes: Option<Vec<usize>>,
        parts: usize,
        part: usize,
    },
    /// So many elements before and after each axis, below 0 to cut off.
    Pad(Vec<[i64; 2]>),
    /// Blocks of channels become pixels; the attribute `mode` says in which order they lie.
    DepthToSpace {
        block: usize,
        columns_first: bool,
    },
    SpaceToDepth {
        block: usize,
    },
}

pub struct Move {
    pub rule: Rule,
    pub dtype: DType,
}

/// A walk over the elements that are moved: how they are read and how they are written.
struct Path {
    walk: Walk<i64>,
    from: i64,
    to: i64,
    output: Shape,
}

impl Path {
    /// From anywhere to a dense output.
    fn dense(dims: Shape, strides: Vec<i64>, from: i64, output: Shape) -> Path {
        let to = signed(&dense(&dims));
        Path { walk: Walk { dims, strides: vec![strides, to] }, from, to: 0, output }
    }
}

fn signed(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| *value as i64).collect()
}

impl Move {
    /// Bytes of an element, and the type that it is moved as.
    fn element(&self) -> (usize, &'static str) {
        let bytes = size(self.dtype);
        let ty = match bytes {
            1 => "unsigned char",
            2 => "unsigned short",
            4 => "u32",
            _ => "unsigned long long",
        };
        (bytes, ty)
    }

    fn path(&self, inputs: &[&[usize]]) -> Result<Path> {
        let x = inputs[0];
        Ok(match &self.rule {
            Rule::Transpose(order) => {
                let order: Vec<usize> = match order.is_empty() {
                    true => (0..x.len()).rev().collect(),
                    false => order.iter().map(|a| axis(*a, x.len())).collect::<Result<_>>()?,
                };
                let strides = dense(x);
                let dims: Shape = order.iter().map(|a| x[*a]).collect();
                Path::dense(dims.clone(), order.iter().map(|a| strides[*a] as i64).collect(), 0, dims)
            }
            Rule::Expand(to) => {
                let output = broadcast([x, to])?;
                Path::dense(output.clone(), signed(&broadcast_strides(x, &output)), 0, output)
            }
            Rule::Tile(repeats) => tile(x, repeats)?,
            Rule::Slice(cuts) => slice(x, cuts)?,
            Rule::Concat { axis: along, part } => concat(inputs, *along, *part)?,
            Rule::Split { axis: along, sizes, parts, part } => {
                let along = axis(*along, x.len())?;
                let each = x[along].div_ceil(*parts);
                let size = |part: usize| match sizes {
                    Some(sizes) => sizes[part],
                    None => each.min(x[along].saturating_sub(part * each)),
                };
                let start: usize = (0..*part).map(size).sum();
                let end = start.checked_add(size(*part)).filter(|end| *end <= x[along]);
                let end = end.ok_or_else(|| Error::invalid("the parts of a Split are more than there is"))?;
                slice(x, &[(along as i64, [start as i64, end as i64, 1])])?
            }
            Rule::Pad(pads) => pad(x, pads)?,
            Rule::DepthToSpace { block, columns_first } => depth_to_space(x, *block, *columns_first)?,
            Rule::SpaceToDepth { block } => space_to_depth(x, *block)?,
        })
    }
}

fn tile(x: &[usize], repeats: &[usize]) -> Result<Path> {
    if repeats.len() != x.len() {
        return Err(Error::invalid(format!("Tile repeats {} of {} dimensions", repeats.len(), x.len())));
    }
    let output: Shape = x.iter().zip(repeats).map(|(size, times)| size.saturating_mul(*times)).collect();
    elements(&output)?;
    let strides = dense(x);
    let (mut dims, mut from) = (Vec::new(), Vec::new());
    for ((size, times), stride) in x.iter().zip(repeats).zip(strides) {
        dims.extend([*times, *size]);
        from.extend([0, stride as i64]);
    }
    Ok(Path::dense(dims, from, 0, output))
}

fn slice(x: &[usize], cuts: &[(i64, [i64; 3])]) -> Result<Path> {
    let (mut output, mut strides, mut from) = (x.to_vec(), signed(&dense(x)), 0);
    let mut cut = vec![false; x.len()];
    for (along, [start, end, step]) in cuts {
        let along = axis(*along, x.len())?;
        if std::mem::replace(&mut cut[along], true) {
            return Err(Error::invalid(format!("Slice cuts axis {along} twice")));
        }
        let size = x[along] as i64;
        let wrap = |place: i64| if place < 0 { place.saturating_add(size) } else { place };
        let (start, end) = match step {
            1.. => (wrap(*start).clamp(0, size), wrap(*end).clamp(0, size)),
            ..=-1 => (wrap(*start).clamp(-1, size - 1), wrap(*end).clamp(-1, size - 1)),
            0 => return Err(Error::invalid("a Slice with a step of 0")),
        };
        let count = ((end - start) / step + i64::from((end - start) % step != 0)).max(0);
        output[along] = if (end - start).signum() == step.signum() { count as usize } else { 0 };
        from += start.max(0).saturating_mul(strides[along]);
        strides[along] = strides[along].saturating_mul(*step);
    }
    Ok(Path::dense(output.clone(), strides, from, output))
}

fn concat(inputs: &[&[usize]], along: i64, part: usize) -> Result<Path> {
    let x = inputs[part];
    let along = axis(along, x.len())?;
    let fits = |other: &&[usize]| {
        other.len() == x.len() && (0..x.len()).all(|axis| axis == along || other[axis] == x[axis])
    };
    if !inputs.iter().all(fits) {
        return Err(Error::invalid(format!("{inputs:?} do not fit behind each other")));
    }
    let mut output = x.to_vec();
    output[along] = inputs.iter().map(|shape| shape[along]).sum();
    let to = dense(&output);
    let before: usize = inputs[..part].iter().map(|shape| shape[along]).sum();
    let walk = Walk { dims: x.to_vec(), strides: vec![signed(&dense(x)), signed(&to)] };
    Ok(Path { walk, from: 0, to: before.saturating_mul(to[along]) as i64, output })
}

/// How much a pad below 0 cuts off.
fn cut_off(pad: i64) -> i64 {
    pad.saturating_neg().max(0)
}

/// What of the input is in the output; the rest has been filled before.
fn pad(x: &[usize], pads: &[[i64; 2]]) -> Result<Path> {
    if pads.len() != x.len() {
        return Err(Error::invalid(format!("Pad has {} of {} dimensions", pads.len(), x.len())));
    }
    let (from, mut path) = (signed(&dense(x)), (0, 0));
    let (mut dims, mut output) = (Vec::new(), Vec::new());
    for (&size, [before, after]) in x.iter().zip(pads) {
        let padded = before.checked_add(*after).and_then(|pad| pad.checked_add(size as i64)).unwrap_or(-1);
        let padded =
            usize::try_from(padded).map_err(|_| Error::invalid("Pad cuts off more than there is"))?;
        output.push(padded);
        let cut = cut_off(*before).saturating_add(cut_off(*after));
        dims.push(usize::try_from((size as i64).saturating_sub(cut)).unwrap_or(0));
    }
    elements(&output)?;
    let to = signed(&dense(&output));
    for (axis, [before, _]) in pads.iter().enumerate() {
        path.0 = cut_off(*before).saturating_mul(from[axis]).saturating_add(path.0);
        path.1 = before.max(&0).saturating_mul(to[axis]).saturating_add(path.1);
    }
    Ok(Path { walk: Walk { dims, strides: vec![from, to] }, from: path.0, to: path.1, output })
}

/// Images with their channels in blocks.
fn image(x: &[usize], block: usize) -> Result<[usize; 4]> {
    match (x, block) {
        (&[n, c, h, w], 1..=0x7fff) => Ok([n, c, h, w]),
        _ => Err(Error::invalid(format!("{x:?} are no images, or {block} is no block"))),
    }
}

fn depth_to_space(x: &[usize], block: usize, columns_first: bool) -> Result<Path> {
    let [n, c, h, w] = image(x, block)?;
    let depth = c / (block * block);
    if depth * block * block != c {
        return Err(Error::invalid(format!("{c} channels are no blocks of {block}")));
    }
    // The channels as blocks and depth, or as depth and blocks.
    let (seen, rows, columns, depths) = if columns_first {
        ([n, depth, block, block, h, w], 2, 3, 1)
    } else {
        ([n, block, block, depth, h, w], 1, 2, 3)
    };
    let strides = signed(&dense(&seen));
    let order = [0, depths, 4, rows, 5, columns];
    let dims: Shape = order.iter().map(|axis| seen[*axis]).collect();
    let from = order.iter().map(|axis| strides[*axis]).collect();
    Ok(Path::dense(dims, from, 0, vec![n, depth, h * block, w * block]))
}

fn space_to_depth(x: &[usize], block: usize) -> Result<Path> {
    let [n, c, h, w] = image(x, block)?;
    if h % block != 0 || w % block != 0 {
        return Err(Error::invalid(format!("{x:?} has no blocks of {block}")));
    }
    let seen = [n, c, h / block, block, w / block, block];
    let strides = signed(&dense(&seen));
    let order = [0, 3, 5, 1, 2, 4];
    let dims: Shape = order.iter().map(|axis| seen[*axis]).collect();
    let from = order.iter().map(|axis| strides[*axis]).collect();
    Ok(Path::dense(dims, from, 0, vec![n, c * block * block, h / block, w / block]))
}

impl Kernel for Move {
    fn source(&self) -> Source {
        let (bytes, ty) = self.element();
        let arguments = [
            format!("const {ty}* __restrict__ x0"),
            format!("{ty}* __restrict__ y"),
            "const u32 n".into(),
            "const int from".into(),
            "const int to".into(),
            "const __grid_constant__ Tail<2> tail".into(),
        ];
        // Strides may be negative: modulo 2³² the sums are right all the same.
        let body =
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        u32 at[2];
        places(tail, i, at);
        y[(int)at[1] + to] = x0[(int)at[0] + from];
    }
";
        Source::new(format!("move{bytes}"), &arguments, body)
    }

    fn sources(&self) -> Vec<Source> {
        let (bytes, ty) = self.element();
        let turned = matches!(self.rule, Rule::Transpose(_)).then(|| transpose::source(bytes, ty));
        std::iter::once(self.source()).chain(turned).collect()
    }

    fn calls(&self, inputs: &[&[usize]], output: &[usize], _: &dyn Libraries) -> Result<Calls> {
        let launch = self.launch(inputs, output)?;
        let operands = self.operands(inputs.len()).into_iter().map(Slot::Input);
        let slots = operands.chain([Slot::Output]).collect();
        if let Rule::Transpose(_) = self.rule {
            let Path { walk, from, to, .. } = self.path(inputs)?;
            if let Some(launch) = transpose::launch(&walk.folded(), from, to) {
                return Ok(Calls::one(Call::Launch { source: 1, launch, slots }));
            }
        }
        Ok(Calls::unless_empty(launch, slots))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        Ok(self.path(inputs)?.output)
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        elements(output)?;
        let Path { walk, from, to, .. } = self.path(inputs)?;
        let walk = walk.folded();
        let count = elements(&walk.dims)?;
        let rank = walk.dims.len() as u32;
        let mut tail = vec![rank];
        tail.extend(padded(walk.dims.iter().map(|size| *size as u32)));
        walk.strides.iter().for_each(|own| tail.extend(padded(own.iter().map(|stride| *stride as u32))));
        Ok(Launch::over(count, vec![vec![count as u32], vec![from as u32], vec![to as u32], tail]))
    }

    fn operands(&self, _: usize) -> Vec<usize> {
        match self.rule {
            Rule::Concat { part, .. } => vec![part],
            _ => vec![0],
        }
    }

    fn work(&self, _: &[&[usize]], _: &[usize]) -> f64 {
        0.0
    }
}

/// The same number everywhere, where a Pad has nothing of its input.
pub struct Fill {
    pub rule: Rule,
    pub value: f64,
    pub dtype: DType,
}

impl Kernel for Fill {
    fn source(&self) -> Source {
        let ty = crate::types::of(self.dtype)
            .unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"));
        let arguments = [format!("{}* __restrict__ y", ty.stored), "const u32 n".into()];
        let body = format!(
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {{\n        \
             st(y + i, {});\n    }}\n",
            ty.literal(self.value)
        );
        Source::new("fill".into(), &arguments, &body)
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        Move { rule: self.rule.clone(), dtype: self.dtype }.output(inputs)
    }

    fn launch(&self, _: &[&[usize]], output: &[usize]) -> Result<Launch> {
        let count = elements(output)?;
        Ok(Launch::over(count, vec![vec![count as u32]]))
    }

    fn operands(&self, _: usize) -> Vec<usize> {
        Vec::new()
    }

    fn work(&self, _: &[&[usize]], _: &[usize]) -> f64 {
        0.0
    }
}
