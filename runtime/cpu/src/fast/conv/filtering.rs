//! Winograd's minimal filtering of kernels of 3 × 3 (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks"): the transforms along one axis.

use std::f32::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};

use crate::fast::simd::Simd;

/// Pixels of the kernel along one axis.
pub(crate) const KERNEL: usize = 3;

/// F(`OUT` × `OUT`, 3 × 3): from `IN` × `IN` pixels, as many multiplications give `OUT` × `OUT` of the output.
pub(crate) trait Filtering<const IN: usize, const OUT: usize>: Copy + Send + Sync + 'static {
    /// The transform of a kernel.
    const WEIGHTS: [[f64; KERNEL]; IN];
    /// The transform of the input.
    fn forward<S: Simd>(s: S, d: [S::F; IN]) -> [S::F; IN];
    /// The transform of the products.
    fn back<S: Simd>(s: S, m: [S::F; IN]) -> [S::F; OUT];
}

/// 36 multiplications where 144 are plain, with the interpolation points 0, ±√½, ±√2 and ∞, whose rounding errors are
/// about half those of 0, ±1, ±2, ∞.
#[derive(Clone, Copy)]
pub(crate) struct F43;

impl Filtering<6, 4> for F43 {
    const WEIGHTS: [[f64; KERNEL]; 6] = [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -2.0 / 3.0 * A as f64, -1.0 / 3.0],
        [-2.0 / 3.0, 2.0 / 3.0 * A as f64, -1.0 / 3.0],
        [1.0 / 6.0, B as f64 / 6.0, 1.0 / 3.0],
        [1.0 / 6.0, -B as f64 / 6.0, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ];

    /// Row `p` is the product of `x - q` over the other points `q`.
    #[inline(always)]
    fn forward<S: Simd>(s: S, d: [S::F; 6]) -> [S::F; 6] {
        let sub = |x: S::F, factor: f32, y: S::F| s.fma(s.splat(-factor), y, x);
        let even = [sub(d[4], 2.0, d[2]), sub(d[4], 0.5, d[2])];
        let odd = [s.mul(s.splat(A), sub(d[3], 2.0, d[1])), s.mul(s.splat(B), sub(d[3], 0.5, d[1]))];
        [
            s.add(sub(d[0], 2.5, d[2]), d[4]),
            s.add(even[0], odd[0]),
            s.sub(even[0], odd[0]),
            s.add(even[1], odd[1]),
            s.sub(even[1], odd[1]),
            s.add(sub(d[1], 2.5, d[3]), d[5]),
        ]
    }

    /// Output `i` is the sum of `pⁱ · m` over the points `p`.
    #[inline(always)]
    fn back<S: Simd>(s: S, m: [S::F; 6]) -> [S::F; 4] {
        let (sum, rest) = ([s.add(m[1], m[2]), s.add(m[3], m[4])], [s.sub(m[1], m[2]), s.sub(m[3], m[4])]);
        let weigh = |x: [S::F; 2], a: f32, b: f32| s.fma(x[0], s.splat(a), s.mul(x[1], s.splat(b)));
        [
            s.add(m[0], s.add(sum[0], sum[1])),
            weigh(rest, A, B),
            weigh(sum, 0.5, 2.0),
            s.add(weigh(rest, 0.5 * A, 2.0 * B), m[5]),
        ]
    }
}

/// 16 multiplications where 36 are plain, with the points 0, ±1 and ∞.
#[derive(Clone, Copy)]
pub(crate) struct F23;

impl Filtering<4, 2> for F23 {
    const WEIGHTS: [[f64; KERNEL]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    fn forward<S: Simd>(s: S, d: [S::F; 4]) -> [S::F; 4] {
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn back<S: Simd>(s: S, m: [S::F; 4]) -> [S::F; 2] {
        [s.add(m[0], s.add(m[1], m[2])), s.add(s.sub(m[1], m[2]), m[3])]
    }
}

/// Kernels transformed, pixel by pixel side by side.
pub(crate) fn transformed<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize, const LANES: usize>(
    kernels: &[[f64; LANES]; KERNEL * KERNEL],
) -> [[[f32; LANES]; IN]; IN] {
    let sum = |g: &[f64; KERNEL], parts: [&[f64; LANES]; KERNEL]| {
        let mut sums = [0.0; LANES];
        for (g, part) in g.iter().zip(parts) {
            sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += g * x);
        }
        sums
    };
    // Along columns first, then along rows.
    let column = |x: usize| std::array::from_fn(|y| &kernels[y * KERNEL + x]);
    F::WEIGHTS.map(|g| {
        let half: [[f64; LANES]; KERNEL] = std::array::from_fn(|x| sum(&g, column(x)));
        F::WEIGHTS.map(|g| sum(&g, half.each_ref()).map(|x| x as f32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fast::simd::Portable;

    /// One row of outputs, by the transforms and as defined.
    fn check<F: Filtering<IN, OUT>, const IN: usize, const OUT: usize>() {
        let kernel = [0.25, -1.5, 0.75];
        let d: [f32; IN] = std::array::from_fn(|i| [3.0, -1.0, 4.0, 1.0, -5.0, 9.0][i]);
        let s = Portable;
        let v = F::forward(s, d.map(|x| s.splat(x)));
        let m = std::array::from_fn(|p| {
            let g: f64 = F::WEIGHTS[p].iter().zip(kernel).map(|(g, k)| g * k).sum();
            s.mul(v[p], s.splat(g as f32))
        });
        for (i, y) in F::back(s, m).into_iter().enumerate() {
            let expected: f64 = (0..KERNEL).map(|k| kernel[k] * f64::from(d[i + k])).sum();
            let mut found = [0.0; 4];
            // SAFETY: four lanes.
            unsafe { s.store(found.as_mut_ptr(), y) };
            assert!((f64::from(found[0]) - expected).abs() < 1e-5, "{i}: {} for {expected}", found[0]);
        }
    }

    #[test]
    fn transforms_give_the_sums_of_a_convolution() {
        check::<F43, 6, 4>();
        check::<F23, 4, 2>();
    }
}
