//! Vector versions of the functions that activations and softmax need.
//!
//! The polynomials are minimax fits (Lawson's iteration on Chebyshev nodes) made for these ranges; the
//! errors stated are against f64 over all of the range, and the tests hold them to it.

// Coefficients are written with the digits that name the `f32` meant.
#![allow(clippy::excessive_precision)]

use super::simd::Simd;

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

/// `e^x` within 2 ulp, with infinity above 88.73 and denormal results down to zero.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    const C: [f32; 6] =
        [0.5, 0.166_666_67, 0.041_666_463, 0.008_333_286_3, 0.001_393_373_2, 0.000_199_077_03];
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN_2_HIGH), x);
    let r = s.fma(n, s.splat(-LN_2_LOW), r);
    let p = s.fma(s.mul(r, r), polynomial(s, r, C), r);
    let p = s.add(p, s.splat(1.0));
    // In two factors, since 2ⁿ by itself may be out of range.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.pow2(half)), s.pow2(s.sub(n, half)))
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
    const C: [f32; 5] = [-0.333_333_28, 0.133_327_95, -0.053_854_07, 0.021_010_078, -0.006_113_188_3];
    let a = s.copy_sign(x, s.splat(0.0));
    let x2 = s.mul(x, x);
    let small = s.fma(s.mul(s.mul(x2, x), polynomial(s, x2, C)), s.splat(1.0), x);
    let e = exp(s, s.add(a, a));
    let large = s.sub(s.splat(1.0), s.div(s.splat(2.0), s.add(e, s.splat(1.0))));
    s.select(s.less(a, s.splat(0.625)), small, s.copy_sign(large, x))
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
