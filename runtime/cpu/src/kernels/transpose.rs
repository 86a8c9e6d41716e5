//! Transpose of elements of any whole number of bytes.

use byoc_graph::StaticDims;
use bytemuck::Pod;
use smallvec::SmallVec;

use crate::fast::Exec;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "transpose",
    domain: "",
    ops: &["Transpose"],
    since: 1,
    dtypes: super::MOVABLE,
    priority: 10,
    prepare,
}];

struct Transpose {
    perm: Option<Vec<usize>>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let perm = match node.ints("perm") {
        None => None,
        Some(perm) => {
            let perm: Vec<usize> = perm.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?;
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..perm.len()) {
                return None;
            }
            Some(perm)
        }
    };
    Some(Box::new(Transpose { perm }))
}

/// Axes of the output, outermost first: how many elements, and how far apart they are in the input. Axes that
/// follow one another in both are merged.
struct Axes {
    sizes: SmallVec<[usize; 6]>,
    strides: SmallVec<[usize; 6]>,
}

impl Axes {
    fn new(dims: &[usize], perm: impl Iterator<Item = usize>) -> Axes {
        let mut axes = Axes { sizes: SmallVec::new(), strides: SmallVec::new() };
        for from in perm {
            let (size, stride) = (dims[from], dims[from + 1..].iter().product::<usize>());
            if size == 1 {
                continue;
            }
            match (axes.sizes.last_mut(), axes.strides.last_mut()) {
                (Some(last), Some(step)) if *step == stride * size => (*last, *step) = (*last * size, stride),
                _ => {
                    axes.sizes.push(size);
                    axes.strides.push(stride);
                }
            }
        }
        axes
    }

    /// Where row `row` of the last `skip` axes begins in the input.
    fn start(&self, mut row: usize, skip: usize) -> usize {
        let mut start = 0;
        for i in (0..self.sizes.len() - skip).rev() {
            start += row % self.sizes[i] * self.strides[i];
            row /= self.sizes[i];
        }
        start
    }
}

impl Kernel for Transpose {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let rank = x.rank();
        if self.perm.as_ref().is_some_and(|p| p.len() != rank) {
            return Err(KernelError::invalid(format!("a permutation of {:?} for {:?}", self.perm, x.dims)));
        }
        let from = |i: usize| self.perm.as_ref().map_or(rank - 1 - i, |p| p[i]);
        let dims: StaticDims = (0..rank).map(|i| x.dims[from(i)]).collect();
        let axes = Axes::new(x.dims, (0..rank).map(from));
        let out = outputs.bytes(0, x.dtype, &dims)?;
        let wrong = |_| KernelError::Misaligned;
        match x.dtype.bits() / 8 {
            1 => transpose::<u8>(ctx.exec, x.bytes(), out, &axes),
            2 => transpose::<u16>(
                ctx.exec,
                bytemuck::try_cast_slice(x.bytes()).map_err(wrong)?,
                bytemuck::try_cast_slice_mut(out).map_err(wrong)?,
                &axes,
            ),
            4 => transpose::<u32>(
                ctx.exec,
                bytemuck::try_cast_slice(x.bytes()).map_err(wrong)?,
                bytemuck::try_cast_slice_mut(out).map_err(wrong)?,
                &axes,
            ),
            _ => transpose::<u64>(
                ctx.exec,
                bytemuck::try_cast_slice(x.bytes()).map_err(wrong)?,
                bytemuck::try_cast_slice_mut(out).map_err(wrong)?,
                &axes,
            ),
        }
        Ok(())
    }
}

fn transpose<T: Pod + Send + Sync>(exec: Exec<'_>, x: &[T], out: &mut [T], axes: &Axes) {
    let n = axes.sizes.len();
    let (Some(&inner), Some(&step)) = (axes.sizes.last(), axes.strides.last()) else {
        return out.copy_from_slice(x);
    };
    if step == 1 {
        return loops::rows(exec, out, inner, &|row, part| {
            part.copy_from_slice(&x[axes.start(row, 1)..][..part.len()]);
        });
    }
    // The input runs along another axis of the output; where that is the one before the last, planes of the
    // two are transposed in small squares, so that neither side leaves the cache between its elements.
    if n >= 2 && axes.strides[n - 2] == 1 {
        let rows = axes.sizes[n - 2];
        return loops::rows(exec, out, rows * inner, &|plane, part| {
            let x = &x[axes.start(plane, 2)..];
            squares(x, part, rows, inner, step);
        });
    }
    loops::rows(exec, out, inner, &|row, part| {
        let x = x[axes.start(row, 1)..].iter().step_by(step);
        part.iter_mut().zip(x).for_each(|(out, &x)| *out = x);
    });
}

/// `out[r][c] = x[c · step + r]`.
fn squares<T: Copy>(x: &[T], out: &mut [T], rows: usize, columns: usize, step: usize) {
    const SIDE: usize = 16;
    for r0 in (0..rows).step_by(SIDE) {
        for c0 in (0..columns).step_by(SIDE) {
            for r in r0..rows.min(r0 + SIDE) {
                let out = &mut out[r * columns..][..columns];
                for c in c0..columns.min(c0 + SIDE) {
                    out[c] = x[c * step + r];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_stay_together_merge() {
        let axes = Axes::new(&[2, 3, 4, 5], [0, 2, 3, 1].into_iter());
        assert_eq!((&axes.sizes[..], &axes.strides[..]), (&[2, 20, 3][..], &[60, 1, 20][..]));
        let same = Axes::new(&[2, 3, 1, 4], 0..4);
        assert_eq!((&same.sizes[..], &same.strides[..]), (&[24][..], &[1][..]));
    }
}
