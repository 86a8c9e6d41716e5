//! Vector functions against f64, over their whole range.

mod common;

use byoc_cpu::fast::Activation;
use common::isas;

/// An activation and what it should compute.
type Case<T> = (Activation, fn(T) -> T);

/// Gauss error function by its series and continued fraction, to f64 accuracy.
fn erf(x: f64) -> f64 {
    let a = x.abs();
    let value = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = 0.0;
        for n in (1..200).rev() {
            fraction = n as f64 / 2.0 / (a + fraction);
        }
        1.0 - (-a * a).exp() / (std::f64::consts::PI.sqrt() * (a + fraction))
    };
    value.copysign(x)
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Distance in units of the last place of the wanted value (of the smallest normal number below that).
fn ulps(got: f32, want: f64) -> f64 {
    let place = 2f64.powi(want.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor() as i32 - 23);
    (f64::from(got) - want).abs() / place
}

fn worst(activation: Activation, low: f32, high: f32, oracle: impl Fn(f64) -> f64, limit: f64) {
    const N: usize = 200_001;
    let mut inputs: Vec<f32> = (0..N).map(|i| low + (high - low) * i as f32 / (N - 1) as f32).collect();
    // Magnitudes near zero, where a function that looks fine on a line may have no digits left.
    inputs.extend((-120..0).flat_map(|e| [1.3f32, -1.7].map(|m| m * 2f32.powi(e))));
    inputs.retain(|x| (low..=high).contains(x));
    for isa in isas() {
        let mut got = inputs.clone();
        activation.apply(isa, &mut got);
        for (&x, &y) in inputs.iter().zip(&got) {
            let want = oracle(f64::from(x));
            assert!(ulps(y, want) <= limit, "{activation:?} {isa:?}: f({x}) is {y}, not {want}");
        }
    }
}

#[test]
fn accuracy() {
    worst(Activation::Exp, -87.0, 88.7, f64::exp, 2.0);
    worst(Activation::Tanh, -12.0, 12.0, f64::tanh, 4.0);
    worst(Activation::Sigmoid, -87.0, 40.0, sigmoid, 4.0);
    worst(Activation::Erf, -6.0, 6.0, erf, 4.0);
    worst(Activation::Silu, -80.0, 40.0, |x| x * sigmoid(x), 5.0);
    worst(Activation::Elu { alpha: 0.5 }, 0.0, 10.0, |x| x, 0.5);
}

#[test]
fn accuracy_where_terms_cancel() {
    let cases: [Case<f64>; 3] = [
        (Activation::Gelu, |x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()))),
        (Activation::GeluTanh, |x| {
            x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }),
        (Activation::Elu { alpha: 1.0 }, |x| if x < 0.0 { x.exp_m1() } else { x }),
    ];
    let inputs: Vec<f32> = (-80_000..80_000).map(|i| i as f32 / 8000.0).collect();
    for (activation, oracle) in cases {
        for isa in isas() {
            let mut got = inputs.clone();
            activation.apply(isa, &mut got);
            for (&x, &y) in inputs.iter().zip(&got) {
                let want = oracle(f64::from(x));
                let error = (f64::from(y) - want).abs();
                assert!(
                    error <= 4e-7 * want.abs().max(1.0),
                    "{activation:?} {isa:?}: f({x}) is {y}, not {want}"
                );
            }
        }
    }
}

#[test]
fn special_values() {
    const INF: f32 = f32::INFINITY;
    let cases = [
        (Activation::Exp, [1.0, INF, 0.0]),
        (Activation::Tanh, [0.0, 1.0, -1.0]),
        (Activation::Sigmoid, [0.5, 1.0, 0.0]),
        (Activation::Erf, [0.0, 1.0, -1.0]),
        (Activation::Relu, [0.0, INF, 0.0]),
        (Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, [0.5, 1.0, 0.0]),
        (Activation::LeakyRelu { slope: 0.5 }, [0.0, INF, -INF]),
        (Activation::Elu { alpha: 1.0 }, [0.0, INF, -1.0]),
    ];
    for (activation, want) in cases {
        for isa in isas() {
            let mut got = [0.0, INF, -INF, f32::NAN];
            activation.apply(isa, &mut got);
            assert_eq!(got[..3], want, "{activation:?} {isa:?}");
            assert!(got[3].is_nan(), "{activation:?} {isa:?} loses NaN");
        }
    }
}

#[test]
fn simple_functions() {
    let cases: [Case<f32>; 5] = [
        (Activation::None, |x| x),
        (Activation::Clip { low: -1.0, high: 2.0 }, |x| x.clamp(-1.0, 2.0)),
        (Activation::LeakyRelu { slope: 0.25 }, |x| if x < 0.0 { x * 0.25 } else { x }),
        (Activation::HardSigmoid { alpha: 0.25, beta: 0.5 }, |x| (x * 0.25 + 0.5).clamp(0.0, 1.0)),
        (Activation::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
    ];
    for (activation, oracle) in cases {
        for len in 0..40 {
            let inputs: Vec<f32> = (0..len).map(|i| i as f32 * 0.5 - 8.0).collect();
            for isa in isas() {
                let mut got = inputs.clone();
                activation.apply(isa, &mut got);
                for (&x, &y) in inputs.iter().zip(&got) {
                    assert!((y - oracle(x)).abs() <= 1e-6 * x.abs(), "{activation:?} {isa:?}: f({x}) is {y}");
                }
            }
        }
    }
}
