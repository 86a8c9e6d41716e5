//! Reductions: one engine for sums, products and extremes along any axes.
//!
//! The input is seen as `outer × n × inner`, of which the middle is folded. It is cut into pieces that the shape
//! alone fixes, and their results are joined in order.

use super::simd::{MOST_LANES, vectorised};
use super::{Exec, Isa, short};

/// Elements of a row that are folded in one piece.
pub(super) const PIECE: usize = 32 * 1024;
/// Rows of a column that are folded in one piece.
const TALL: usize = 256;
/// Columns whose results stay in the first cache.
const BLOCK: usize = 512;
/// Columns that are folded in registers at least; fewer are seen as parts of longer rows.
pub(super) const STRIP: usize = MOST_LANES;
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
pub(super) struct Way<T, J> {
    pub(super) start: f32,
    pub(super) take: T,
    pub(super) join: J,
}

#[inline(always)]
pub(crate) fn greater(a: f32, b: f32) -> f32 {
    // In two steps, of which the first is one instruction.
    let found = if b > a { b } else { a };
    if b.is_nan() { b } else { found }
}

#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    let found = if b < a { b } else { a };
    if b.is_nan() { b } else { found }
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
        if short::suits(sizes) {
            return with_way!(self, |way| short::fold(exec, &way, x, sizes, out));
        }
        with_way!(self, |way| pass(exec, &way, x, sizes, tall, out));
    }
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
        (PIECE / n.min(tall).max(1)).max(if inner < STRIP { inner } else { BLOCK }) / inner.max(1) * inner;
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
                        _ if inner < STRIP && width == inner => narrow(way, x, now),
                        _ => columns(way, x.get(column..).unwrap_or_default(), inner, rows, now),
                    }
                    at += width;
                    rest = behind;
                }
            },
        );
    });
}

/// What elements `take` leaves in lanes: as many whatever the instruction set, so that the result does not depend on it.
pub(super) type Lanes = [[f32; STRIP]; LANES / STRIP];

/// Takes one element into each lane.
#[inline(always)]
fn take_all(lanes: &mut Lanes, take: impl Fn(f32, f32) -> f32, x: &[f32; LANES]) {
    let (parts, _) = x.as_chunks::<STRIP>();
    for (lanes, x) in lanes.iter_mut().zip(parts) {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = take(*lane, x));
    }
}

/// A row's elements in lanes, but for the last ones, which do not fill them.
#[inline(always)]
pub(super) fn whole_lanes(start: f32, take: impl Fn(f32, f32) -> f32, x: &[f32]) -> (Lanes, &[f32]) {
    let mut lanes = [[start; STRIP]; LANES / STRIP];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        take_all(&mut lanes, &take, chunk);
    }
    (lanes, rest)
}

/// A quarter of the lanes, each joined with those of the others.
#[inline(always)]
pub(super) fn quarter([a, b, c, d]: Lanes, join: impl Fn(f32, f32) -> f32) -> [f32; STRIP] {
    let mut joined = [0.0; STRIP];
    for (i, joined) in joined.iter_mut().enumerate() {
        *joined = join(join(a[i], b[i]), join(c[i], d[i]));
    }
    joined
}

#[inline(always)]
fn row<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32>(way: &Way<T, J>, x: &[f32]) -> f32 {
    if x.len() < STRIP {
        return x.iter().fold(way.start, |a, &x| (way.take)(a, x));
    }
    let (mut lanes, rest) = whole_lanes(way.start, &way.take, x);
    for (lanes, x) in lanes.iter_mut().zip(rest.chunks(STRIP)) {
        lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
    }
    let mut lanes = quarter(lanes, &way.join);
    // Pair by pair.
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] = (way.join)(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// Columns fewer than lanes: several rows side by side in the lanes.
#[inline(always)]
fn narrow<T: Fn(f32, f32) -> f32, J: Fn(f32, f32) -> f32>(way: &Way<T, J>, x: &[f32], out: &mut [f32]) {
    let inner = out.len();
    let width = LANES / inner * inner;
    let (lanes, rest) = match width {
        LANES => whole_lanes(way.start, &way.take, x),
        _ => ([[way.start; STRIP]; LANES / STRIP], x),
    };
    let mut lanes: [f32; LANES] = bytemuck::cast(lanes);
    for chunk in rest.chunks(width) {
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
    // Of no rows there is nothing.
    let behind = |first: usize| x.get(first..).unwrap_or_default();
    let mut first = strips::<LANES, T, J>(way, x, stride, rows, out);
    first += strips::<STRIP, T, J>(way, behind(first), stride, rows, &mut out[first..]);
    let out = &mut out[first..];
    out.fill(way.start);
    for x in behind(first).chunks(stride).take(rows) {
        out.iter_mut().zip(x).for_each(|(out, &x)| *out = (way.take)(*out, x));
    }
}

/// As many columns as there are strips of `WIDTH`, each in registers. Tells how many columns these are.
#[inline(always)]
fn strips<const WIDTH: usize, T, J>(
    way: &Way<T, J>,
    x: &[f32],
    stride: usize,
    rows: usize,
    out: &mut [f32],
) -> usize
where
    T: Fn(f32, f32) -> f32,
{
    let (strips, _) = out.as_chunks_mut::<WIDTH>();
    for (strip, out) in strips.iter_mut().enumerate() {
        let mut lanes = [way.start; WIDTH];
        for r in 0..rows {
            let x = &x[strip * WIDTH + r * stride..][..WIDTH];
            lanes.iter_mut().zip(x).for_each(|(lane, &x)| *lane = (way.take)(*lane, x));
        }
        *out = lanes;
    }
    strips.len() * WIDTH
}
