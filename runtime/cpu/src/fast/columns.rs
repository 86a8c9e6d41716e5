//! Softmax along an axis that is not the last: columns of rows that lie side by side.

use super::Exec;
use super::math;
use super::simd::{Simd, Task};
use crate::pool::SharedSlice;

/// Columns that are worked on together.
const BLOCK: usize = 256;

/// What is computed of each column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnFunction {
    Softmax,
    LogSoftmax,
}

/// Applies `function` along the middle of `outer × n × inner`.
///
/// # Panics
/// If the sizes do not fit together.
pub fn map_columns(
    exec: Exec<'_>,
    function: ColumnFunction,
    x: &[f32],
    [outer, n, inner]: [usize; 3],
    out: &mut [f32],
) {
    assert!(x.len() == outer * n * inner && out.len() == x.len(), "sizes of input and output");
    if out.is_empty() {
        return;
    }
    let (blocks, shared) = (inner.div_ceil(BLOCK), SharedSlice::new(out));
    // Narrow images of few columns are put together.
    let grain = (16 * 1024 / (n * inner.min(BLOCK))).max(1);
    exec.pool.parallel_ranges(outer * blocks, grain, &|range| {
        for block in range {
            let column = block % blocks * BLOCK;
            let width = BLOCK.min(inner - column);
            let start = block / blocks * n * inner + column;
            // SAFETY: the rows of a block belong to it alone, and each block is handed out once.
            let row = |r: usize| unsafe { shared.range(start + r * inner..start + r * inner + width) };
            exec.isa.run(Columns { function, x: &x[start..], n, inner, width, row });
        }
    });
}

struct Columns<'a, R> {
    function: ColumnFunction,
    /// From the first element of the block on.
    x: &'a [f32],
    n: usize,
    inner: usize,
    width: usize,
    /// A row of the block in the output.
    row: R,
}

impl<'a, R: Fn(usize) -> &'a mut [f32]> Task for Columns<'a, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let from = |r: usize| &self.x[r * self.inner..][..self.width];
        let mut max = [f32::NEG_INFINITY; BLOCK];
        let mut sum = [0f32; BLOCK];
        let (max, sum) = (&mut max[..self.width], &mut sum[..self.width]);
        for r in 0..self.n {
            max.iter_mut().zip(from(r)).for_each(|(m, &x)| *m = if x > *m { x } else { *m });
        }
        for r in 0..self.n {
            let (x, out) = (from(r), (self.row)(r));
            for at in (0..self.width).step_by(S::LANES) {
                let e = math::exp(s, s.sub(math::load_at(s, x, at), math::load_at(s, max, at)));
                math::store_at(s, sum, at, s.add(math::load_at(s, sum, at), e));
                math::store_at(s, out, at, e);
            }
        }
        match self.function {
            ColumnFunction::Softmax => {
                sum.iter_mut().for_each(|x| *x = 1.0 / *x);
                for r in 0..self.n {
                    (self.row)(r).iter_mut().zip(&*sum).for_each(|(out, s)| *out *= s);
                }
            }
            ColumnFunction::LogSoftmax => {
                max.iter_mut().zip(&*sum).for_each(|(m, s)| *m += s.ln());
                for r in 0..self.n {
                    let both = from(r).iter().zip(&*max);
                    (self.row)(r).iter_mut().zip(both).for_each(|(out, (x, m))| *out = x - m);
                }
            }
        }
    }
}
