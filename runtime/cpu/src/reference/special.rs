//! Scalar functions that the standard library lacks.

use std::f64::consts::{PI, SQRT_2};

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + eˣ)` without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / SQRT_2))
}

pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

/// The error function: its Maclaurin series where that converges fast, elsewhere the continued fraction of
/// the complement (Abramowitz and Stegun, 7.1.6 and 7.1.14). Exact to about 1e-15.
pub fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if x.is_nan() {
        return x;
    }
    if magnitude > 6.0 {
        return x.signum();
    }
    if magnitude < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
            n += 1.0;
        }
        return 2.0 / PI.sqrt() * (-x * x).exp() * sum;
    }
    let fraction = (1..=60).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (magnitude + tail));
    let complement = (-x * x).exp() / PI.sqrt() / (magnitude + fraction);
    x.signum() * (1.0 - complement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_is_exact_to_double_precision() {
        let known = [(0.5, 0.5204998778130465), (1.0, 0.8427007929497149), (2.6, 0.9997639655834707)];
        for (x, y) in known {
            assert!((erf(x) - y).abs() < 1e-15, "{x}: {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(0.0), 0.0);
        assert_eq!(softplus(1000.0), 1000.0);
    }
}
