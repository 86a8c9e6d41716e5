//! How operands are laid over an output of the shape that all of them broadcast to.

use std::array::from_fn;

use byoc_graph::StaticDims;
use smallvec::SmallVec;

use crate::fast::Exec;
use crate::kernel::KernelError;
use crate::kernels::loops;

/// The shape of the result of broadcasting.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<StaticDims, KernelError> {
    if a == b {
        return Ok(a.into());
    }
    let rank = a.len().max(b.len());
    let get = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let dim = |i: usize| match (get(a, i), get(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(KernelError::invalid(format!("shapes {a:?} and {b:?} cannot be broadcast together"))),
    };
    (0..rank).map(dim).collect()
}

/// `N` operands laid over an output: dimensions, outermost first, with the distance of one step along each.
pub(super) struct Walk<const N: usize> {
    dims: SmallVec<[usize; 6]>,
    /// By dimension.
    strides: SmallVec<[[usize; N]; 6]>,
}

impl<const N: usize> Walk<N> {
    /// Dimensions that all operands walk through alike are merged.
    pub fn new(out: &[usize], operands: [&[usize]; N]) -> Walk<N> {
        let mut walk = Walk { dims: SmallVec::new(), strides: SmallVec::new() };
        if operands.iter().all(|dims| *dims == out) {
            walk.dims.push(out.iter().product());
            walk.strides.push([1; N]);
            return walk;
        }
        let mut step = [1; N];
        // Innermost first.
        for i in (0..out.len()).rev() {
            let own = operands.map(|dims| (i + dims.len()).checked_sub(out.len()).map_or(1, |i| dims[i]));
            let strides: [usize; N] = from_fn(|o| if own[o] == 1 { 0 } else { step[o] });
            step = from_fn(|o| step[o] * own[o]);
            if out[i] == 1 {
                continue;
            }
            match (walk.dims.last_mut(), walk.strides.last()) {
                (Some(dim), Some(last)) if (0..N).all(|o| strides[o] == last[o] * *dim) => *dim *= out[i],
                _ => {
                    walk.dims.push(out[i]);
                    walk.strides.push(strides);
                }
            }
        }
        walk.dims.reverse();
        walk.strides.reverse();
        walk
    }

    /// The length of the innermost dimension, and the steps along it.
    fn inner(&self) -> (usize, [usize; N]) {
        match (self.dims.last(), self.strides.last()) {
            (Some(&n), Some(&steps)) => (n, steps),
            _ => (1, [0; N]),
        }
    }

    /// Where the operands begin in row `row` of the innermost dimension.
    fn starts(&self, mut row: usize) -> [usize; N] {
        let mut starts = [0; N];
        for i in (0..self.dims.len().saturating_sub(1)).rev() {
            let at = row % self.dims[i];
            row /= self.dims[i];
            starts = from_fn(|o| starts[o] + at * self.strides[i][o]);
        }
        starts
    }

    /// Runs `row(where the operands begin, steps along the row, row)` for the rows of `out`.
    pub fn rows<U: Send>(
        &self,
        exec: Exec<'_>,
        out: &mut [U],
        row: impl Fn([usize; N], [usize; N], &mut [U]) + Sync,
    ) {
        let (inner, steps) = self.inner();
        if self.dims.len() <= 1 {
            // One row: it is cut where the threads want it.
            return loops::split(exec, out, &|range, part| {
                row(steps.map(|step| range.start * step), steps, part);
            });
        }
        loops::rows(exec, out, inner, &|index, part| row(self.starts(index), steps, part));
    }
}

/// The rest of an operand from a place on; nothing where `out` itself holds the operand.
pub(super) fn from<T>(operand: &[T], start: usize) -> &[T] {
    operand.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast() {
        assert_eq!(&broadcast(&[2, 1, 4], &[3, 1]).unwrap()[..], [2, 3, 4]);
        assert_eq!(&broadcast(&[], &[0, 3]).unwrap()[..], [0, 3]);
        assert!(broadcast(&[2], &[3]).is_err());
    }

    #[test]
    fn alike_dimensions_merge() {
        let walk = Walk::new(&[2, 3, 4, 5], [&[2, 3, 4, 5], &[4, 5]]);
        assert_eq!(&walk.dims[..], [6, 20]);
        assert_eq!(walk.starts(5), [100, 0]);
        let walk = Walk::new(&[2, 3, 4], [&[2, 3, 4], &[3, 1]]);
        assert_eq!((walk.inner(), walk.starts(4)), ((4, [1, 0]), [16, 1]));
        assert_eq!(Walk::new(&[1, 1], [&[1, 1], &[]]).inner(), (1, [0, 0]));
    }
}
