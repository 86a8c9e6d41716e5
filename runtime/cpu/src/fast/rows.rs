//! Functions of whole rows: softmax, normalisations, sums.
//!
//! A row is summed in several vectors of partial sums, which are added up pair by pair, so results depend on the
//! instruction set but not on threads.

use super::Exec;
use super::math;
use super::simd::{MOST_LANES, Simd, Task};
use super::softmax;

/// Elements of one piece of work: some µs, since there may be few rows.
const PIECE: usize = 8 * 1024;

/// What is computed of each row.
#[derive(Clone, Copy)]
pub enum RowFunction<'a> {
    /// `e^(x - max) / Σ e^(x - max)`.
    Softmax,
    /// `x - max - ln Σ e^(x - max)`.
    LogSoftmax,
    /// `x / |x|`, of order 1 or 2; zero where that is zero.
    Unit { order: u32 },
    /// As `LayerNorm`, but a row is `channels` channels of many elements, and each has a scale and a shift: the
    /// first row those of the first channels, and so on, round and round.
    ChannelNorm { scale: &'a [f32], shift: &'a [f32], channels: usize, epsilon: f32 },
    /// `(x - mean) / √(variance + epsilon) · scale + shift`.
    LayerNorm { scale: Option<&'a [f32]>, shift: Option<&'a [f32]>, epsilon: f32 },
    /// `x / √(mean of x² + epsilon) · scale`.
    RmsNorm { scale: Option<&'a [f32]>, epsilon: f32 },
}

/// Applies `function` to each row of `columns` elements.
///
/// # Panics
/// If the sizes do not fit together.
pub fn map_rows(exec: Exec<'_>, function: RowFunction<'_>, x: &[f32], columns: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "sizes of input and output");
    let (scale, shift) = match function {
        RowFunction::Softmax | RowFunction::LogSoftmax | RowFunction::Unit { .. } => (None, None),
        RowFunction::ChannelNorm { scale, shift, channels, .. } => {
            let fit = scale.len() == shift.len() && scale.len().is_multiple_of(channels);
            assert!(fit && columns.is_multiple_of(channels), "a scale and a shift for each channel");
            (None, None)
        }
        RowFunction::LayerNorm { scale, shift, .. } => (scale, shift),
        RowFunction::RmsNorm { scale, .. } => (scale, None),
    };
    assert!(scale.is_none_or(|scale| scale.len() == columns), "one scale for each column");
    assert!(shift.is_none_or(|shift| shift.len() == columns), "one shift for each column");
    if out.is_empty() {
        return;
    }
    assert!(columns > 0 && x.len().is_multiple_of(columns), "the input must be whole rows");
    let rows = (PIECE / columns).max(1).next_multiple_of(softmax::together(columns));
    exec.pool.parallel_chunks(out, rows * columns, &|piece, out| {
        let x = &x[piece * rows * columns..][..out.len()];
        exec.isa.run(Rows { function, x, columns, first: piece * rows, out });
    });
}

struct Rows<'a> {
    function: RowFunction<'a>,
    x: &'a [f32],
    columns: usize,
    /// The number of the first row.
    first: usize,
    out: &'a mut [f32],
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if let RowFunction::Softmax | RowFunction::LogSoftmax = self.function {
            let log = matches!(self.function, RowFunction::LogSoftmax);
            return softmax::rows(s, log, self.x, self.columns, self.out);
        }
        let rows = self.x.chunks_exact(self.columns).zip(self.out.chunks_exact_mut(self.columns));
        for (row, (x, out)) in rows.enumerate() {
            match self.function {
                // All rows at once, above.
                RowFunction::Softmax | RowFunction::LogSoftmax => {}
                RowFunction::Unit { order } => {
                    let norm = match order {
                        1 => reduce(s, Reduction::Magnitudes, x),
                        _ => reduce(s, Reduction::SquaresAround(0.0), x).sqrt(),
                    };
                    let factor = if norm == 0.0 { 0.0 } else { 1.0 / norm };
                    normalise(s, x, 0.0, factor, None, None, out);
                }
                RowFunction::ChannelNorm { scale, shift, channels, epsilon } => {
                    let mean = reduce(s, Reduction::Sum, x) / x.len() as f32;
                    let variance = reduce(s, Reduction::SquaresAround(mean), x) / x.len() as f32;
                    let factor = 1.0 / (variance + epsilon).sqrt();
                    let plane = x.len() / channels;
                    let first = (self.first + row) * channels % scale.len();
                    for (c, (x, out)) in x.chunks_exact(plane).zip(out.chunks_exact_mut(plane)).enumerate() {
                        affine(s, x, mean, factor * scale[first + c], shift[first + c], out);
                    }
                }
                RowFunction::LayerNorm { scale, shift, epsilon } => {
                    let mean = reduce(s, Reduction::Sum, x) / x.len() as f32;
                    let variance = reduce(s, Reduction::SquaresAround(mean), x) / x.len() as f32;
                    normalise(s, x, mean, 1.0 / (variance + epsilon).sqrt(), scale, shift, out);
                }
                RowFunction::RmsNorm { scale, epsilon } => {
                    let mean_square = reduce(s, Reduction::SquaresAround(0.0), x) / x.len() as f32;
                    normalise(s, x, 0.0, 1.0 / (mean_square + epsilon).sqrt(), scale, None, out);
                }
            }
        }
    }
}

/// `(x - mean) · factor + shift`.
#[inline(always)]
fn affine<S: Simd>(s: S, x: &[f32], mean: f32, factor: f32, shift: f32, out: &mut [f32]) {
    let (mean, factor, shift) = (s.splat(mean), s.splat(factor), s.splat(shift));
    for at in (0..x.len()).step_by(S::LANES) {
        math::store_at(s, out, at, s.fma(s.sub(math::load_at(s, x, at), mean), factor, shift));
    }
}

/// `(x - mean) · factor · scale + shift`.
#[inline(always)]
pub(super) fn normalise<S: Simd>(
    s: S,
    x: &[f32],
    mean: f32,
    factor: f32,
    scale: Option<&[f32]>,
    shift: Option<&[f32]>,
    out: &mut [f32],
) {
    let (mean, factor) = (s.splat(mean), s.splat(factor));
    for at in (0..x.len()).step_by(S::LANES) {
        let mut y = s.mul(s.sub(math::load_at(s, x, at), mean), factor);
        if let Some(scale) = scale {
            y = s.mul(y, math::load_at(s, scale, at));
        }
        if let Some(shift) = shift {
            y = s.add(y, math::load_at(s, shift, at));
        }
        math::store_at(s, out, at, y);
    }
}

/// What a row is reduced to.
#[derive(Clone, Copy)]
pub(super) enum Reduction {
    Sum,
    /// The sum of the squares of the distances from a number.
    SquaresAround(f32),
    Magnitudes,
    /// The sum of `e^(x - number)`.
    PowersLess(f32),
    /// NaN may be passed over: in softmax, the only user, it comes back by the sum.
    Max,
}

impl Reduction {
    #[inline(always)]
    fn start(self) -> f32 {
        if let Reduction::Max = self { f32::NEG_INFINITY } else { 0.0 }
    }

    #[inline(always)]
    fn take<S: Simd>(self, s: S, acc: S::F, x: S::F) -> S::F {
        match self {
            Reduction::Sum => s.add(acc, x),
            Reduction::Magnitudes => s.add(acc, s.copy_sign(x, s.splat(0.0))),
            Reduction::PowersLess(number) => s.add(acc, math::exp(s, s.sub(x, s.splat(number)))),
            Reduction::SquaresAround(centre) => {
                let d = s.sub(x, s.splat(centre));
                s.fma(d, d, acc)
            }
            Reduction::Max => s.max(x, acc),
        }
    }

    #[inline(always)]
    fn join_all<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        if let Reduction::Max = self { s.max(a, b) } else { s.add(a, b) }
    }

    #[inline(always)]
    fn join(self, a: f32, b: f32) -> f32 {
        if let Reduction::Max = self { a.max(b) } else { a + b }
    }
}

#[inline(always)]
pub(super) fn reduce<S: Simd>(s: S, reduction: Reduction, x: &[f32]) -> f32 {
    /// Enough independent accumulators to hide the latency of an addition.
    const CHAINS: usize = 4;
    let mut sums = [s.splat(reduction.start()); CHAINS];
    let mut at = 0;
    while at + CHAINS * S::LANES <= x.len() {
        for (chain, sum) in sums.iter_mut().enumerate() {
            *sum = reduction.take(s, *sum, math::load_at(s, x, at + chain * S::LANES));
        }
        at += CHAINS * S::LANES;
    }
    let last = x.len() - x.len() % S::LANES;
    while at < last {
        sums[0] = reduction.take(s, sums[0], math::load_at(s, x, at));
        at += S::LANES;
    }
    let [a, b, c, d] = sums;
    let all = reduction.join_all(s, reduction.join_all(s, a, b), reduction.join_all(s, c, d));
    let mut lanes = [reduction.start(); MOST_LANES];
    math::store_at(s, &mut lanes, 0, all);
    let mut width = S::LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = reduction.join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    // The elements after the last whole vector, one by one.
    let tail = x[last..].iter().fold(reduction.start(), |sum, &x| match reduction {
        Reduction::SquaresAround(centre) => sum + (x - centre) * (x - centre),
        Reduction::Magnitudes => sum + x.abs(),
        Reduction::PowersLess(number) => sum + (x - number).exp(),
        _ => reduction.join(sum, x),
    });
    reduction.join(lanes[0], tail)
}
