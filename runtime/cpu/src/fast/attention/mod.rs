//! Attention over heads in one pass: scores of a few queries against all keys, softmax in place, and the weighted
//! sum of the values, while the scores are in the first-level cache. Vaswani et al., "Attention Is All You Need".
//!
//! A piece of work is a block of queries of one head. It packs the keys once, transposed into panels as the
//! micro-kernel wants them, and the values row by row; a single query reads both where they are.

mod few;
mod mask;
mod softmax;

use super::gemm::kernels::Kernels;
use super::gemm::tile::{FinishFloat, Float, Tile};
use super::scratch::with_scratch;
use super::simd::{Simd, Task};
use super::{Exec, Isa, transpose};
use crate::pool::SharedSlice;
use few::Few;
use mask::Relevant;
pub use mask::{Mask, PerScore, Sight};
use softmax::Softmax;

/// Heads are cut into blocks of queries, of so many at least, only where there are fewer heads than this many pieces:
/// each block packs all of its head's keys and values.
const QUERIES: usize = 64;
const PIECES: usize = 8;
/// Up to so many queries, packing costs more than it saves.
const FEW: usize = 3;

/// Rows for each head of each batch: row `r` begins at `start + batch · strides[0] + head · strides[1] + r · strides[2]`.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    pub data: &'a [f32],
    pub start: usize,
    pub strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn check(&self, what: &str, counts: [usize; 3], size: usize) {
        let last = counts.iter().zip(self.strides).try_fold(self.start, |at, (&count, stride)| {
            (count - 1).checked_mul(stride).and_then(|x| x.checked_add(at))
        });
        let end = last.and_then(|at| at.checked_add(size));
        assert!(end.is_some_and(|end| end <= self.data.len()), "{what} lie outside of their data");
    }

    /// From the first row of a head on.
    fn of(&self, batch: usize, head: usize) -> &'a [f32] {
        &self.data[self.start + batch * self.strides[0] + head * self.strides[1]..]
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    /// Heads of keys and values, each for several heads of queries one after the other.
    pub key_heads: usize,
    pub queries: usize,
    pub keys: usize,
    /// Elements of a query and of a key.
    pub size: usize,
    /// Elements of a value.
    pub value_size: usize,
}

/// Where results go, batch after batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Head after head, in each the rows.
    HeadsFirst,
    /// Row after row, in each the heads.
    RowsFirst,
}

impl Order {
    /// Strides of batch, head and row.
    pub fn strides(self, heads: usize, rows: usize, size: usize) -> [usize; 3] {
        match self {
            Order::HeadsFirst => [heads * rows * size, rows * size, size],
            Order::RowsFirst => [heads * rows * size, size, heads * size],
        }
    }
}

/// What a call reads.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    pub shape: Shape,
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub mask: Mask<'a>,
    /// Without it, a query to which all keys are masked gets what the mask makes of them.
    pub sight: Option<Sight<'a>>,
    pub scale: f32,
}

/// `softmax(mask(q · kᵀ · scale)) · v` for every head.
///
/// # Panics
/// If the sizes do not fit together.
pub fn attention(exec: Exec<'_>, call: &Attention<'_>, order: Order, out: &mut [f32]) {
    let s = call.shape;
    assert_eq!(out.len(), s.batch * s.heads * s.queries * s.value_size, "size of the output");
    if out.is_empty() {
        return;
    }
    assert!(s.keys > 0 && s.key_heads > 0 && s.heads.is_multiple_of(s.key_heads), "keys for every head");
    call.q.check("queries", [s.batch, s.heads, s.queries], s.size);
    call.k.check("keys", [s.batch, s.key_heads, s.keys], s.size);
    call.v.check("values", [s.batch, s.key_heads, s.keys], s.value_size);
    match call.mask {
        Mask::None => {}
        Mask::Add(mask) => mask.check([s.batch, s.heads, s.queries, s.keys]),
        Mask::Keep(mask, _) => mask.check([s.batch, s.heads, s.queries, s.keys]),
    }
    if let Some(sight) = call.sight {
        sight.check(s.batch);
    }
    let strides = order.strides(s.heads, s.queries, s.value_size);
    let kernels = &Kernels::<Float>::of(exec.isa);
    let wanted = PIECES.div_ceil(s.batch * s.heads).min(s.queries.div_ceil(QUERIES));
    let block_len = s.queries.div_ceil(wanted).next_multiple_of(kernels.rows);
    let blocks = s.queries.div_ceil(block_len);
    let out = SharedSlice::new(out);
    exec.pool.parallel_for(s.batch * s.heads * blocks, &|piece| {
        let (rest, block) = (piece / blocks, piece % blocks);
        let (batch, head) = (rest / s.heads, rest % s.heads);
        let first = block * block_len;
        let queries = block_len.min(s.queries - first);
        let at = batch * strides[0] + head * strides[1] + first * strides[2];
        let piece =
            Piece { call, kernels, isa: exec.isa, batch, head, first, queries, out, at, row: strides[2] };
        if queries > FEW {
            return piece.run();
        }
        with_scratch(s.keys.next_multiple_of(kernels.lanes()), |scores| {
            exec.isa.run(Few { piece: &piece, scores });
        });
    });
}

/// A block of queries of one head.
struct Piece<'a, 'o> {
    call: &'a Attention<'a>,
    kernels: &'a Kernels<Float>,
    isa: Isa,
    batch: usize,
    head: usize,
    first: usize,
    queries: usize,
    out: SharedSlice<'o, f32>,
    /// Where the first result goes, and how far apart rows are.
    at: usize,
    row: usize,
}

impl Piece<'_, '_> {
    fn key_head(&self) -> usize {
        self.head / (self.call.shape.heads / self.call.shape.key_heads)
    }

    fn run(&self) {
        let s = self.call.shape;
        let width = self.kernels.panel;
        let panels = s.keys.div_ceil(width);
        let columns = s.value_size.next_multiple_of(self.kernels.lanes());
        let (keys_len, values_len) = (panels * width * s.size, s.keys * columns);
        let scores_row = panels * width;
        with_scratch(keys_len + values_len + self.kernels.rows * scores_row, |scratch| {
            let (keys, rest) = scratch.split_at_mut(keys_len);
            let (values, scores) = rest.split_at_mut(values_len);
            self.isa.run(Pack { piece: self, keys, values, columns });
            for first in (0..self.queries).step_by(self.kernels.rows) {
                let rows = self.kernels.rows.min(self.queries - first);
                let count = self.isa.run(Relevant { piece: self, first, rows });
                self.scores(first, rows, count, keys, scores);
                let scores = &mut scores[..rows * scores_row];
                self.isa.run(Softmax { piece: self, first, count, scores, row: scores_row });
                self.weigh(first, rows, count, scores, scores_row, (values, columns));
            }
        });
    }

    /// Scores of `rows` queries from `first` on against the first `count` keys, scaled.
    fn scores(&self, first: usize, rows: usize, count: usize, keys: &[f32], scores: &mut [f32]) {
        let s = self.call.shape;
        let width = self.kernels.panel;
        let row = s.keys.div_ceil(width) * width;
        let q = &self.call.q.of(self.batch, self.head)[(self.first + first) * self.call.q.strides[2]..];
        assert!(scores.len() >= rows * row && q.len() >= (rows - 1) * self.call.q.strides[2] + s.size);
        let finish = FinishFloat { alpha: self.call.scale, ..FinishFloat::nothing() };
        for (panel, keys) in keys.chunks_exact(width * s.size).enumerate() {
            let start = panel * width;
            if start >= count {
                break;
            }
            let tile = Tile {
                k: s.size,
                a: q.as_ptr(),
                a_row: self.call.q.strides[2],
                b: keys.as_ptr(),
                b_row: width,
                c: scores.as_mut_ptr().wrapping_add(start),
                c_row: row,
                n: width.min(count - start),
                resume: false,
                finish: Some(&finish),
                row: 0,
                col: 0,
                ahead: keys.as_ptr().wrapping_add(width * s.size).cast(),
                ahead_step: 64,
            };
            // SAFETY: `q` and `scores` reach to these rows (checked above), and a panel has `size` rows.
            unsafe { self.kernels.run_rows(rows, &tile) }
        }
    }

    /// The sums of the values weighted by the scores.
    fn weigh(
        &self,
        first: usize,
        rows: usize,
        count: usize,
        scores: &[f32],
        scores_row: usize,
        (values, columns): (&[f32], usize),
    ) {
        let s = self.call.shape;
        let lanes = self.kernels.lanes();
        // As equal parts as the widest tile allows.
        let vectors = columns / lanes;
        let part = vectors.div_ceil(vectors.div_ceil(self.kernels.panel / lanes)) * lanes;
        assert!(scores.len() >= (rows - 1) * scores_row + count && values.len() >= count * columns);
        for start in (0..s.value_size).step_by(part) {
            let n = part.min(s.value_size - start);
            let at = self.at + first * self.row + start;
            assert!(at + (rows - 1) * self.row + n <= self.out.len());
            let tile = Tile {
                k: count,
                a: scores.as_ptr(),
                a_row: scores_row,
                b: values[start..].as_ptr(),
                b_row: columns,
                c: self.out.as_mut_ptr().wrapping_add(at),
                c_row: self.row,
                n,
                resume: false,
                finish: None,
                row: 0,
                col: 0,
                ahead: values.as_ptr().cast(),
                ahead_step: 0,
            };
            // SAFETY: scores, values and output reach far enough (checked above); rows of values are filled up
            // to whole vectors; no other piece has these rows of the output.
            unsafe { self.kernels.run_rows(rows, &tile) }
        }
    }
}

/// Keys transposed into panels, zero beyond the last, and values in rows of `columns`, zero beyond their size.
struct Pack<'a, 'p, 'o> {
    piece: &'a Piece<'p, 'o>,
    keys: &'a mut [f32],
    values: &'a mut [f32],
    columns: usize,
}

impl Task for Pack<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (call, width) = (self.piece.call, self.piece.kernels.panel);
        let shape = call.shape;
        let (keys, values) = (
            call.k.of(self.piece.batch, self.piece.key_head()),
            call.v.of(self.piece.batch, self.piece.key_head()),
        );
        for (i, panel) in self.keys.chunks_exact_mut(width * shape.size).enumerate() {
            let first = i * width;
            let count = width.min(shape.keys - first);
            let row = |i: usize| &keys[(first + i) * call.k.strides[2]..][..shape.size];
            for four in (0..count / 4 * 4).step_by(4) {
                let rows = [row(four), row(four + 1), row(four + 2), row(four + 3)];
                transpose::four_rows(s, rows, &mut panel[four..], width);
            }
            for i in count / 4 * 4..count {
                panel[i..].iter_mut().step_by(width).zip(row(i)).for_each(|(out, &x)| *out = x);
            }
            for i in 0..shape.size {
                panel[i * width + count..(i + 1) * width].fill(0.0);
            }
        }
        for (i, out) in self.values.chunks_exact_mut(self.columns.max(1)).enumerate() {
            let (out, rest) = out.split_at_mut(shape.value_size);
            super::copy::copy(out, &values[i * call.v.strides[2]..][..shape.value_size]);
            rest.fill(0.0);
        }
    }
}
