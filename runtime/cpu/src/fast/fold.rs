//! Reductions: one engine for sums, products and extremes along any axes.
//!
//! The input is seen as `outer × n × inner`, of which the middle is folded. It is cut into [`Blocks`] of rows, which the
//! shape alone fixes, and their results are joined in order. In which order a block's elements come together depends on
//! its shape as well, never on the instruction set, so that no result does.

use super::short;
use super::simd::{MOST_LANES, Simd, Task};
use super::{Exec, Isa};

/// Elements of a row that are folded in one piece.
const PIECE: usize = 32 * 1024;
/// Rows of a column that are folded in one piece.
const TALL: usize = 256;
/// Columns whose results stay in the first cache.
const BLOCK: usize = 512;
/// Fewer columns are seen as parts of longer rows.
const NARROW: usize = MOST_LANES;

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

/// Arithmetic on numbers one by one, or on vectors of them.
pub(super) trait Number: Copy {
    type V: Copy;
    fn plus(self, a: Self::V, b: Self::V) -> Self::V;
    fn times(self, a: Self::V, b: Self::V) -> Self::V;
    fn magnitude(self, a: Self::V) -> Self::V;
    /// NaN where either is, and the first of equals.
    fn greater(self, a: Self::V, b: Self::V) -> Self::V;
    /// NaN where either is, and the first of equals.
    fn smaller(self, a: Self::V, b: Self::V) -> Self::V;
}

/// Numbers one by one.
#[derive(Clone, Copy)]
pub(super) struct One;

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

impl Number for One {
    type V = f32;

    #[inline(always)]
    fn plus(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn times(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn magnitude(self, a: f32) -> f32 {
        a.abs()
    }
    #[inline(always)]
    fn greater(self, a: f32, b: f32) -> f32 {
        greater(a, b)
    }
    #[inline(always)]
    fn smaller(self, a: f32, b: f32) -> f32 {
        smaller(a, b)
    }
}

impl<S: Simd> Number for S {
    type V = S::F;

    #[inline(always)]
    fn plus(self, a: S::F, b: S::F) -> S::F {
        self.add(a, b)
    }
    #[inline(always)]
    fn times(self, a: S::F, b: S::F) -> S::F {
        self.mul(a, b)
    }
    #[inline(always)]
    fn magnitude(self, a: S::F) -> S::F {
        self.copy_sign(a, self.splat(0.0))
    }
    #[inline(always)]
    fn greater(self, a: S::F, b: S::F) -> S::F {
        self.select(self.is_nan(b), b, self.max(b, a))
    }
    #[inline(always)]
    fn smaller(self, a: S::F, b: S::F) -> S::F {
        self.select(self.is_nan(b), b, self.min(b, a))
    }
}

/// How elements are taken in, beginning with `START`, and how such partial results are joined.
pub(super) trait Way: Copy + Send + Sync {
    const START: f32;
    fn take<N: Number>(self, n: N, folded: N::V, x: N::V) -> N::V;
    fn join<N: Number>(self, n: N, a: N::V, b: N::V) -> N::V;
}

/// Names a way for each `Fold`, and a macro that calls with the one meant.
macro_rules! ways {
    ($($name:ident: $start:expr, |$n:ident, $a:ident, $x:ident| $take:expr, $join:ident;)*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;

            impl Way for $name {
                const START: f32 = $start;

                #[inline(always)]
                fn take<N: Number>(self, $n: N, $a: N::V, $x: N::V) -> N::V {
                    $take
                }
                #[inline(always)]
                fn join<N: Number>(self, n: N, a: N::V, b: N::V) -> N::V {
                    n.$join(a, b)
                }
            }
        )*

        macro_rules! with_way {
            ($fold:expr, $call:expr) => {
                match $fold {
                    $(Fold::$name => $call($name),)*
                }
            };
        }
    };
}

ways! {
    Sum: 0.0, |n, a, x| n.plus(a, x), plus;
    Squares: 0.0, |n, a, x| n.plus(a, n.times(x, x)), plus;
    Magnitudes: 0.0, |n, a, x| n.plus(a, n.magnitude(x)), plus;
    Product: 1.0, |n, a, x| n.times(a, x), times;
    Max: f32::NEG_INFINITY, |n, a, x| n.greater(a, x), greater;
    Min: f32::INFINITY, |n, a, x| n.smaller(a, x), smaller;
}

impl Fold {
    /// What folds the results of this one.
    pub fn joining(self) -> Fold {
        match self {
            Fold::Squares | Fold::Magnitudes => Fold::Sum,
            other => other,
        }
    }

    /// One row.
    pub fn row(self, isa: Isa, x: &[f32]) -> f32 {
        let mut out = [0.0];
        let blocks = Blocks { x, n: x.len(), inner: 1, tall: x.len(), pieces: 1 };
        with_way!(self, |way| isa.run(Part { way, blocks, first: 0, out: &mut out }));
        out[0]
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
            return self.pieces(exec, Blocks { x, n, inner, tall: n, pieces }, out);
        }
        let mut parts = vec![0.0; outer * pieces * inner];
        self.pieces(exec, Blocks { x, n, inner, tall, pieces }, &mut parts);
        self.joining().middle(exec, &parts, [outer, pieces, inner], out);
    }

    /// Folds each block by itself: `out` is `outer × pieces × inner`.
    fn pieces(self, exec: Exec<'_>, blocks: Blocks<'_>, out: &mut [f32]) {
        // Some tens of µs of work: of narrow blocks all columns, of wide ones no less than stay in the first cache.
        let several = PIECE / blocks.tall.max(1);
        let grain = match blocks.inner {
            inner if several / inner > MOST_LANES => (several / inner).next_multiple_of(MOST_LANES) * inner,
            inner if inner < NARROW => (several / inner).max(1) * inner,
            inner if inner <= BLOCK => (several.max(BLOCK) / inner).max(1) * inner,
            _ => several.max(BLOCK),
        };
        exec.pool.parallel_chunks(out, grain, &|chunk, out| {
            let first = chunk * grain;
            with_way!(self, |way| exec.isa.run(Part { way, blocks, first, out }));
        });
    }
}

/// `outer × n × inner`, the middle cut into pieces of `tall` rows: each block has no gaps, and follows the one before.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'a> {
    x: &'a [f32],
    n: usize,
    pub(super) inner: usize,
    tall: usize,
    pieces: usize,
}

impl<'a> Blocks<'a> {
    #[inline(always)]
    pub(super) fn get(&self, block: usize) -> &'a [f32] {
        let Blocks { x, n, inner, tall, pieces } = *self;
        if pieces == 1 {
            return &x[block * n * inner..][..n * inner];
        }
        let (o, p) = (block / pieces, block % pieces);
        &x[(o * n + p * tall) * inner..][..(n - p * tall).min(tall) * inner]
    }

    /// All elements from a block on.
    #[inline(always)]
    pub(super) fn from(&self, block: usize) -> &'a [f32] {
        &self.x[block / self.pieces * self.n * self.inner..]
    }

    /// The elements of each block, where all have as many.
    pub(super) fn even(&self) -> Option<usize> {
        (self.pieces == 1).then_some(self.n * self.inner)
    }
}

/// Results from the one numbered `first` on.
struct Part<'a, W> {
    way: W,
    blocks: Blocks<'a>,
    first: usize,
    out: &'a mut [f32],
}

impl<W: Way> Task for Part<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Part { way, blocks, first, out } = self;
        let inner = blocks.inner;
        if inner < NARROW {
            return short::fold(s, way, blocks, first / inner, out);
        }
        let (mut block, mut column, mut rest) = (first / inner, first % inner, out);
        while !rest.is_empty() {
            let width = (inner - column).min(rest.len()).min(BLOCK);
            let (now, behind) = rest.split_at_mut(width);
            columns(s, way, blocks.get(block), (inner, column), now);
            column += width;
            if column == inner {
                (block, column) = (block + 1, 0);
            }
            rest = behind;
        }
    }
}

/// Columns of a block `inner` wide, from the one numbered `first` on: as many at a time as fit into registers.
#[inline(always)]
fn columns<W: Way, S: Simd>(s: S, way: W, x: &[f32], (inner, first): (usize, usize), out: &mut [f32]) {
    let at = strips::<8, W, S>(s, way, x, (inner, first), 0, out);
    let at = strips::<4, W, S>(s, way, x, (inner, first), at, out);
    let at = strips::<1, W, S>(s, way, x, (inner, first), at, out);
    let rest = &mut out[at..];
    if rest.is_empty() {
        return;
    }
    let mut folded = s.splat(W::START);
    for row in x.chunks_exact(inner) {
        let row = &row[first + at..][..rest.len()];
        // SAFETY: `row` has so many elements.
        folded = way.take(s, folded, unsafe { s.load_part(row.as_ptr(), row.len()) });
    }
    // SAFETY: `rest` has so many elements, fewer than a vector.
    unsafe { s.store_part(rest.as_mut_ptr(), rest.len(), folded) };
}

/// As many columns from `at` on as there are strips of so many vectors. Tells where they end.
#[inline(always)]
fn strips<const VECTORS: usize, W: Way, S: Simd>(
    s: S,
    way: W,
    x: &[f32],
    (inner, first): (usize, usize),
    mut at: usize,
    out: &mut [f32],
) -> usize {
    let width = VECTORS * S::LANES;
    while at + width <= out.len() {
        let mut folded = [s.splat(W::START); VECTORS];
        for row in x.chunks_exact(inner) {
            let row = &row[first + at..][..width];
            for (i, folded) in folded.iter_mut().enumerate() {
                // SAFETY: `row` has as many vectors.
                *folded = way.take(s, *folded, unsafe { s.load(row.as_ptr().add(i * S::LANES)) });
            }
        }
        let strip = &mut out[at..][..width];
        for (i, &folded) in folded.iter().enumerate() {
            // SAFETY: `strip` has as many vectors.
            unsafe { s.store(strip.as_mut_ptr().add(i * S::LANES), folded) };
        }
        at += width;
    }
    at
}
