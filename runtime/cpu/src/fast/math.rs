//! Vector versions of the functions that activations and softmax need.
//!
//! The polynomials are minimax fits (Lawson's iteration on Chebyshev nodes) made for these ranges; the
//! errors stated are against f64 over all of the range, and the tests hold them to it.

// Coefficients are written with the digits that name the `f32` meant.
#![allow(clippy::excessive_precision)]

use super::simd::{MOST_LANES, Simd};

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, the first with so few bits that its products with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_375;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `c[0] + c[1] x + …`.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.fma(sum, x, s.splat(c[i]));
    }
    sum
}

/// `(r, n)` with `x = n · ln 2 + r` for a whole `n`, and `(e^r - 1 - r) / r²`.
#[inline(always)]
fn exp_parts<S: Simd>(s: S, x: S::F) -> (S::F, S::F, S::F) {
    const C: [f32; 6] =
        [0.5, 0.166_666_67, 0.041_666_463, 0.008_333_286_3, 0.001_393_373_2, 0.000_199_077_03];
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    (r, n, polynomial(s, r, C))
}

/// `e^x` within 2 ulp, with infinity above 88.73 and denormal results down to zero.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let (r, n, p) = exp_parts(s, x);
    let p = s.fma(s.fma(p, r, s.splat(1.0)), r, s.splat(1.0));
    s.scale(p, n)
}

/// `e^x` within 2 ulp for weights below one: zero where it would be denormal, which takes processors long.
#[inline(always)]
pub(super) fn exp_weight<S: Simd>(s: S, x: S::F) -> S::F {
    let least = s.splat(-87.0);
    s.select(s.less(x, least), s.splat(0.0), exp(s, s.max(least, x)))
}

/// `1 / (1 + e^-x)` within 4 ulp.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// Within 4 ulp, also near zero.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    // m / (m + 2), where m is e^(2x) - 1 without what is lost when one is taken away; from 9.1 on that rounds to 1.
    let a = s.min(s.splat(9.1), s.copy_sign(x, s.splat(0.0)));
    let (r, n, p) = exp_parts(s, s.add(a, a));
    let power = s.pow2(n);
    let m = s.fma(s.fma(s.mul(r, r), p, r), power, s.sub(power, s.splat(1.0)));
    s.copy_sign(s.div(m, s.add(m, s.splat(2.0))), x)
}

/// Within 4 ulp.
#[inline(always)]
pub(super) fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    // erf(x)/x in x², below 1.
    const NEAR: [f32; 7] = [
        std::f32::consts::FRAC_2_SQRT_PI,
        -0.376_126_26,
        0.112_836_0,
        -0.026_854_444,
        0.005_189_535_2,
        -0.000_802_084_1,
        7.889_119_3e-5,
    ];
    // -ln(1 - erf(x)), from 1 to 4, where erf rounds to 1.
    const FAR: [f32; 9] = [
        -0.000_178_124_17,
        1.129_527_3,
        0.633_332_85,
        0.108_278_48,
        -0.025_101_762,
        0.004_153_776_4,
        -0.000_426_505_43,
        1.926_274e-5,
        1.697_455e-7,
    ];
    let one = s.splat(1.0);
    let a = s.min(s.splat(4.0), s.copy_sign(x, s.splat(0.0)));
    let near = s.mul(x, polynomial(s, s.mul(x, x), NEAR));
    let far = s.sub(one, exp(s, s.sub(s.splat(0.0), polynomial(s, a, FAR))));
    s.select(s.less(a, one), near, s.copy_sign(far, x))
}

/// Within 3 ulp.
#[inline(always)]
pub(super) fn ln<S: Simd>(s: S, x: S::F) -> S::F {
    // (ln(1 + r) - r + r²/2) / r³, from √½ - 1 to √2 - 1.
    const C: [f32; 8] = [
        0.333_333_16,
        -0.250_007_96,
        0.200_022_82,
        -0.166_249_69,
        0.141_814_25,
        -0.131_253_1,
        0.128_791_73,
        -0.078_653_775,
    ];
    const SMALLEST: f32 = f32::MIN_POSITIVE;
    let (zero, tiny) = (s.splat(0.0), s.less(x, s.splat(SMALLEST)));
    let (m, e) = s.split(s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x));
    let e = s.sub(e, s.select(tiny, s.splat(23.0), zero));
    let r = s.sub(m, s.splat(1.0));
    let r2 = s.mul(r, r);
    let p = s.fma(e, s.splat(LN_2_LOW), s.mul(s.mul(r2, r), polynomial(s, r, C)));
    let p = s.fma(r2, s.splat(-0.5), p);
    let found = s.fma(e, s.splat(LN_2_HIGH), s.add(r, p));
    let found = s.select(s.less(x, s.splat(f32::INFINITY)), found, x);
    // Of zero -∞; NaN stays what it is, and negative numbers become it.
    let none = s.select(s.less(x, zero), s.splat(f32::NAN), s.sub(s.splat(f32::NEG_INFINITY), x));
    s.select(s.less(zero, x), found, none)
}

/// Of an angle up to some thousands: the number of quarter turns in it, and the sine and cosine of what is left.
#[inline(always)]
fn quarters<S: Simd>(s: S, x: S::F) -> (S::F, S::F, S::F) {
    /// π/2 in three parts, the first two with so few bits that their products with small integers are exact.
    const HALF_PI: [f32; 3] = [1.570_312_5, 4.837_513e-4, 7.549_79e-8];
    const SINE: [f32; 4] = [-0.166_666_67, 0.008_333_329, -0.000_198_393_35, 2.718_311_6e-6];
    const COSINE: [f32; 3] = [0.041_666_646, -0.001_388_736_8, 2.443_845e-5];
    let n = s.round(s.mul(x, s.splat(std::f32::consts::FRAC_2_PI)));
    let r = HALF_PI.into_iter().fold(x, |r, part| s.fma(n, s.splat(-part), r));
    let r2 = s.mul(r, r);
    let sine = s.fma(s.mul(r2, r), polynomial(s, r2, SINE), r);
    let cosine = s.fma(s.mul(r2, r2), polynomial(s, r2, COSINE), s.fma(r2, s.splat(-0.5), s.splat(1.0)));
    (n, sine, cosine)
}

/// `sin(x + turns · π/2)`, of `turns` 0 or 1, for angles up to some thousands, within 1e-7.
#[inline(always)]
pub(super) fn sine<S: Simd>(s: S, x: S::F, turns: f32) -> S::F {
    let (n, sine, cosine) = quarters(s, x);
    // The quarter, from 0 to 3: 1 and 3 take the cosine, 2 and 3 change the sign.
    let n = s.add(n, s.splat(turns));
    let quarter = s.fma(s.round(s.fma(n, s.splat(0.25), s.splat(-0.375))), s.splat(-4.0), n);
    let off = s.copy_sign(
        s.sub(s.copy_sign(s.sub(quarter, s.splat(2.0)), s.splat(0.0)), s.splat(1.0)),
        s.splat(0.0),
    );
    let value = s.select(s.less(off, s.splat(0.5)), cosine, sine);
    s.select(s.less(s.splat(1.5), quarter), s.mul(value, s.splat(-1.0)), value)
}

/// For angles up to some thousands, within 4 ulp and 1e-7 of the angle.
#[inline(always)]
pub(super) fn tangent<S: Simd>(s: S, x: S::F) -> S::F {
    let (n, sine, cosine) = quarters(s, x);
    // Each odd quarter turn makes the tangent its negative reciprocal.
    let odd = s.fma(s.round(s.mul(n, s.splat(0.5))), s.splat(-2.0), n);
    let even = s.less(s.copy_sign(odd, s.splat(0.0)), s.splat(0.5));
    let negative = s.mul(cosine, s.splat(-1.0));
    s.div(s.select(even, sine, negative), s.select(even, cosine, sine))
}

/// Within 3 ulp.
#[inline(always)]
pub(super) fn arctangent<S: Simd>(s: S, x: S::F) -> S::F {
    const C: [f32; 4] = [-0.333_329_5, 0.199_777_1, -0.138_776_86, 0.080_537_45];
    /// The tangents of π/8 and 3π/8, between which the angle is π/4 and some more.
    const BOUNDS: [f32; 2] = [0.414_213_57, 2.414_213_6];
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let a = s.copy_sign(x, zero);
    let (some, most) = (s.less(s.splat(BOUNDS[0]), a), s.less(s.splat(BOUNDS[1]), a));
    let turned = s.select(most, s.div(s.splat(-1.0), a), s.div(s.sub(a, one), s.add(a, one)));
    let t = s.select(some, turned, a);
    let quarter = s.splat(std::f32::consts::FRAC_PI_4);
    let base = s.select(most, s.splat(std::f32::consts::FRAC_PI_2), s.select(some, quarter, zero));
    let t2 = s.mul(t, t);
    s.copy_sign(s.add(base, s.fma(s.mul(t2, t), polynomial(s, t2, C), t)), x)
}

/// The angle whose sine is `|x|`, or where that is more than a half, half of the one that it lacks to π/2; and whether.
#[inline(always)]
fn arc<S: Simd>(s: S, x: S::F) -> (S::F, S::M) {
    const C: [f32; 5] = [0.166_666_75, 0.074_953_0, 0.045_470_026, 0.024_181_311, 0.042_163_2];
    let (half, a) = (s.splat(0.5), s.copy_sign(x, s.splat(0.0)));
    let large = s.less(half, a);
    let t2 = s.select(large, s.mul(half, s.sub(s.splat(1.0), a)), s.mul(a, a));
    let t = s.select(large, s.sqrt(t2), a);
    (s.fma(s.mul(t2, t), polynomial(s, t2, C), t), large)
}

/// Within 4 ulp; NaN beyond one.
#[inline(always)]
pub(super) fn arcsine<S: Simd>(s: S, x: S::F) -> S::F {
    let (arc, large) = arc(s, x);
    let rest = s.fma(arc, s.splat(-2.0), s.splat(std::f32::consts::FRAC_PI_2));
    s.copy_sign(s.select(large, rest, arc), x)
}

/// Within 4 ulp; NaN beyond one.
#[inline(always)]
pub(super) fn arccosine<S: Simd>(s: S, x: S::F) -> S::F {
    let (arc, large) = arc(s, x);
    let negative = s.less(x, s.splat(0.0));
    let twice = s.add(arc, arc);
    let far = s.select(negative, s.sub(s.splat(std::f32::consts::PI), twice), twice);
    let near = s.sub(s.splat(std::f32::consts::FRAC_PI_2), s.copy_sign(arc, x));
    s.select(large, far, near)
}

/// Within 5 ulp.
#[inline(always)]
pub(super) fn sinh<S: Simd>(s: S, x: S::F) -> S::F {
    const C: [f32; 3] = [0.166_667_16, 0.008_330_283_8, 0.000_203_721_91];
    let half = s.splat(0.5);
    let a = s.copy_sign(x, s.splat(0.0));
    let x2 = s.mul(x, x);
    let near = s.fma(s.mul(x2, x), polynomial(s, x2, C), x);
    // By halves, so that nothing overflows early.
    let root = exp(s, s.mul(a, half));
    let far = s.sub(s.mul(s.mul(half, root), root), s.div(half, s.mul(root, root)));
    s.select(s.less(a, s.splat(1.0)), near, s.copy_sign(far, x))
}

/// Within 5 ulp.
#[inline(always)]
pub(super) fn cosh<S: Simd>(s: S, x: S::F) -> S::F {
    let half = s.splat(0.5);
    let root = exp(s, s.mul(s.copy_sign(x, s.splat(0.0)), half));
    s.add(s.mul(s.mul(half, root), root), s.div(half, s.mul(root, root)))
}

/// From here on, one is nothing beside a number, nor beside its square.
const HUGE: f32 = 1e9;

/// `ln(1 + x)` of numbers that are not negative, within 5 ulp.
#[inline(always)]
fn ln_1p<S: Simd>(s: S, x: S::F) -> S::F {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let whole = s.add(one, x);
    let rounded = s.sub(whole, one);
    let log = ln(s, whole);
    // What was lost when one was added, the quotient puts back.
    let exact = s.select(s.less(zero, rounded), s.mul(log, s.div(x, rounded)), x);
    s.select(s.less(x, s.splat(HUGE)), exact, log)
}

/// Within 6 ulp.
#[inline(always)]
pub(super) fn asinh<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let a = s.copy_sign(x, s.splat(0.0));
    let a2 = s.mul(a, a);
    let near = ln_1p(s, s.add(a, s.div(a2, s.add(one, s.sqrt(s.add(a2, one))))));
    let far = s.add(ln(s, a), s.splat(std::f32::consts::LN_2));
    s.copy_sign(s.select(s.less(a, s.splat(HUGE)), near, far), x)
}

/// Within 6 ulp; NaN below one.
#[inline(always)]
pub(super) fn acosh<S: Simd>(s: S, x: S::F) -> S::F {
    let t = s.sub(x, s.splat(1.0));
    let near = ln_1p(s, s.add(t, s.sqrt(s.mul(t, s.add(t, s.splat(2.0))))));
    let far = s.add(ln(s, x), s.splat(std::f32::consts::LN_2));
    let found = s.select(s.less(x, s.splat(HUGE)), near, far);
    s.select(s.less(x, s.splat(1.0)), s.splat(f32::NAN), found)
}

/// Within 6 ulp; NaN beyond one.
#[inline(always)]
pub(super) fn atanh<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let a = s.copy_sign(x, s.splat(0.0));
    let half = s.mul(s.splat(0.5), ln_1p(s, s.div(s.add(a, a), s.sub(one, a))));
    s.copy_sign(s.select(s.less(one, a), s.splat(f32::NAN), half), x)
}

/// `ln(1 + e^x)`, in a form that neither overflows nor loses small results.
#[inline(always)]
pub(super) fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let e = exp(s, s.mul(s.copy_sign(x, zero), s.splat(-1.0)));
    let whole = s.add(one, e);
    let rounded = s.sub(whole, one);
    // What was lost when one was added, the quotient puts back.
    let log = s.select(s.less(zero, rounded), s.div(s.mul(ln(s, whole), e), rounded), e);
    s.add(s.max(zero, x), log)
}

/// Sets each element of `to` to the image of the one of `from`, or its own where there is none.
///
/// # Panics
/// If the sizes differ.
#[inline(always)]
pub(super) fn map<S: Simd>(s: S, from: Option<&[f32]>, to: &mut [f32], f: impl Fn(S::F) -> S::F) {
    assert!(from.is_none_or(|from| from.len() == to.len()), "sizes of input and output");
    let out = to.as_mut_ptr();
    let source = from.map_or(out.cast_const(), <[f32]>::as_ptr);
    let whole = to.len() - to.len() % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        // SAFETY: both have `whole` elements or more, and no reference to them is in use.
        unsafe { s.store(out.add(at), f(s.load(source.add(at)))) };
    }
    let rest = to.len() - whole;
    // SAFETY: as above, for the `rest` elements behind.
    unsafe { s.store_part(out.add(whole), rest, f(s.load_part(source.add(whole), rest))) };
}

/// 0, 1, 2, … in the lanes.
#[inline(always)]
pub(super) fn numbers<S: Simd>(s: S) -> S::F {
    const NUMBERS: [f32; MOST_LANES] =
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];
    load_at(s, &NUMBERS, 0)
}

/// The vector from index `at`, zero beyond the end.
#[inline(always)]
pub(super) fn load_at<S: Simd>(s: S, data: &[f32], at: usize) -> S::F {
    let rest = &data[at..];
    // SAFETY: `rest` has as many elements as are read.
    unsafe {
        if rest.len() >= S::LANES { s.load(rest.as_ptr()) } else { s.load_part(rest.as_ptr(), rest.len()) }
    }
}

/// Stores the part of the vector that fits from index `at`.
#[inline(always)]
pub(super) fn store_at<S: Simd>(s: S, data: &mut [f32], at: usize, v: S::F) {
    let rest = &mut data[at..];
    // SAFETY: `rest` has as many elements as are written.
    unsafe {
        if rest.len() >= S::LANES {
            s.store(rest.as_mut_ptr(), v);
        } else {
            s.store_part(rest.as_mut_ptr(), rest.len(), v);
        }
    }
}
