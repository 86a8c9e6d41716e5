//! Plain loops, compiled for the machine's vector instructions and shared among the threads.

use std::ops::Range;

use crate::fast::Exec;
use crate::fast::Isa;
use crate::fast::simd::{Simd, Task};

/// Elements that are worth a piece of their own.
pub(super) const GRAIN: usize = 16 * 1024;

struct Plain<F>(F);

impl<R, F: FnOnce() -> R> Task for Plain<F> {
    type Output = R;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> R {
        (self.0)()
    }
}

/// Runs a loop that the compiler may vectorise for `isa`. `f` has to be `#[inline(always)]`.
#[inline(always)]
pub(super) fn vectorised<R>(isa: Isa, f: impl FnOnce() -> R) -> R {
    isa.run(Plain(f))
}

/// Runs `body` on parts of `out`, each with the range of elements that it is.
pub(super) fn split<T: Send>(exec: Exec<'_>, out: &mut [T], body: &(dyn Fn(Range<usize>, &mut [T]) + Sync)) {
    if out.len() <= GRAIN {
        return body(0..out.len(), out);
    }
    exec.pool.parallel_chunks(out, GRAIN, &|piece, part| {
        let start = piece * GRAIN;
        body(start..start + part.len(), part);
    });
}

/// Runs `body(row, elements of that row)` for the rows of `out`, several to a piece.
pub(super) fn rows<T: Send>(
    exec: Exec<'_>,
    out: &mut [T],
    row: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    if row == 0 {
        return;
    }
    let rows = (GRAIN / row).max(1);
    if out.len() <= GRAIN {
        return out.chunks_mut(row).enumerate().for_each(|(i, part)| body(i, part));
    }
    exec.pool.parallel_chunks(out, rows * row, &|piece, part| {
        part.chunks_mut(row).enumerate().for_each(|(i, part)| body(piece * rows + i, part));
    });
}
