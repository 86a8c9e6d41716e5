//! Further operators of one f32 input, element by element, by plain functions.

use byoc_graph::DType;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "unary",
    domain: "",
    ops: &["Abs", "Ceil", "Cos", "Floor", "Log", "Neg", "Reciprocal", "Sin", "Softplus", "Sqrt"],
    since: 6,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    fn of<F: Fn(f32) -> f32 + Copy + Send + Sync + 'static>(f: F) -> Option<Box<dyn Kernel>> {
        Some(Box::new(Unary(f)))
    }
    match node.op() {
        "Abs" => of(
            #[inline(always)]
            |x: f32| x.abs(),
        ),
        "Ceil" => of(
            #[inline(always)]
            |x: f32| x.ceil(),
        ),
        "Cos" => of(f32::cos),
        "Floor" => of(
            #[inline(always)]
            |x: f32| x.floor(),
        ),
        "Log" => of(f32::ln),
        "Neg" => of(
            #[inline(always)]
            |x: f32| -x,
        ),
        "Reciprocal" => of(
            #[inline(always)]
            |x: f32| 1.0 / x,
        ),
        "Sin" => of(f32::sin),
        // In a form that neither overflows nor loses small results.
        "Softplus" => of(|x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "Sqrt" => of(
            #[inline(always)]
            |x: f32| x.sqrt(),
        ),
        _ => None,
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
