//! Cast between the element types that models convert in bulk. Conversions that may saturate are left to the
//! reference.

use byoc_graph::{DType, Element};

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "cast",
    domain: "",
    ops: &["Cast"],
    since: 6,
    dtypes: &[DType::F32, DType::F16, DType::I32, DType::I64, DType::U8, DType::I8, DType::Bool],
    priority: 10,
    prepare,
}];

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let to = i32::try_from(node.int("to")?).ok().and_then(DType::from_onnx)?;
    let from = node.dtype(0)?;
    let to_wide = matches!(to, DType::F32 | DType::I32 | DType::I64);
    let to_half = to == DType::F16 && from == DType::F32;
    // From a fraction to a whole number, values that do not fit are a matter of taste.
    let whole = matches!(to, DType::I32 | DType::I64) && matches!(from, DType::F32 | DType::F16);
    ((to_wide || to_half) && !whole).then(|| Box::new(Cast { from, to }) as Box<dyn Kernel>)
}

struct Cast {
    from: DType,
    to: DType,
}

/// Converts all elements.
fn convert<A: bytemuck::Pod + Sync, B: Element>(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    outputs: &mut Outputs<'_>,
    f: impl Fn(A) -> B + Copy + Sync,
) -> Result<(), KernelError> {
    let source: &[A] = bytemuck::try_cast_slice(x.bytes()).map_err(|_| KernelError::Misaligned)?;
    let (out, isa) = (outputs.tensor::<B>(0, x.dims)?, ctx.exec.isa);
    loops::split(ctx.exec, out, &|range, part| {
        loops::vectorised(
            isa,
            #[inline(always)]
            || part.iter_mut().zip(&source[range]).for_each(|(out, &x)| *out = f(x)),
        );
    });
    Ok(())
}

impl Kernel for Cast {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        if x.dtype != self.from {
            return Err(KernelError::DType { expected: self.from, got: x.dtype });
        }
        macro_rules! to {
            ($from:ty, $widen:expr) => {
                match self.to {
                    DType::F32 => convert(
                        ctx,
                        x,
                        outputs,
                        #[inline(always)]
                        |v: $from| $widen(v) as f32,
                    ),
                    DType::I32 => convert(
                        ctx,
                        x,
                        outputs,
                        #[inline(always)]
                        |v: $from| $widen(v) as i32,
                    ),
                    _ => convert(
                        ctx,
                        x,
                        outputs,
                        #[inline(always)]
                        |v: $from| $widen(v) as i64,
                    ),
                }
            };
        }
        match (self.from, self.to) {
            (DType::F32, DType::F16) => convert(ctx, x, outputs, half::f16::from_f32),
            (DType::F32, _) => convert(ctx, x, outputs, |v: f32| v),
            (DType::F16, _) => convert(ctx, x, outputs, half::f16::to_f32),
            (DType::I32, _) => to!(i32, std::convert::identity::<i32>),
            (DType::I64, _) => to!(i64, std::convert::identity::<i64>),
            (DType::I8, _) => to!(i8, std::convert::identity::<i8>),
            (DType::Bool, _) => to!(u8, |v: u8| u8::from(v != 0)),
            _ => to!(u8, std::convert::identity::<u8>),
        }
    }
}
