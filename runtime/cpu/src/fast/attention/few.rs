//! A few queries: packing the keys and values of their head would cost more than it saves.

use super::Piece;
use super::softmax::softmax;
use crate::fast::math;
use crate::fast::simd::{Simd, Task};

/// A piece of so few queries that keys and values are read where they are.
pub(super) struct Few<'a, 'p, 'o> {
    pub piece: &'a Piece<'p, 'o>,
    /// Room for one query's, in whole vectors.
    pub scores: &'a mut [f32],
}

impl Task for Few<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Few { piece, scores } = self;
        let call = piece.call;
        let shape = call.shape;
        let q = call.q.of(piece.batch, piece.head);
        let keys = call.k.of(piece.batch, piece.key_head());
        let values = call.v.of(piece.batch, piece.key_head());
        let key = |i: usize| &keys[i * call.k.strides[2]..][..shape.size];
        for query in 0..piece.queries {
            let q = &q[(piece.first + query) * call.q.strides[2]..][..shape.size];
            let mut i = 0;
            while i + 4 <= shape.keys {
                let dots = dot4(s, q, [key(i), key(i + 1), key(i + 2), key(i + 3)]);
                scores[i..i + 4].copy_from_slice(&dots.map(|x| x * call.scale));
                i += 4;
            }
            for (i, score) in scores[..shape.keys].iter_mut().enumerate().skip(i) {
                *score = dot4(s, q, [key(i); 4])[0] * call.scale;
            }
            piece.masked(s, query, &mut scores[..shape.keys]);
            scores[shape.keys..].fill(f32::NEG_INFINITY);
            softmax(s, scores, call.sight.is_some());
            let at = piece.at + query * piece.row;
            // SAFETY: no other piece has this row.
            let out = unsafe { piece.out.range(at..at + shape.value_size) };
            for start in (0..shape.value_size).step_by(4 * S::LANES) {
                let out = &mut out[start..shape.value_size.min(start + 4 * S::LANES)];
                let mut sums = [s.splat(0.0); 4];
                for (i, &weight) in scores[..shape.keys].iter().enumerate() {
                    let value = &values[i * call.v.strides[2] + start..][..out.len()];
                    let weight = s.splat(weight);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let at = (j * S::LANES).min(value.len());
                        *sum = s.fma(weight, math::load_at(s, value, at), *sum);
                    }
                }
                for (j, sum) in sums.into_iter().enumerate() {
                    let at = (j * S::LANES).min(out.len());
                    math::store_at(s, out, at, sum);
                }
            }
        }
    }
}

/// The products of one vector with four others.
#[inline(always)]
fn dot4<S: Simd>(s: S, q: &[f32], keys: [&[f32]; 4]) -> [f32; 4] {
    let mut sums = [s.splat(0.0); 4];
    for at in (0..q.len()).step_by(S::LANES) {
        let x = math::load_at(s, q, at);
        for (sum, key) in sums.iter_mut().zip(keys) {
            *sum = s.fma(x, math::load_at(s, key, at), *sum);
        }
    }
    // Lane by lane of all four: every fourth lane of the sum belongs to the same key.
    let [a, b, c, d] = s.interleave(sums);
    let mut lanes = [0.0; 16];
    math::store_at(s, &mut lanes, 0, s.add(s.add(a, b), s.add(c, d)));
    let mut dots = [0.0; 4];
    for four in lanes.chunks_exact(4) {
        dots.iter_mut().zip(four).for_each(|(dot, x)| *dot += x);
    }
    dots
}
