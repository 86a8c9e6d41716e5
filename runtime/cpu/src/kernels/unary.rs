//! Further operators of one f32 input, element by element.

use byoc_graph::DType;

use crate::fast::function::Function;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "unary",
        domain: "",
        ops: &[
            "Abs",
            "Ceil",
            "Floor",
            "Neg",
            "Reciprocal",
            "Round",
            "Shrink",
            "Sign",
            "Softsign",
            "Sqrt",
            "ThresholdedRelu",
        ],
        since: 6,
        dtypes: &[DType::F32],
        priority: 10,
        prepare,
    },
    Entry {
        name: "function",
        domain: "",
        ops: &[
            "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cos", "Cosh", "Log", "Mish", "Selu",
            "Sin", "Sinh", "Softplus", "Tan",
        ],
        since: 6,
        dtypes: &[DType::F32],
        priority: 10,
        prepare: |node| Some(Box::new(Curve(function_of(node)?))),
    },
];

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
    match node.op() {
        "Abs" => of(
            #[inline(always)]
            |x: f32| x.abs(),
        ),
        "Ceil" => of(
            #[inline(always)]
            |x: f32| x.ceil(),
        ),
        "Floor" => of(
            #[inline(always)]
            |x: f32| x.floor(),
        ),
        "Neg" => of(
            #[inline(always)]
            |x: f32| -x,
        ),
        "Reciprocal" => of(
            #[inline(always)]
            |x: f32| 1.0 / x,
        ),
        "Round" => of(
            #[inline(always)]
            |x: f32| x.round_ties_even(),
        ),
        "Shrink" => {
            let (bias, limit) = (float("bias", 0.0), float("lambd", 0.5));
            of(
                #[inline(always)]
                move |x: f32| {
                    if x < -limit {
                        x + bias
                    } else if x > limit {
                        x - bias
                    } else {
                        0.0
                    }
                },
            )
        }
        // Zero stays zero, and what is not a number has no sign.
        "Sign" => of(
            #[inline(always)]
            |x: f32| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x * 0.0
                }
            },
        ),
        "Softsign" => of(
            #[inline(always)]
            |x: f32| x / (1.0 + x.abs()),
        ),
        "Sqrt" => of(
            #[inline(always)]
            |x: f32| x.sqrt(),
        ),
        "ThresholdedRelu" => {
            let alpha = float("alpha", 1.0);
            of(
                #[inline(always)]
                move |x: f32| if x > alpha { x } else { 0.0 },
            )
        }
        _ => None,
    }
}

fn function_of(node: &NodeDesc<'_>) -> Option<Function> {
    let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
    Some(match node.op() {
        "Acos" => Function::Acos,
        "Acosh" => Function::Acosh,
        "Asin" => Function::Asin,
        "Asinh" => Function::Asinh,
        "Atan" => Function::Atan,
        "Atanh" => Function::Atanh,
        "Cosh" => Function::Cosh,
        "Sinh" => Function::Sinh,
        "Tan" => Function::Tan,
        "Celu" => {
            let alpha = float("alpha", 1.0);
            Function::Selu { scale: 1.0, alpha, width: alpha }
        }
        "Cos" => Function::Cos,
        "Log" => Function::Ln,
        "Mish" => Function::Mish,
        "Selu" => {
            let (alpha, scale) = (float("alpha", 1.673_263_2), float("gamma", 1.050_701));
            Function::Selu { scale, alpha, width: 1.0 }
        }
        "Sin" => Function::Sin,
        "Softplus" => Function::Softplus,
        _ => return None,
    })
}

/// The kernel of a plain function.
pub(super) fn of<F: Fn(f32) -> f32 + Copy + Send + Sync + 'static>(f: F) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Unary(f)))
}

/// The kernel of a curve that needs polynomials.
struct Curve(Function);

impl Kernel for Curve {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let held = outputs.holds_input(0);
        let source = if held { &[][..] } else { x.slice::<f32>()? };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        match held {
            true => self.0.apply(ctx.exec, out),
            false => self.0.map(ctx.exec, source, out),
        }
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

struct Unary<F>(F);

impl<F: Fn(f32) -> f32 + Copy + Send + Sync> Kernel for Unary<F> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let held = outputs.holds_input(0);
        let source = if held { &[][..] } else { x.slice::<f32>()? };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        let (isa, f) = (ctx.exec.isa, self.0);
        loops::split(ctx.exec, out, &|range, part| {
            loops::vectorised(
                isa,
                #[inline(always)]
                || {
                    if held {
                        part.iter_mut().for_each(|x| *x = f(*x));
                    } else {
                        part.iter_mut().zip(&source[range]).for_each(|(out, &x)| *out = f(x));
                    }
                },
            );
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
