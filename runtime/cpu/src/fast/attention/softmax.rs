//! The softmax of scores where they lie.

use super::Piece;
use crate::fast::math;
use crate::fast::simd::{Simd, Task};

/// The softmax of rows of `count` scores.
pub(super) struct Softmax<'a, 'p, 'o> {
    pub piece: &'a Piece<'p, 'o>,
    pub first: usize,
    pub count: usize,
    pub scores: &'a mut [f32],
    /// How far apart the rows are: whole vectors.
    pub row: usize,
}

impl Task for Softmax<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, row) in self.scores.chunks_exact_mut(self.row).enumerate() {
            self.piece.masked(s, self.first + i, &mut row[..self.count]);
            let whole = self.count.next_multiple_of(S::LANES);
            row[self.count..whole].fill(f32::NEG_INFINITY);
            softmax(s, &mut row[..whole], self.piece.call.sight.is_some());
        }
    }
}

/// The softmax of whole vectors, in place. Where nothing has any weight, `zeros` says whether that is the result.
#[inline(always)]
pub(super) fn softmax<S: Simd>(s: S, row: &mut [f32], zeros: bool) {
    let mut max = s.splat(f32::NEG_INFINITY);
    for x in row.chunks_exact(S::LANES) {
        // NaN is passed over here, and comes back by the sum.
        max = s.max(math::load_at(s, x, 0), max);
    }
    let max = fold(s, max, f32::NEG_INFINITY, f32::max);
    if zeros && max == f32::NEG_INFINITY {
        return row.iter_mut().for_each(|x| *x = if x.is_nan() { *x } else { 0.0 });
    }
    let max = s.splat(max);
    let mut sum = s.splat(0.0);
    for x in row.chunks_exact_mut(S::LANES) {
        let y = math::exp_weight(s, s.sub(math::load_at(s, x, 0), max));
        sum = s.add(sum, y);
        math::store_at(s, x, 0, y);
    }
    let factor = s.splat(1.0 / fold(s, sum, 0.0, |a, b| a + b));
    for x in row.chunks_exact_mut(S::LANES) {
        let y = s.mul(math::load_at(s, x, 0), factor);
        math::store_at(s, x, 0, y);
    }
}

#[inline(always)]
fn fold<S: Simd>(s: S, v: S::F, start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    math::store_at(s, &mut lanes, 0, v);
    // Halves at a time, since each step waits for the one before.
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}
