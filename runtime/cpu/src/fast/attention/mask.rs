//! What is done to scores before the softmax, and what need not be computed because of it.

use std::ops::Range;

use super::Piece;
use crate::fast::math;
use crate::fast::simd::{Simd, Task};

/// A number for each score, at the sum of its indices (batch, head, query, key) times the strides.
#[derive(Clone, Copy)]
pub struct PerScore<'a, T> {
    pub data: &'a [T],
    pub strides: [usize; 4],
}

impl<'a, T: Copy> PerScore<'a, T> {
    fn row(&self, [batch, head, query]: [usize; 3]) -> &'a [T] {
        let [b, h, q, _] = self.strides;
        &self.data[batch * b + head * h + query * q..]
    }

    pub(super) fn check(&self, counts: [usize; 4]) {
        let last: usize = counts.iter().zip(self.strides).map(|(count, stride)| (count - 1) * stride).sum();
        assert!(last < self.data.len(), "the mask is too small");
        assert!(self.strides[3] <= 1, "keys of a mask lie side by side");
    }
}

/// What is done to scores before the softmax.
#[derive(Clone, Copy)]
pub enum Mask<'a> {
    None,
    Add(PerScore<'a, f32>),
    /// Where zero, the score is replaced.
    Keep(PerScore<'a, u8>, f32),
}

/// Which keys a query sees, by where it stands; the others have no weight, and a query that sees none gets zeros.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// For each batch, how many keys stand before the first query; negative: it stands before the first key.
    pub past: &'a [i64],
    /// Whether queries see nothing behind themselves.
    pub causal: bool,
    /// How many keys a query sees at most, itself the last of them.
    pub window: Option<usize>,
    /// For each batch, how many keys count.
    pub lengths: Option<&'a [usize]>,
}

impl Sight<'_> {
    pub(super) fn of(&self, batch: usize, query: usize, keys: usize) -> Range<usize> {
        let own = self.past[batch].saturating_add_unsigned(query as u64).saturating_add(1);
        let own = usize::try_from(own).unwrap_or(0);
        let end = if self.causal { own.min(keys) } else { keys };
        let end = self.lengths.map_or(end, |lengths| end.min(lengths[batch]));
        let start = self.window.map_or(0, |window| own.saturating_sub(window));
        start.min(end)..end
    }

    pub(super) fn check(&self, batch: usize) {
        let enough = self.past.len() >= batch && self.lengths.is_none_or(|lengths| lengths.len() >= batch);
        assert!(enough, "sight for every batch");
    }
}

impl Piece<'_, '_> {
    /// Changes one query's scores as the mask says.
    #[inline(always)]
    pub(super) fn masked<S: Simd>(&self, s: S, query: usize, scores: &mut [f32]) {
        let place = [self.batch, self.head, self.first + query];
        match self.call.mask {
            Mask::None => {}
            Mask::Add(mask) if mask.strides[3] == 0 => {
                let add = mask.row(place)[0];
                scores.iter_mut().for_each(|x| *x += add);
            }
            Mask::Add(mask) => {
                let mask = &mask.row(place)[..scores.len()];
                for at in (0..scores.len()).step_by(S::LANES) {
                    let sum = s.add(math::load_at(s, scores, at), math::load_at(s, mask, at));
                    math::store_at(s, scores, at, sum);
                }
            }
            Mask::Keep(mask, fill) if mask.strides[3] == 0 => {
                if mask.row(place)[0] == 0 {
                    scores.fill(fill);
                }
            }
            Mask::Keep(mask, fill) => {
                let keep = &mask.row(place)[..scores.len()];
                scores.iter_mut().zip(keep).for_each(|(x, &keep)| *x = if keep == 0 { fill } else { *x });
            }
        }
        if let Some(sight) = self.call.sight {
            let seen = sight.of(self.batch, self.first + query, self.call.shape.keys);
            let end = seen.end.min(scores.len());
            scores[..seen.start.min(end)].fill(f32::NEG_INFINITY);
            scores[end..].fill(f32::NEG_INFINITY);
        }
    }
}

/// How many keys count for some of a few queries: those behind are masked so heavily that their weights are zero.
pub(super) struct Relevant<'a, 'p, 'o> {
    pub piece: &'a Piece<'p, 'o>,
    pub first: usize,
    pub rows: usize,
}

/// Added or put in place of a score, this leaves no weight beside any usual score.
const NOTHING: f32 = -1e30;

impl Task for Relevant<'_, '_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        let call = self.piece.call;
        let mut keys = call.shape.keys;
        if let Some(sight) = call.sight {
            let queries = self.piece.first + self.first..self.piece.first + self.first + self.rows;
            keys = queries.map(|query| sight.of(self.piece.batch, query, keys).end).max().unwrap_or(0);
        }
        let mut count = 0;
        for query in self.first..self.first + self.rows {
            let place = [self.piece.batch, self.piece.head, self.piece.first + query];
            let last = match call.mask {
                Mask::Add(mask) if mask.strides[3] == 1 => {
                    mask.row(place)[..keys].iter().rposition(|&x| x > NOTHING || x.is_nan())
                }
                Mask::Keep(mask, fill) if mask.strides[3] == 1 && fill <= NOTHING => {
                    mask.row(place)[..keys].iter().rposition(|&keep| keep != 0)
                }
                _ => return keys,
            };
            // A query to which all keys are masked weighs them by their scores.
            let Some(last) = last else { return keys };
            count = count.max(last + 1);
        }
        count
    }
}
