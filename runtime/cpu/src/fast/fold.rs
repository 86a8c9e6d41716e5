//! Reductions: one engine for sums, products and extremes along any axes.
//!
//! The input is seen as `outer × n × inner`, of which the middle is folded. It is cut into pieces that the shape
//! alone fixes, and their results are joined in order.

use super::extremes::{self, Extreme, Greatest, Least};
use super::simd::vectorised;
use super::{Exec, Isa};

/// Elements of a row that are folded in one piece.
const PIECE: usize = 32 * 1024;
/// Rows of a column that are folded in one piece.
const TALL: usize = 256;
/// Columns whose results stay in the first cache.
const BLOCK: usize = 512;
/// Partial results of one row.
const LANES: usize = 64;

/// How elements become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    Sum,
    /// The sum of squares.
    Squares,
    /// The sum of absolute values.
    Magnitudes,
    Product,
    /// NaN where any element is.
    Max,
    /// NaN where any element is.
    Min,
}

/// How elements are taken in, beginning with `start`, and how such partial results are joined.
struct Way<T, J> {
    start: f32,
    take: T,
    join: J,
}

#[inline(always)]
pub(crate) fn greater(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if b < a || b.is_nan() { b } else { a }
}

fn way<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32>(start: f32, take: T, join: J) -> Way<T, J> {
    Way { start, take, join }
}

#[inline(always)]
fn plus(a: f32, b: f32) -> f32 {
    a + b
}

#[inline(always)]
fn plus_square(a: f32, b: f32) -> f32 {
    a + b * b
}

#[inline(always)]
fn plus_magnitude(a: f32, b: f32) -> f32 {
    a + b.abs()
}

#[inline(always)]
fn times(a: f32, b: f32) -> f32 {
    a * b
}

/// Calls a closure, which is written out for each way.
macro_rules! with_way {
    ($fold:expr, $call:expr) => {
        match $fold {
            Fold::Sum => $call(way(0.0, plus, plus)),
            Fold::Squares => $call(way(0.0, plus_square, plus)),
            Fold::Magnitudes => $call(way(0.0, plus_magnitude, plus)),
            Fold::Product => $call(way(1.0, times, times)),
            Fold::Max => $call(way(f32::NEG_INFINITY, greater, greater)),
            Fold::Min => $call(way(f32::INFINITY, smaller, smaller)),
        }
    };
}

impl Fold {
    /// What folds the results of this one.
    pub fn joining(self) -> Fold {
        match self {
            Fold::Squares | Fold::Magnitudes => Fold::Sum,
            other => other,
        }
    }

    /// One row, in lanes whatever the instruction set, so that the result does not depend on it.
    pub fn row(self, isa: Isa, x: &[f32]) -> f32 {
        with_way!(self, |way| vectorised(
            isa,
            #[inline(always)]
            || row(&way, x)
        ))
    }

    /// Folds the middle of `outer × n × inner` into `out`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn middle(self, exec: Exec<'_>, x: &[f32], [outer, n, inner]: [usize; 3], out: &mut [f32]) {
        assert!(x.len() == outer * n * inner && out.len() == outer * inner, "sizes of input and output");
        if out.is_empty() {
            return;
        }
        let tall = if inner == 1 { PIECE } else { TALL };
        let pieces = n.div_ceil(tall).max(1);
        if pieces == 1 {
            return self.pieces(exec, x, [outer, n, inner], n, out);
        }
        let mut parts = vec![0.0; outer * pieces * inner];
        self.pieces(exec, x, [outer, n, inner], tall, &mut parts);
        self.joining().middle(exec, &parts, [outer, pieces, inner], out);
    }

    /// Folds each `tall` of the `n` by itself: `out` is `outer × pieces × inner`.
    fn pieces(self, exec: Exec<'_>, x: &[f32], sizes: [usize; 3], tall: usize, out: &mut [f32]) {
        match self {
            Fold::Max if sizes[2] == 1 => extreme_rows(exec, Greatest, x, sizes[1], tall, out),
            Fold::Min if sizes[2] == 1 => extreme_rows(exec, Least, x, sizes[1], tall, out),
            _ => with_way!(self, |way| pass(exec, &way, x, sizes, tall, out)),
        }
    }
}

/// The extreme of each `tall` of rows of `n`.
fn extreme_rows<E: Extreme>(exec: Exec<'_>, extreme: E, x: &[f32], n: usize, tall: usize, out: &mut [f32]) {
    let pieces = n.div_ceil(tall.max(1)).max(1);
    let grain = (PIECE / tall.max(1)).max(1);
    exec.pool.parallel_chunks(out, grain, &|chunk, out| {
        let piece = |at: usize| {
            let (o, p) = (at / pieces, at % pieces);
            &x[o * n + p * tall..][..(n - p * tall).min(tall)]
        };
        extremes::rows(exec.isa, extreme, (chunk * grain..).map(piece), out);
    });
}

/// As [`Fold::pieces`].
fn pass<T, J>(
    exec: Exec<'_>,
    way: &Way<T, J>,
    x: &[f32],
    [outer, n, inner]: [usize; 3],
    tall: usize,
    out: &mut [f32],
) where
    T: Fn(f32, f32) -> f32 + Sync,
    J: Fn(f32, f32) -> f32 + Sync,
{
    let pieces = out.len() / (outer * inner);
    // Some tens of µs of work, and no less than a block of columns.
    let grain =
        (PIECE / n.min(tall).max(1)).max(if inner < LANES { inner } else { BLOCK }) / inner.max(1) * inner;
    let grain = if grain == 0 { BLOCK } else { grain };
    exec.pool.parallel_chunks(out, grain, &|chunk, out| {
        vectorised(
            exec.isa,
            #[inline(always)]
            || {
                let mut at = chunk * grain;
                let mut rest = out;
                while !rest.is_empty() {
                    let (piece, column) = (at / inner, at % inner);
                    let width = (inner - column).min(rest.len()).min(BLOCK);
                    let (now, behind) = rest.split_at_mut(width);
                    let (o, p) = (piece / pieces, piece % pieces);
                    let rows = (n - p * tall).min(tall);
                    let x = &x[(o * n + p * tall) * inner..][..rows * inner];
                    match inner {
                        1 => now[0] = row(way, x),
                        // Whole rows lie side by side.
                        _ if inner < LANES && width == inner => narrow(way, x, now),
                        _ => columns(way, x.get(column..).unwrap_or_default(), inner, rows, now),
                    }
                    at += width;
                    rest = behind;
                }
            },
        );
    });
}

/// All lanes in one, pair by pair.
#[inline(always)]
fn joined(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn row<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32>(way: &Way<T, J>, x: &[f32]) -> f32 {
    if x.len() < 32 {
        return x.iter().fold(way.start, |a, &x| (way.take)(a, x));
    }
    let mut lanes = [way.start; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
    joined(lanes, &way.join)
}

/// Columns fewer than lanes: several rows side by side in the lanes.
#[inline(always)]
fn narrow<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32>(way: &Way<T, J>, x: &[f32], out: &mut [f32]) {
    let inner = out.len();
    let width = LANES / inner * inner;
    let mut lanes = [way.start; LANES];
    for chunk in x.chunks(width) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
    }
    out.fill(way.start);
    for group in lanes[..width].chunks_exact(inner) {
        out.iter_mut().zip(group).for_each(|(out, &x)| *out = (way.join)(*out, x));
    }
}

/// `out` folds columns that lie `stride` apart from row to row: as many as fit into registers at a time.
#[inline(always)]
fn columns<T, J>(way: &Way<T, J>, x: &[f32], stride: usize, rows: usize, out: &mut [f32])
where
    T: Fn(f32, f32) -> f32,
{
    for (strip, out) in out.chunks_mut(LANES).enumerate() {
        let x = x.get(strip * LANES..).unwrap_or_default();
        if out.len() < LANES {
            out.fill(way.start);
            for r in 0..rows {
                out.iter_mut().zip(&x[r * stride..]).for_each(|(out, &x)| *out = (way.take)(*out, x));
            }
            continue;
        }
        let mut lanes = [way.start; LANES];
        for r in 0..rows {
            let x = &x[r * stride..][..LANES];
            lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
        }
        out.copy_from_slice(&lanes);
    }
}
