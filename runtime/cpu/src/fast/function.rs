//! Functions of one number that need polynomials and are not the last step of anything: by vectors.

use super::math;
use super::simd::{Simd, Task};
use super::{Exec, Isa};

/// Beyond this, sines are computed one by one with all of their digits.
const LARGEST_ANGLE: f32 = 4096.0;
/// Elements that are looked at for large angles together.
const BLOCK: usize = 1024;
const PIECE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    Ln,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x · tanh(softplus(x))`.
    Mish,
    /// `scale · x`, or where x is negative `scale · alpha · (e^(x/width) - 1)`.
    Selu {
        scale: f32,
        alpha: f32,
        width: f32,
    },
}

impl Function {
    /// Replaces each element by its image, with all threads.
    pub fn apply(self, exec: Exec<'_>, data: &mut [f32]) {
        exec.pool.parallel_chunks(data, PIECE, &|_, part| self.part(exec.isa, None, part));
    }

    /// Writes the images of all of `x`, with all threads.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn map(self, exec: Exec<'_>, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "sizes of input and output");
        exec.pool.parallel_chunks(out, PIECE, &|piece, part| {
            self.part(exec.isa, Some(&x[piece * PIECE..][..part.len()]), part);
        });
    }

    fn part(self, isa: Isa, from: Option<&[f32]>, data: &mut [f32]) {
        let exact: fn(f32) -> f32 = match self {
            Function::Sin => f32::sin,
            Function::Cos => f32::cos,
            Function::Tan => f32::tan,
            _ => return isa.run(Apply { function: self, from, data }),
        };
        for (i, block) in data.chunks_mut(BLOCK).enumerate() {
            let from = from.map(|x| &x[i * BLOCK..][..block.len()]);
            // Counted rather than found, which is a loop of vectors.
            let large = from.unwrap_or(block).iter().filter(|x| x.abs() > LARGEST_ANGLE).count();
            match (large, from) {
                (0, _) => isa.run(Apply { function: self, from, data: block }),
                (_, None) => block.iter_mut().for_each(|x| *x = exact(*x)),
                (_, Some(x)) => block.iter_mut().zip(x).for_each(|(out, &x)| *out = exact(x)),
            }
        }
    }

    #[inline(always)]
    fn eval<S: Simd>(self, s: S, x: S::F) -> S::F {
        let one = s.splat(1.0);
        match self {
            Function::Ln => math::ln(s, x),
            Function::Sin => math::sine(s, x, 0.0),
            Function::Cos => math::sine(s, x, 1.0),
            Function::Tan => math::tangent(s, x),
            Function::Asin => math::arcsine(s, x),
            Function::Acos => math::arccosine(s, x),
            Function::Atan => math::arctangent(s, x),
            Function::Sinh => math::sinh(s, x),
            Function::Cosh => math::cosh(s, x),
            Function::Asinh => math::asinh(s, x),
            Function::Acosh => math::acosh(s, x),
            Function::Atanh => math::atanh(s, x),
            Function::Softplus => math::softplus(s, x),
            Function::Mish => {
                // tanh(ln(1 + e)) is ((1 + e)² - 1) / ((1 + e)² + 1), that is (e² + 2e) / (e² + 2e + 2).
                let e = math::exp(s, s.min(s.splat(30.0), x));
                let t = s.mul(e, s.add(e, s.splat(2.0)));
                s.mul(x, s.div(t, s.add(t, s.splat(2.0))))
            }
            Function::Selu { scale, alpha, width } => {
                let e = math::exp(s, s.div(s.min(s.splat(0.0), x), s.splat(width)));
                let negative = s.mul(s.splat(scale * alpha), s.sub(e, one));
                s.select(s.less(x, s.splat(0.0)), negative, s.mul(s.splat(scale), x))
            }
        }
    }
}

struct Apply<'a> {
    function: Function,
    from: Option<&'a [f32]>,
    data: &'a mut [f32],
}

impl Task for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        macro_rules! each {
            ($($function:pat => $value:expr),* $(,)?) => {
                // One loop for each function, so that the choice is made once and not for every vector.
                match self.function {
                    $($function => math::map(s, self.from, self.data, #[inline(always)] |x| $value.eval(s, x)),)*
                }
            };
        }
        use Function as F;
        each! {
            F::Ln => F::Ln,
            F::Sin => F::Sin,
            F::Cos => F::Cos,
            F::Tan => F::Tan,
            F::Asin => F::Asin,
            F::Acos => F::Acos,
            F::Atan => F::Atan,
            F::Sinh => F::Sinh,
            F::Cosh => F::Cosh,
            F::Asinh => F::Asinh,
            F::Acosh => F::Acosh,
            F::Atanh => F::Atanh,
            F::Softplus => F::Softplus,
            F::Mish => F::Mish,
            F::Selu { scale, alpha, width } => F::Selu { scale, alpha, width },
        }
    }
}
