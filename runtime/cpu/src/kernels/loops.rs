//! Plain loops, compiled for the machine's vector instructions and shared among the threads.

use std::ops::Range;

use crate::fast::Exec;
pub(super) use crate::fast::simd::vectorised;

/// Elements that are worth a piece of their own.
pub(super) const GRAIN: usize = 16 * 1024;

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
