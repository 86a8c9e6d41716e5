//! Activations: as the last step of a product or a convolution, or over a slice.

use super::math;
use super::simd::{Simd, Task};
use super::{Exec, Isa};

/// A function of one number that a kernel can apply on the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    #[default]
    None,
    Relu,
    Clip {
        low: f32,
        high: f32,
    },
    LeakyRelu {
        slope: f32,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    Tanh,
    Elu {
        alpha: f32,
    },
    Exp,
    Erf,
    /// `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// The approximation of Gelu by tanh.
    GeluTanh,
}

impl Activation {
    /// The bounds, when this is no more than clamping (or nothing).
    pub fn range(self) -> Option<(f32, f32)> {
        match self {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Clip { low, high } => Some((low, high)),
            _ => None,
        }
    }

    /// Whether it is known never to give less for more, rounding included.
    pub fn is_increasing(self) -> bool {
        match self {
            Activation::LeakyRelu { slope } => slope >= 0.0,
            _ => self.range().is_some(),
        }
    }

    /// Writes the images of all of `x`, with all threads.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn map(self, exec: Exec<'_>, x: &[f32], out: &mut [f32]) {
        const PIECE: usize = 16 * 1024;
        assert_eq!(x.len(), out.len(), "sizes of input and output");
        exec.pool.parallel_chunks(out, PIECE, &|piece, out| {
            self.map_part(exec.isa, &x[piece * PIECE..][..out.len()], out);
        });
    }

    /// Replaces each element by its image.
    pub fn apply(self, isa: Isa, data: &mut [f32]) {
        self.apply_each(isa, std::iter::once(data));
    }

    /// The same for several slices, whose computations overlap.
    pub(crate) fn apply_each<'a>(self, isa: Isa, slices: impl Iterator<Item = &'a mut [f32]>) {
        isa.run(Apply { activation: self, pairs: slices.map(|slice| (None, slice)) });
    }

    /// As [`Activation::map`], on this thread.
    pub(crate) fn map_part(self, isa: Isa, x: &[f32], out: &mut [f32]) {
        isa.run(Apply { activation: self, pairs: std::iter::once((Some(x), out)) });
    }

    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        let one = s.splat(1.0);
        let zero = s.splat(0.0);
        match self {
            Activation::None => x,
            Activation::Relu => s.max(zero, x),
            Activation::Clip { low, high } => s.min(s.splat(high), s.max(s.splat(low), x)),
            Activation::LeakyRelu { slope } => s.select(s.less(x, zero), s.mul(x, s.splat(slope)), x),
            Activation::Sigmoid => math::sigmoid(s, x),
            Activation::HardSigmoid { alpha, beta } => hard_sigmoid(s, x, alpha, beta),
            Activation::HardSwish => s.mul(x, hard_sigmoid(s, x, 1.0 / 6.0, 0.5)),
            Activation::Silu => s.mul(x, math::sigmoid(s, x)),
            Activation::Tanh => math::tanh(s, x),
            Activation::Elu { alpha } => {
                let negative = s.mul(s.splat(alpha), s.sub(math::exp(s, s.min(zero, x)), one));
                s.select(s.less(x, zero), negative, x)
            }
            Activation::Exp => math::exp(s, x),
            Activation::Erf => math::erf(s, x),
            Activation::Gelu => {
                let half = s.mul(x, s.splat(0.5));
                s.fma(half, math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2))), half)
            }
            Activation::GeluTanh => {
                let cubic = s.fma(s.mul(x, x), s.splat(0.044_715), one);
                let inner = s.mul(s.mul(x, s.splat(0.797_884_6)), cubic);
                let half = s.mul(x, s.splat(0.5));
                s.fma(half, math::tanh(s, inner), half)
            }
        }
    }
}

#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, x: S::F, alpha: f32, beta: f32) -> S::F {
    let line = s.fma(x, s.splat(alpha), s.splat(beta));
    s.min(s.splat(1.0), s.max(s.splat(0.0), line))
}

/// Sets each output of `pairs` to the images of its input, or of itself where there is none.
struct Apply<P> {
    activation: Activation,
    pairs: P,
}

impl<'a, P: Iterator<Item = (Option<&'a [f32]>, &'a mut [f32])>> Task for Apply<P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let activation = self.activation;
        macro_rules! each {
            ($($variant:pat => $value:expr),* $(,)?) => {
                // One loop for each function, so that the choice is made once and not for every vector.
                match activation {
                    $($variant => {
                        for (from, to) in self.pairs {
                            math::map(s, from, to, #[inline(always)] |x| $value.eval(s, x));
                        }
                    })*
                }
            };
        }
        use Activation as A;
        each! {
            A::None => A::None,
            A::Relu => A::Relu,
            A::Clip { low, high } => A::Clip { low, high },
            A::LeakyRelu { slope } => A::LeakyRelu { slope },
            A::Sigmoid => A::Sigmoid,
            A::HardSigmoid { alpha, beta } => A::HardSigmoid { alpha, beta },
            A::HardSwish => A::HardSwish,
            A::Silu => A::Silu,
            A::Tanh => A::Tanh,
            A::Elu { alpha } => A::Elu { alpha },
            A::Exp => A::Exp,
            A::Erf => A::Erf,
            A::Gelu => A::Gelu,
            A::GeluTanh => A::GeluTanh,
        }
    }
}
