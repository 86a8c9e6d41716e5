//! Comparisons, element by element, with broadcasting.

use byoc_graph::{DType, Element};

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "compare",
    domain: "",
    ops: &["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"],
    since: 7,
    dtypes: &[DType::F32, DType::I32, DType::I64],
    priority: 10,
    prepare,
}];

/// A question about two elements.
trait Relation: Send + Sync + 'static {
    fn holds<T: PartialOrd>(a: T, b: T) -> bool;
}

macro_rules! relations {
    ($($name:ident: $op:tt;)*) => {
        $(
            struct $name;
            impl Relation for $name {
                #[inline(always)]
                fn holds<T: PartialOrd>(a: T, b: T) -> bool { a $op b }
            }
        )*
    };
}

relations! {
    Equal: ==;
    Less: <;
    LessOrEqual: <=;
    Greater: >;
    GreaterOrEqual: >=;
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    fn of<R: Relation>(dtype: DType) -> Option<Box<dyn Kernel>> {
        match dtype {
            DType::F32 => Some(Box::new(Compare::<f32, R>(std::marker::PhantomData))),
            DType::I32 => Some(Box::new(Compare::<i32, R>(std::marker::PhantomData))),
            DType::I64 => Some(Box::new(Compare::<i64, R>(std::marker::PhantomData))),
            _ => None,
        }
    }
    let dtype = node.dtype(0)?;
    match node.op() {
        "Equal" => of::<Equal>(dtype),
        "Less" => of::<Less>(dtype),
        "LessOrEqual" => of::<LessOrEqual>(dtype),
        "Greater" => of::<Greater>(dtype),
        "GreaterOrEqual" => of::<GreaterOrEqual>(dtype),
        _ => None,
    }
}

struct Compare<T, R>(std::marker::PhantomData<fn(T) -> R>);

impl<T: Element + PartialOrd, R: Relation> Kernel for Compare<T, R> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let dims = broadcast(a.dims, b.dims)?;
        let walk = Walk::new(&dims, a.dims, b.dims);
        let (a, b) = (a.slice::<T>()?, b.slice::<T>()?);
        let out = outputs.bytes(0, DType::Bool, &dims)?;
        let isa = ctx.exec.isa;
        walk.rows(ctx.exec, [a, b], out, |[a, b], steps, out| {
            loops::vectorised(
                isa,
                #[inline(always)]
                || match steps {
                    [0, 0] => out.fill(R::holds(a[0], b[0]).into()),
                    [0, _] => out.iter_mut().zip(b).for_each(|(x, &b)| *x = R::holds(a[0], b).into()),
                    [_, 0] => out.iter_mut().zip(a).for_each(|(x, &a)| *x = R::holds(a, b[0]).into()),
                    _ => {
                        let both = a.iter().zip(b);
                        out.iter_mut().zip(both).for_each(|(x, (&a, &b))| *x = R::holds(a, b).into());
                    }
                },
            );
        });
        Ok(())
    }
}
