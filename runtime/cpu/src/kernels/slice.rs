//! Slice of elements of any whole number of bytes.

use byoc_graph::StaticDims;
use bytemuck::Pod;
use smallvec::SmallVec;

use super::runs::{size, wrap};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, Stretch, Stretches, optional, tensor};
use crate::kernels::loops;
use crate::kernels::words::{by_size, strided};
use crate::outputs::Outputs;
use crate::view::View;

/// As nodes since opset 10 have it.
pub(super) fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Slice { known: Cuts::of_constants(node) }))
}

/// As nodes of opset 1 to 9 have it.
pub(super) fn prepare_attributes(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Slice { known: Some(Cuts::of_attributes(node)?) }))
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
    fn stretches(&self, dims: &[usize]) -> Option<Stretches> {
        let parts = self.known.as_ref()?.parts(dims).ok()?;
        // Behind the first axis of which more than one is taken, all are.
        let first = parts.iter().position(|part| part.count != 1).unwrap_or(parts.len());
        let whole = |i: usize| parts[i].count == dims[i] && parts[i].step == 1;
        if parts.get(first).is_some_and(|part| part.step != 1) || !(first + 1..dims.len()).all(whole) {
            return None;
        }
        let before = parts.iter().zip(dims).fold(0, |at, (part, along)| at * along + part.start);
        let dims = parts.iter().map(|part| part.count).collect();
        Some(Stretches::from_iter([Stretch { start: before, dims }]))
    }

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
