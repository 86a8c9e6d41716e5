//! Softmax of rows. Rows of no more than a few vectors are taken as many at a time as there are lanes: what is left of
//! each is one vector, and turning these puts each row into a lane, where all are finished at once.

use super::math::{self, load_at, store_at};
use super::rows::{Reduction, normalise, reduce};
use super::simd::{MOST_LANES, Simd};

/// Longer rows are worked on one by one.
const LONG: usize = 512;

/// How many rows are worked on together at most.
pub(super) fn together(columns: usize) -> usize {
    if columns <= LONG { MOST_LANES } else { 1 }
}

/// Softmax of each row of `columns` elements, or its logarithm.
#[inline(always)]
pub(super) fn rows<S: Simd>(s: S, log: bool, x: &[f32], columns: usize, out: &mut [f32]) {
    if columns > LONG {
        for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)) {
            match log {
                true => log_softmax(s, x, out),
                false => softmax(s, x, out),
            }
        }
        return;
    }
    let group = S::LANES * columns;
    for (x, out) in x.chunks(group).zip(out.chunks_mut(group)) {
        if columns <= S::LANES { turned(s, log, x, columns, out) } else { grouped(s, log, x, columns, out) }
    }
}

#[inline(always)]
fn softmax<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    let max = s.splat(reduce(s, Reduction::Max, x));
    for at in (0..x.len()).step_by(S::LANES) {
        store_at(s, out, at, math::exp_weight(s, s.sub(load_at(s, x, at), max)));
    }
    let factor = s.splat(1.0 / reduce(s, Reduction::Sum, out));
    scale(s, out, factor);
}

#[inline(always)]
fn scale<S: Simd>(s: S, out: &mut [f32], factor: S::F) {
    for at in (0..out.len()).step_by(S::LANES) {
        store_at(s, out, at, s.mul(load_at(s, out, at), factor));
    }
}

/// Exponentials are summed up without being written down.
#[inline(always)]
fn log_softmax<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    let max = reduce(s, Reduction::Max, x);
    let sum = max + reduce(s, Reduction::PowersLess(max), x).ln();
    normalise(s, x, sum, 1.0, None, None, out);
}

/// Up to as many rows as there are lanes, none longer than a vector: element by element, each row in its lane.
#[inline(always)]
fn turned<S: Simd>(s: S, log: bool, x: &[f32], columns: usize, out: &mut [f32]) {
    let mut v = [s.splat(0.0); MOST_LANES];
    for (v, x) in v.iter_mut().zip(x.chunks_exact(columns)) {
        *v = load_at(s, x, 0);
    }
    s.transpose(&mut v);
    let mut max = s.splat(f32::NEG_INFINITY);
    for &x in &v[..columns] {
        max = s.max(x, max);
    }
    let mut sum = s.splat(0.0);
    let mut powers = v;
    for x in &mut powers[..columns] {
        *x = math::exp_weight(s, s.sub(*x, max));
        sum = s.add(sum, *x);
    }
    if log {
        let less = s.add(max, math::ln(s, sum));
        for x in &mut v[..columns] {
            *x = s.sub(*x, less);
        }
    } else {
        let factor = s.div(s.splat(1.0), sum);
        for (x, &power) in v[..columns].iter_mut().zip(&powers) {
            *x = s.mul(power, factor);
        }
    }
    s.transpose(&mut v);
    for (&v, out) in v.iter().zip(out.chunks_exact_mut(columns)) {
        store_at(s, out, 0, v);
    }
}

/// Up to as many rows as there are lanes, each longer than a vector: only the last step of a reduction is turned.
#[inline(always)]
fn grouped<S: Simd>(s: S, log: bool, x: &[f32], columns: usize, out: &mut [f32]) {
    let mut v = [s.splat(0.0); MOST_LANES];
    for (v, x) in v.iter_mut().zip(x.chunks_exact(columns)) {
        // The last vector overlaps the one before.
        *v = load_at(s, x, columns - S::LANES);
        for at in (0..columns - S::LANES).step_by(S::LANES) {
            *v = s.max(load_at(s, x, at), *v);
        }
    }
    s.transpose(&mut v);
    let mut max = v[0];
    for &x in &v[1..S::LANES] {
        max = s.max(x, max);
    }
    let most = lanes(s, max);
    let whole = columns - columns % S::LANES;
    let present = s.less(math::numbers(s), s.splat((columns - whole) as f32));
    let each = v.iter_mut().zip(x.chunks_exact(columns)).zip(out.chunks_exact_mut(columns));
    for (((v, x), out), &most) in each.zip(&most) {
        let (most, mut sum) = (s.splat(most), s.splat(0.0));
        for at in (0..whole).step_by(S::LANES) {
            let power = math::exp_weight(s, s.sub(load_at(s, x, at), most));
            sum = s.add(sum, power);
            if !log {
                store_at(s, out, at, power);
            }
        }
        if whole < columns {
            let power = math::exp_weight(s, s.sub(load_at(s, x, whole), most));
            sum = s.add(sum, s.select(present, power, s.splat(0.0)));
            if !log {
                store_at(s, out, whole, power);
            }
        }
        *v = sum;
    }
    s.transpose(&mut v);
    let mut sum = v[0];
    for &x in &v[1..S::LANES] {
        sum = s.add(sum, x);
    }
    if log {
        let less = lanes(s, s.add(max, math::ln(s, sum)));
        for ((x, out), &less) in x.chunks_exact(columns).zip(out.chunks_exact_mut(columns)).zip(&less) {
            normalise(s, x, less, 1.0, None, None, out);
        }
    } else {
        let factors = lanes(s, s.div(s.splat(1.0), sum));
        for (out, &factor) in out.chunks_exact_mut(columns).zip(&factors) {
            scale(s, out, s.splat(factor));
        }
    }
}

#[inline(always)]
fn lanes<S: Simd>(s: S, v: S::F) -> [f32; MOST_LANES] {
    let mut lanes = [0.0; MOST_LANES];
    store_at(s, &mut lanes, 0, v);
    lanes
}
