//! How two operands are laid over an output of the shape that both broadcast to.

use byoc_graph::StaticDims;
use smallvec::SmallVec;

use crate::fast::Exec;
use crate::kernel::KernelError;
use crate::kernels::loops;

/// The shape of the result of broadcasting.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<StaticDims, KernelError> {
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

/// Two operands laid over an output: dimensions, outermost first, with the distance of one step along each.
pub(super) struct Walk {
    dims: SmallVec<[usize; 6]>,
    strides: [SmallVec<[usize; 6]>; 2],
}

impl Walk {
    /// Dimensions that both operands walk through alike are merged.
    pub fn new(out: &[usize], a: &[usize], b: &[usize]) -> Walk {
        let mut walk = Walk { dims: SmallVec::new(), strides: Default::default() };
        let mut step = [1, 1];
        // Innermost first.
        for i in (0..out.len()).rev() {
            let own = [a, b].map(|dims| (i + dims.len()).checked_sub(out.len()).map_or(1, |i| dims[i]));
            let strides = [0, 1].map(|o| if own[o] == 1 { 0 } else { step[o] });
            step = [step[0] * own[0], step[1] * own[1]];
            if out[i] == 1 {
                continue;
            }
            let merges = |o: usize| {
                let last = walk.dims.len() - 1;
                strides[o] == walk.strides[o][last] * walk.dims[last]
            };
            if !walk.dims.is_empty() && merges(0) && merges(1) {
                let last = walk.dims.len() - 1;
                walk.dims[last] *= out[i];
            } else {
                walk.dims.push(out[i]);
                walk.strides[0].push(strides[0]);
                walk.strides[1].push(strides[1]);
            }
        }
        walk.dims.reverse();
        walk.strides.iter_mut().for_each(|s| s.reverse());
        walk
    }

    /// The length of the innermost dimension, and the steps along it.
    fn inner(&self) -> (usize, [usize; 2]) {
        match self.dims.last() {
            Some(&n) => (n, [0, 1].map(|o| *self.strides[o].last().expect("as long as dims"))),
            None => (1, [0, 0]),
        }
    }

    /// Where both operands begin in row `row` of the innermost dimension.
    fn starts(&self, mut row: usize) -> [usize; 2] {
        let mut starts = [0, 0];
        for i in (0..self.dims.len().saturating_sub(1)).rev() {
            let at = row % self.dims[i];
            row /= self.dims[i];
            starts[0] += at * self.strides[0][i];
            starts[1] += at * self.strides[1][i];
        }
        starts
    }

    /// Runs `row(operands from where the row begins, steps along it, row)` for the rows of `out`. An operand
    /// that `out` itself holds is given as an empty slice.
    pub fn rows<T: Sync, U: Send>(
        &self,
        exec: Exec<'_>,
        operands: [&[T]; 2],
        out: &mut [U],
        row: impl Fn([&[T]; 2], [usize; 2], &mut [U]) + Sync,
    ) {
        let (inner, steps) = self.inner();
        let from = |starts: [usize; 2]| [0, 1].map(|o| operands[o].get(starts[o]..).unwrap_or_default());
        if self.dims.len() <= 1 {
            // One row: it is cut where the threads want it.
            return loops::split(exec, out, &|range, part| {
                row(from(steps.map(|step| range.start * step)), steps, part);
            });
        }
        loops::rows(exec, out, inner, &|index, part| row(from(self.starts(index)), steps, part));
    }
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
        let walk = Walk::new(&[2, 3, 4, 5], &[2, 3, 4, 5], &[4, 5]);
        assert_eq!(&walk.dims[..], [6, 20]);
        assert_eq!(walk.starts(5), [100, 0]);
        let walk = Walk::new(&[2, 3, 4], &[2, 3, 4], &[3, 1]);
        assert_eq!((walk.inner(), walk.starts(4)), ((4, [1, 0]), [16, 1]));
        assert_eq!(Walk::new(&[1, 1], &[1, 1], &[]).inner(), (1, [0, 0]));
    }
}
