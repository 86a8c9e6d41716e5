//! Operators that copy runs of elements of any whole number of bytes: Concat, Split, Slice, Gather.

use byoc_graph::{DType, StaticDims};
use bytemuck::Pod;
use smallvec::SmallVec;

use crate::fast::Exec;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::loops;
use crate::kernels::words::{by_size, strided, words_mut};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(
    ops: &'static [&'static str],
    since: i64,
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "runs", domain: "", ops, since, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Concat"], 4, |node| Some(Box::new(Concat { axis: node.int("axis")? }))),
    entry(&["Split"], 2, |node| {
        let attr = node.ints("split").map(<[i64]>::to_vec);
        Some(Box::new(Split { axis: node.int("axis").unwrap_or(0), attr }))
    }),
    entry(&["Slice"], 10, |node| Some(Box::new(Slice { known: Cuts::of_constants(node) }))),
    entry(&["Slice"], 1, |node| Some(Box::new(Slice { known: Some(Cuts::of_attributes(node)?) }))),
    entry(&["Gather"], 1, |node| Some(Box::new(Gather { axis: node.int("axis").unwrap_or(0) }))),
];

fn wrap(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|&at| at < rank);
    at.ok_or_else(|| KernelError::invalid(format!("axis {axis} is outside of rank {rank}")))
}

/// Elements before, along and behind an axis.
fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

fn size(dtype: DType) -> usize {
    dtype.bits() / 8
}

struct Concat {
    axis: i64,
}

impl Kernel for Concat {
    fn joins(&self) -> Option<i64> {
        Some(self.axis)
    }

    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let first = tensor(inputs, 0)?;
        let axis = wrap(self.axis, first.rank())?;
        let mut dims = first.static_dims();
        dims[axis] = 0;
        let mut parts: SmallVec<[(&[u8], usize); 8]> = SmallVec::new();
        for i in 0..inputs.len() {
            let part = tensor(inputs, i)?;
            let alike = part.rank() == dims.len()
                && part.dtype == first.dtype
                && (0..dims.len()).all(|d| d == axis || part.dims[d] == dims[d]);
            if !alike {
                let message =
                    format!("{:?} and {:?} cannot be joined along axis {axis}", first.dims, part.dims);
                return Err(KernelError::invalid(message));
            }
            dims[axis] += part.dims[axis];
            let (_, along, behind) = around(part.dims, axis);
            parts.push((part.bytes(), along * behind * size(part.dtype)));
        }
        let (_, along, behind) = around(&dims, axis);
        let row = along * behind * size(first.dtype);
        let out = outputs.bytes(0, first.dtype, &dims)?;
        if row == 0 || out.is_empty() {
            return Ok(());
        }
        if row <= SHORT {
            return by_size!(first.dtype, weave(ctx.exec, &parts, row, out));
        }
        let copy = |index: usize, out: &mut [u8]| {
            let mut at = 0;
            for &(bytes, len) in &parts {
                out[at..at + len].copy_from_slice(&bytes[index * len..][..len]);
                at += len;
            }
        };
        if out.len() == row && row > 4 * loops::GRAIN {
            // One row: its parts are cut up, instead.
            let mut rest = out;
            for &(bytes, len) in &parts {
                let (part, behind) = rest.split_at_mut(len);
                rest = behind;
                loops::split(ctx.exec, part, &|range, out| out.copy_from_slice(&bytes[range]));
            }
            return Ok(());
        }
        loops::rows(ctx.exec, out, row, &copy);
        Ok(())
    }
}

/// Rows of so few bytes are put together word by word.
const SHORT: usize = 64;

/// Joins rows of some bytes of each part, part after part.
fn weave<T: Pod + Send + Sync>(
    exec: Exec<'_>,
    parts: &[(&[u8], usize)],
    row: usize,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let (out, width) = (words_mut::<T>(out)?, row / size_of::<T>());
    let mut sources: SmallVec<[(&[T], usize); 8]> = SmallVec::new();
    for &(bytes, len) in parts.iter().filter(|(_, len)| *len > 0) {
        let source = bytemuck::try_cast_slice(bytes).map_err(|_| KernelError::Misaligned)?;
        sources.push((source, len / size_of::<T>()));
    }
    let rows = loops::GRAIN / width;
    exec.pool.parallel_chunks(out, rows * width, &|piece, out| {
        let mut at = 0;
        for &(source, len) in &sources {
            let source = source[piece * rows * len..].chunks_exact(len);
            for (row, source) in out.chunks_exact_mut(width).zip(source) {
                row[at..at + len].iter_mut().zip(source).for_each(|(to, &x)| *to = x);
            }
            at += len;
        }
    });
    Ok(())
}

struct Split {
    axis: i64,
    attr: Option<Vec<i64>>,
}

impl Kernel for Split {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let axis = wrap(self.axis, x.rank())?;
        let (_, along, behind) = around(x.dims, axis);
        let sizes: SmallVec<[i64; 8]> = match (&self.attr, optional(inputs, 1)?) {
            (Some(sizes), _) => sizes.as_slice().into(),
            (None, Some(sizes)) => {
                sizes.to_i64s().ok_or_else(|| KernelError::invalid("the sizes are not of int64"))?
            }
            (None, None) => {
                // Even parts; the last one may be smaller.
                let part = along.div_ceil(outputs.len().max(1));
                let size = |i: usize| along.saturating_sub(i * part).min(part) as i64;
                (0..outputs.len()).map(size).collect()
            }
        };
        let sound = sizes.iter().all(|&s| s >= 0) && sizes.len() >= outputs.len();
        if !sound || sizes.iter().try_fold(0i64, |sum, s| sum.checked_add(*s)) != Some(along as i64) {
            return Err(KernelError::invalid(format!("{along} elements cannot be split into {sizes:?}")));
        }
        let unit = behind * size(x.dtype);
        let (row, mut at) = (along * unit, 0);
        for (i, &part) in sizes.iter().enumerate().take(outputs.len()) {
            let len = part as usize * unit;
            if outputs.wanted(i) {
                let mut dims = x.static_dims();
                dims[axis] = part as usize;
                let out = outputs.bytes(i, x.dtype, &dims)?;
                loops::rows(ctx.exec, out, len, &|index, out| {
                    out.copy_from_slice(&x.bytes()[index * row + at..][..len]);
                });
            }
            at += len;
        }
        Ok(())
    }
}

struct Slice {
    /// Where to cut, if that is said in attributes or by constants.
    known: Option<Cuts>,
}

/// The part of one axis that is taken.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    step: i64,
    count: usize,
}

/// Where a slice is cut.
#[derive(Clone)]
struct Cuts {
    starts: SmallVec<[i64; 8]>,
    ends: SmallVec<[i64; 8]>,
    axes: Option<SmallVec<[i64; 8]>>,
    steps: Option<SmallVec<[i64; 8]>>,
}

impl Cuts {
    /// As nodes of opset 1 to 9 say it.
    fn of_attributes(node: &NodeDesc<'_>) -> Option<Cuts> {
        if node.opset() >= 10 {
            return None;
        }
        let (starts, ends) = (node.ints("starts")?.into(), node.ints("ends")?.into());
        Some(Cuts { starts, ends, axes: node.ints("axes").map(Into::into), steps: None })
    }

    fn of_constants(node: &NodeDesc<'_>) -> Option<Cuts> {
        let ints = |i: usize| match node.has_input(i) {
            true => node.constant(i)?.to_i64s().map(|all| Some(SmallVec::from_vec(all))),
            false => Some(None),
        };
        Some(Cuts { starts: ints(1)??, ends: ints(2)??, axes: ints(3)?, steps: ints(4)? })
    }

    fn of_inputs(inputs: &[Option<View<'_>>]) -> Result<Cuts, KernelError> {
        let ints = |i: usize| match optional(inputs, i)? {
            None => Ok(None),
            Some(view) => view
                .to_i64s()
                .map(Some)
                .ok_or_else(|| KernelError::invalid("starts and ends are not integers")),
        };
        let starts = ints(1)?.ok_or(KernelError::MissingInput(1))?;
        let ends = ints(2)?.ok_or(KernelError::MissingInput(2))?;
        Ok(Cuts { starts, ends, axes: ints(3)?, steps: ints(4)? })
    }

    /// The parts along each axis.
    fn parts(&self, dims: &[usize]) -> Result<SmallVec<[Part; 6]>, KernelError> {
        let Cuts { starts, ends, axes, steps } = self;
        let count = |x: &Option<SmallVec<[i64; 8]>>| x.as_ref().map_or(starts.len(), SmallVec::len);
        if [ends.len(), count(axes), count(steps)].iter().any(|&n| n != starts.len()) {
            return Err(KernelError::invalid("starts, ends, axes and steps differ in number"));
        }
        let whole = |&count: &usize| Part { start: 0, step: 1, count };
        let mut parts: SmallVec<[Part; 6]> = dims.iter().map(whole).collect();
        for i in 0..starts.len() {
            let axis = wrap(axes.as_ref().map_or(i as i64, |axes| axes[i]), dims.len())?;
            let step = steps.as_ref().map_or(1, |steps| steps[i]);
            parts[axis] = part(dims[axis] as i64, starts[i], ends[i], step)
                .ok_or_else(|| KernelError::invalid("a slice with a step of 0"))?;
        }
        Ok(parts)
    }
}

/// As the standard clamps it.
fn part(len: i64, start: i64, end: i64, step: i64) -> Option<Part> {
    let wrap = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
    let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let start = wrap(start).clamp(low.max(0), high.max(0));
    let end = wrap(end).clamp(low, high);
    let count = match step {
        0 => return None,
        _ if len == 0 => 0,
        1.. => (end - start).max(0).unsigned_abs().div_ceil(step.unsigned_abs()),
        _ => (start - end).max(0).unsigned_abs().div_ceil(step.unsigned_abs()),
    };
    Some(Part { start: start as usize, step, count: usize::try_from(count).ok()? })
}

impl Kernel for Slice {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let parts = match &self.known {
            Some(cuts) => cuts.parts(x.dims)?,
            None => Cuts::of_inputs(inputs)?.parts(x.dims)?,
        };
        let dims: StaticDims = parts.iter().map(|p| p.count).collect();
        let out = outputs.bytes(0, x.dtype, &dims)?;
        if out.is_empty() {
            return Ok(());
        }
        let cut = |(i, p): (usize, &Part)| p.count != x.dims[i] || p.step != 1;
        let Some(last) = (0..parts.len()).rev().find(|&i| cut((i, &parts[i]))) else {
            out.copy_from_slice(x.bytes());
            return Ok(());
        };
        // Whatever lies behind the last axis that is cut is one unit.
        let unit = x.dims[last + 1..].iter().product::<usize>() * size(x.dtype);
        let inner = parts[last];
        let start = |mut row: usize| {
            let mut at = 0;
            for i in (0..last).rev() {
                let p = parts[i];
                let index = p.start as i64 + (row % p.count) as i64 * p.step;
                at += index as usize * x.dims[i + 1..=last].iter().product::<usize>();
                row /= p.count;
            }
            at
        };
        if inner.count == 1 && last > 0 && unit == size(x.dtype) && parts[last - 1].step > 0 {
            // One element of each row: those of neighbouring rows lie evenly apart.
            let outer = parts[last - 1];
            let step = outer.step as usize * x.dims[last];
            loops::rows(ctx.exec, out, outer.count * unit, &|row, out| {
                let source = &x.bytes()[(start(row * outer.count) + inner.start) * unit..];
                by_size!(x.dtype, stepped(source, step, out));
            });
            return Ok(());
        }
        loops::rows(ctx.exec, out, inner.count * unit, &|row, out| {
            let from = (start(row) + inner.start) as i64;
            if inner.step == 1 {
                out.copy_from_slice(&x.bytes()[from as usize * unit..][..out.len()]);
                return;
            }
            if inner.step > 0 && unit == size(x.dtype) {
                let source = &x.bytes()[from as usize * unit..];
                return by_size!(x.dtype, stepped(source, inner.step as usize, out));
            }
            for (i, out) in out.chunks_exact_mut(unit).enumerate() {
                let at = (from + i as i64 * inner.step) as usize;
                out.copy_from_slice(&x.bytes()[at * unit..][..unit]);
            }
        });
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0 && self.known.is_some()
    }
}

/// Every `step`-th element of bytes that lie aligned.
fn stepped<T: Pod>(x: &[u8], step: usize, out: &mut [u8]) {
    let (x, out) = (bytemuck::cast_slice::<u8, T>(x), bytemuck::cast_slice_mut::<u8, T>(out));
    strided(x, step, out);
}

struct Gather {
    axis: i64,
}

/// Where the indices of a Gather lead, each checked before anything is copied.
fn places<I: Copy + Into<i64>>(indices: &[I], along: usize) -> Result<(), KernelError> {
    let outside = |&&i: &&I| {
        let i: i64 = i.into();
        !(-(along as i64)..along as i64).contains(&i)
    };
    match indices.iter().find(outside) {
        None => Ok(()),
        Some(&i) => Err(KernelError::invalid(format!("index {} is outside of 0..{along}", i.into()))),
    }
}

/// Copies one run for each index of each row.
fn gather<I: Copy + Into<i64> + Sync>(
    exec: Exec<'_>,
    x: &[u8],
    indices: &[I],
    (along, unit): (usize, usize),
    out: &mut [u8],
) -> Result<(), KernelError> {
    places(indices, along)?;
    if indices.is_empty() || unit == 0 {
        return Ok(());
    }
    let rows = (loops::GRAIN / unit).max(1);
    exec.pool.parallel_chunks(out, rows * unit, &|piece, out| {
        let first = piece * rows;
        let (mut outer, mut i) = (first / indices.len(), first % indices.len());
        for out in out.chunks_exact_mut(unit) {
            let index: i64 = indices[i].into();
            let at = if index < 0 { index + along as i64 } else { index } as usize;
            out.copy_from_slice(&x[(outer * along + at) * unit..][..unit]);
            i += 1;
            if i == indices.len() {
                (outer, i) = (outer + 1, 0);
            }
        }
    });
    Ok(())
}

impl Kernel for Gather {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, indices) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let axis = wrap(self.axis, x.rank())?;
        let (_, along, behind) = around(x.dims, axis);
        let mut dims: StaticDims = x.dims[..axis].into();
        dims.extend_from_slice(indices.dims);
        dims.extend_from_slice(&x.dims[axis + 1..]);
        let out = outputs.bytes(0, x.dtype, &dims)?;
        let sizes = (along, behind * size(x.dtype));
        match indices.dtype {
            DType::I64 => gather(ctx.exec, x.bytes(), indices.slice::<i64>()?, sizes, out),
            _ => gather(ctx.exec, x.bytes(), indices.slice::<i32>()?, sizes, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_clamped_as_the_standard_says() {
        let counts = |len, start, end, step| part(len, start, end, step).map(|p| (p.start, p.count));
        assert_eq!(counts(10, 2, 8, 3), Some((2, 2)));
        assert_eq!(counts(10, -3, i64::MAX, 1), Some((7, 3)));
        assert_eq!(counts(10, -1, i64::MIN, -1), Some((9, 10)));
        assert_eq!(counts(10, 20, 0, -4), Some((9, 3)));
        assert_eq!(counts(0, 0, 5, 1), Some((0, 0)));
        assert_eq!(counts(10, 0, 5, 0), None);
    }
}
