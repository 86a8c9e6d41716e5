//! Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"): the transforms
//! along one axis, by Toom's and Cook's interpolation.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use crate::fast::simd::Simd;

/// F(`OUT`, `IN` + 1 − `OUT`): from `IN` pixels, as many multiplications give `OUT` sums over a kernel.
pub(crate) trait Filtering<const IN: usize, const OUT: usize>: Copy + Send + Sync + 'static {
    /// Pixels of the kernel.
    const KERNEL: usize = IN + 1 - OUT;
    /// What the kernel's pixel `tap` counts for in each product.
    fn weights(tap: usize) -> [f64; IN];
    /// The transform of the input.
    fn forward<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN];
    /// The transform of the products.
    fn back<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT];
}

/// Nothing is saved along this axis: the kernel is one pixel.
#[derive(Clone, Copy)]
pub(crate) struct Single;

impl Filtering<1, 1> for Single {
    fn weights(_: usize) -> [f64; 1] {
        [1.0]
    }

    #[inline(always)]
    fn forward<S: Simd>(_: S, d: [S::F; 1]) -> [S::F; 1] {
        d
    }

    #[inline(always)]
    fn back<S: Simd>(_: S, m: [S::F; 1]) -> [S::F; 1] {
        m
    }
}

/// The points of an interpolation are 0, ±p for each of these, and ∞.
pub(crate) trait Points<const IN: usize>: Copy + Send + Sync + 'static {
    const PAIRS: &'static [f64];
}

/// 0, ±1, ∞.
#[derive(Clone, Copy)]
pub(crate) struct Four;

impl Points<4> for Four {
    const PAIRS: &'static [f64] = &[1.0];
}

/// Along both axes, their rounding errors are about half those of 0, ±1, ±2, ∞.
#[derive(Clone, Copy)]
pub(crate) struct Six;

impl Points<6> for Six {
    const PAIRS: &'static [f64] = &[FRAC_1_SQRT_2, SQRT_2];
}

/// For one axis: along both, errors would be five times those of six points.
#[derive(Clone, Copy)]
pub(crate) struct Eight;

impl Points<8> for Eight {
    const PAIRS: &'static [f64] = &[1.0, 2.0, 0.5];
}

/// The most pairs of points.
const PAIRS: usize = 3;

/// The product of `x² − p²` over the pairs but `without`: the coefficients of 1, x², x⁴ and so on.
const fn product(pairs: &[f64], without: usize) -> [f64; PAIRS + 1] {
    let mut product = [0.0; PAIRS + 1];
    product[0] = 1.0;
    let mut i = 0;
    while i < pairs.len() {
        if i != without {
            let square = pairs[i] * pairs[i];
            let mut k = PAIRS;
            while k > 0 {
                product[k] = product[k - 1] - square * product[k];
                k -= 1;
            }
            product[0] *= -square;
        }
        i += 1;
    }
    product
}

const fn rounded(x: [f64; PAIRS + 1]) -> [f32; PAIRS + 1] {
    let mut rounded = [0.0; PAIRS + 1];
    let mut i = 0;
    while i < x.len() {
        rounded[i] = x[i] as f32;
        i += 1;
    }
    rounded
}

/// The coefficients that the transforms of some points need.
struct Coefficients<P, const IN: usize>(P);

impl<P: Points<IN>, const IN: usize> Coefficients<P, IN> {
    const ALL: [f32; PAIRS + 1] = rounded(product(P::PAIRS, usize::MAX));
    /// Without each pair.
    const OTHERS: [[f32; PAIRS + 1]; PAIRS] =
        [rounded(product(P::PAIRS, 0)), rounded(product(P::PAIRS, 1)), rounded(product(P::PAIRS, 2))];
}

/// `d[first] · c[0] + d[first + 2] · c[1] + …`, with so many of them; the last coefficient is 1.
#[inline(always)]
fn combine<S: Simd, const IN: usize>(
    s: S,
    d: &[S::F; IN],
    first: usize,
    c: &[f32; PAIRS + 1],
    degree: usize,
) -> S::F {
    let mut sum = d[first + 2 * degree];
    for k in (0..degree).rev() {
        sum = s.fma(d[first + 2 * k], s.splat(c[k]), sum);
    }
    sum
}

const fn power(x: f64, exponent: usize) -> f64 {
    let (mut power, mut i) = (1.0, 0);
    while i < exponent {
        power *= x;
        i += 1;
    }
    power
}

impl<P: Points<IN>, const IN: usize, const OUT: usize> Filtering<IN, OUT> for P {
    /// `pᵗᵃᵖ` over the product of `p − q` over the other finite points `q`.
    fn weights(tap: usize) -> [f64; IN] {
        let mut weights = [0.0; IN];
        weights[0] = power(0.0, tap) / product(P::PAIRS, usize::MAX)[0];
        for (i, &p) in P::PAIRS.iter().enumerate() {
            let others = P::PAIRS.iter().filter(|&&q| q != p);
            let below: f64 = 2.0 * p * p * others.map(|q| p * p - q * q).product::<f64>();
            weights[1 + 2 * i] = power(p, tap) / below;
            weights[2 + 2 * i] = power(-p, tap) / below;
        }
        weights[IN - 1] = if tap + OUT == IN { 1.0 } else { 0.0 };
        weights
    }

    /// The row of a point `p` is the product of `x − q` over the other finite points `q`.
    #[inline(always)]
    fn forward<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN] {
        let pairs = P::PAIRS.len();
        let mut v = d;
        v[0] = combine(s, &d, 0, &Coefficients::<P, IN>::ALL, pairs);
        v[IN - 1] = combine(s, &d, 1, &Coefficients::<P, IN>::ALL, pairs);
        for i in 0..pairs {
            let others = &Coefficients::<P, IN>::OTHERS[i];
            let even = combine(s, &d, 2, others, pairs - 1);
            let odd = s.mul(combine(s, &d, 1, others, pairs - 1), s.splat(P::PAIRS[i] as f32));
            v[1 + 2 * i] = s.add(even, odd);
            v[2 + 2 * i] = s.sub(even, odd);
        }
        v
    }

    /// Output `i` is the sum of `pⁱ · m` over the points `p`, of which ∞ counts for the last.
    #[inline(always)]
    fn back<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT] {
        let pairs = P::PAIRS.len();
        let (mut even, mut odd) = ([s.splat(0.0); PAIRS], [s.splat(0.0); PAIRS]);
        for i in 0..pairs {
            even[i] = s.add(m[1 + 2 * i], m[2 + 2 * i]);
            odd[i] = s.sub(m[1 + 2 * i], m[2 + 2 * i]);
        }
        let mut y = [s.splat(0.0); OUT];
        for (k, y) in y.iter_mut().enumerate() {
            let parts = if k % 2 == 0 { &even } else { &odd };
            let mut sum = match k {
                0 => Some(m[0]),
                _ if k + 1 == OUT => Some(m[IN - 1]),
                _ => None,
            };
            for (&part, &p) in parts.iter().zip(P::PAIRS) {
                let factor = s.splat(power(p, k) as f32);
                sum = Some(match sum {
                    Some(sum) => s.fma(part, factor, sum),
                    None => s.mul(part, factor),
                });
            }
            *y = sum.unwrap_or(m[0]);
        }
        y
    }
}

/// Kernels transformed by `R` along columns and by `C` along rows, pixel by pixel side by side. They lie row by row.
pub(crate) fn transformed<
    R: Filtering<RI, RO>,
    C: Filtering<CI, CO>,
    const RI: usize,
    const RO: usize,
    const CI: usize,
    const CO: usize,
    const LANES: usize,
>(
    kernels: &[[f64; LANES]],
) -> [[[f32; LANES]; CI]; RI] {
    let mut sums = [[[0.0; LANES]; CI]; RI];
    for (row, kernels) in kernels.chunks_exact(C::KERNEL).enumerate() {
        let mut half = [[0.0; LANES]; CI];
        for (col, pixel) in kernels.iter().enumerate() {
            add_weighted(&mut half, C::weights(col), |_| pixel);
        }
        for (sums, weight) in sums.iter_mut().zip(R::weights(row)) {
            add_weighted(sums, [weight; CI], |col| &half[col]);
        }
    }
    sums.map(|row| row.map(|lanes| lanes.map(|x| x as f32)))
}

fn add_weighted<'x, const N: usize, const LANES: usize>(
    sums: &mut [[f64; LANES]; N],
    weights: [f64; N],
    x: impl Fn(usize) -> &'x [f64; LANES],
) {
    for (i, (sums, weight)) in sums.iter_mut().zip(weights).enumerate() {
        sums.iter_mut().zip(x(i)).for_each(|(sum, x)| *sum += weight * x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast::simd::Portable;

    /// One row of outputs, by the transforms and as defined.
    fn check<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize>() {
        let kernel = &[0.25, -1.5, 0.75, 2.0, -0.5, 1.25, -0.875][..F::KERNEL];
        let d: [f32; IN] = std::array::from_fn(|i| [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, -2.0, 6.0][i]);
        let s = Portable;
        let mut g = [0.0; IN];
        for (tap, k) in kernel.iter().enumerate() {
            g.iter_mut().zip(F::weights(tap)).for_each(|(g, w)| *g += k * w);
        }
        let v = F::forward(s, d.map(|x| s.splat(x)));
        let m = std::array::from_fn(|p| s.mul(v[p], s.splat(g[p] as f32)));
        for (i, y) in F::back(s, m).into_iter().enumerate() {
            let expected: f64 = (0..F::KERNEL).map(|k| kernel[k] * f64::from(d[i + k])).sum();
            let mut found = [0.0; 4];
            // SAFETY: four lanes.
            unsafe { s.store(found.as_mut_ptr(), y) };
            assert!((f64::from(found[0]) - expected).abs() < 1e-4, "{i}: {} for {expected}", found[0]);
        }
    }

    #[test]
    fn transforms_give_the_sums_of_a_convolution() {
        check::<Single, 1, 1>();
        check::<Four, 4, 2>();
        check::<Six, 6, 4>();
        check::<Six, 6, 2>();
        check::<Eight, 8, 6>();
        check::<Eight, 8, 4>();
        check::<Eight, 8, 2>();
    }
}
