//! The greatest or the least element of each row; what is not a number where any element is.

use super::math::{load_at, store_at};
use super::simd::{Isa, Simd, Task};

/// Elements that are taken at once, whatever the instruction set, so that of zeros the same sign is found.
const LANES: usize = 64;

/// Of which kind the extreme is.
pub(super) trait Extreme: Copy + Sync {
    const START: f32;
    /// Passes over what is not a number in `x`.
    fn of(self, found: f32, x: f32) -> f32;
    fn of_vectors<S: Simd>(self, s: S, found: S::F, x: S::F) -> S::F;
}

#[derive(Clone, Copy)]
pub(super) struct Greatest;

impl Extreme for Greatest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn of(self, found: f32, x: f32) -> f32 {
        if x > found { x } else { found }
    }

    #[inline(always)]
    fn of_vectors<S: Simd>(self, s: S, found: S::F, x: S::F) -> S::F {
        s.max(x, found)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Least;

impl Extreme for Least {
    const START: f32 = f32::INFINITY;

    #[inline(always)]
    fn of(self, found: f32, x: f32) -> f32 {
        if x < found { x } else { found }
    }

    #[inline(always)]
    fn of_vectors<S: Simd>(self, s: S, found: S::F, x: S::F) -> S::F {
        s.min(x, found)
    }
}

/// Finds the extremes of rows, one for each element of `out`.
pub(super) fn rows<'x, E: Extreme>(
    isa: Isa,
    extreme: E,
    rows: impl Iterator<Item = &'x [f32]>,
    out: &mut [f32],
) {
    isa.run(Rows { extreme, rows, out });
}

struct Rows<'a, E, R> {
    extreme: E,
    rows: R,
    out: &'a mut [f32],
}

impl<'x, E: Extreme, R: Iterator<Item = &'x [f32]>> Task for Rows<'_, E, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (out, x) in self.out.iter_mut().zip(self.rows) {
            *out = row(s, self.extreme, x);
        }
    }
}

#[inline(always)]
fn row<S: Simd, E: Extreme>(s: S, extreme: E, x: &[f32]) -> f32 {
    let (mut found, sum) = if x.len() < LANES {
        x.iter().fold((E::START, 0.0), |(found, sum), &x| (extreme.of(found, x), sum + x))
    } else {
        long(s, extreme, x)
    };
    // A sum that is a number tells that all elements are; where it is none, each is looked at.
    if sum.is_nan() && x.iter().any(|x| x.is_nan()) {
        found = f32::NAN;
    }
    found
}

/// The extreme of the numbers, and a sum.
#[inline(always)]
fn long<S: Simd, E: Extreme>(s: S, extreme: E, x: &[f32]) -> (f32, f32) {
    // As many as the fewest lanes need.
    let mut found = [s.splat(E::START); LANES / 4];
    let mut sums = [s.splat(0.0); LANES / 4];
    let (found, sums) = (&mut found[..LANES / S::LANES], &mut sums[..LANES / S::LANES]);
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (i, (found, sum)) in found.iter_mut().zip(&mut *sums).enumerate() {
            let x = load_at(s, chunk, i * S::LANES);
            *found = extreme.of_vectors(s, *found, x);
            *sum = s.add(*sum, x);
        }
    }
    let mut lanes = [E::START; LANES];
    let mut sum = 0.0;
    if !rest.is_empty() {
        lanes[..rest.len()].copy_from_slice(rest);
        for (i, found) in found.iter_mut().enumerate() {
            *found = extreme.of_vectors(s, *found, load_at(s, &lanes, i * S::LANES));
        }
        sum = rest.iter().sum();
    }
    // Pair by pair.
    let mut count = found.len();
    while count > 1 {
        count /= 2;
        for i in 0..count {
            found[i] = extreme.of_vectors(s, found[i], found[i + count]);
            sums[i] = s.add(sums[i], sums[i + count]);
        }
    }
    let mut sum_lanes = [0.0; LANES];
    store_at(s, &mut lanes, 0, found[0]);
    store_at(s, &mut sum_lanes, 0, sums[0]);
    let mut width = S::LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = extreme.of(lanes[i], lanes[i + width]);
            sum_lanes[i] += sum_lanes[i + width];
        }
    }
    (lanes[0], sum + sum_lanes[0])
}
