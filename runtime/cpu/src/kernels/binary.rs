//! Operators of two inputs, element by element, with broadcasting.

use byoc_graph::{DType, Element};

use crate::fast::Isa;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "binary",
    domain: "",
    ops: &["Add", "Sub", "Mul", "Div", "Min", "Max"],
    since: 7,
    dtypes: &[DType::F32, DType::I64],
    priority: 10,
    prepare,
}];

/// An operator on two elements.
trait Op<T>: Send + Sync + 'static {
    fn apply(a: T, b: T) -> T;
}

struct Add;
struct Sub;
struct Mul;
struct Div;
struct Min;
struct Max;

macro_rules! ops {
    ($($ty:ty, $op:ident: |$a:ident, $b:ident| $value:expr;)*) => {
        $(impl Op<$ty> for $op {
            #[inline(always)]
            fn apply($a: $ty, $b: $ty) -> $ty { $value }
        })*
    };
}

ops! {
    f32, Add: |a, b| a + b;
    f32, Sub: |a, b| a - b;
    f32, Mul: |a, b| a * b;
    f32, Div: |a, b| a / b;
    // A NaN on either side is the result.
    f32, Min: |a, b| if a < b || a.is_nan() { a } else { b };
    f32, Max: |a, b| if a > b || a.is_nan() { a } else { b };
    i64, Add: |a, b| a.wrapping_add(b);
    i64, Sub: |a, b| a.wrapping_sub(b);
    i64, Mul: |a, b| a.wrapping_mul(b);
    i64, Min: |a, b| a.min(b);
    i64, Max: |a, b| a.max(b);
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    if node.inputs.len() != 2 {
        return None;
    }
    fn kernel<T: Element, O: Op<T>>(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
        let in_place = (0..2).find(|&i| node.like_output(i) && node.constant(i).is_none());
        Some(Box::new(Binary::<T, O> { in_place, op: std::marker::PhantomData }))
    }
    match (node.dtype(0)?, node.op()) {
        (DType::F32, "Add") => kernel::<f32, Add>(node),
        (DType::F32, "Sub") => kernel::<f32, Sub>(node),
        (DType::F32, "Mul") => kernel::<f32, Mul>(node),
        (DType::F32, "Div") => kernel::<f32, Div>(node),
        (DType::F32, "Min") => kernel::<f32, Min>(node),
        (DType::F32, "Max") => kernel::<f32, Max>(node),
        (DType::I64, "Add") => kernel::<i64, Add>(node),
        (DType::I64, "Sub") => kernel::<i64, Sub>(node),
        (DType::I64, "Mul") => kernel::<i64, Mul>(node),
        (DType::I64, "Min") => kernel::<i64, Min>(node),
        (DType::I64, "Max") => kernel::<i64, Max>(node),
        _ => None,
    }
}

struct Binary<T, O> {
    in_place: Option<usize>,
    op: std::marker::PhantomData<fn(T) -> O>,
}

impl<T: Element, O: Op<T>> Kernel for Binary<T, O> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let dims = broadcast(a.dims, b.dims)?;
        let held = self.in_place.filter(|_| outputs.holds_input(0));
        let source = |i: usize| match (held == Some(i), [a, b][i]) {
            (true, view) if view.dims == &dims[..] => Ok(&[][..]),
            (true, _) => Err(KernelError::invalid("an operand is not of the shape that the model declares")),
            (false, view) => view.slice::<T>(),
        };
        let sources = [source(0)?, source(1)?];
        let walk = Walk::new(&dims, a.dims, b.dims);
        let out = outputs.tensor::<T>(0, &dims)?;
        let isa = ctx.exec.isa;
        walk.rows(ctx.exec, sources, out, |from, steps, part| row::<T, O>(isa, from, steps, held, part));
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        self.in_place
    }
}

/// One row. `held` is the operand that `out` holds.
fn row<T: Element, O: Op<T>>(
    isa: Isa,
    [a, b]: [&[T]; 2],
    steps: [usize; 2],
    held: Option<usize>,
    out: &mut [T],
) {
    loops::vectorised(
        isa,
        #[inline(always)]
        || match (held, steps) {
            (Some(0), [_, 0]) => out.iter_mut().for_each(|x| *x = O::apply(*x, b[0])),
            (Some(0), _) => out.iter_mut().zip(b).for_each(|(x, &b)| *x = O::apply(*x, b)),
            (Some(_), [0, _]) => out.iter_mut().for_each(|x| *x = O::apply(a[0], *x)),
            (Some(_), _) => out.iter_mut().zip(a).for_each(|(x, &a)| *x = O::apply(a, *x)),
            (None, [0, 0]) => out.fill(O::apply(a[0], b[0])),
            (None, [0, _]) => out.iter_mut().zip(b).for_each(|(x, &b)| *x = O::apply(a[0], b)),
            (None, [_, 0]) => out.iter_mut().zip(a).for_each(|(x, &a)| *x = O::apply(a, b[0])),
            (None, _) => out.iter_mut().zip(a).zip(b).for_each(|((x, &a), &b)| *x = O::apply(a, b)),
        },
    );
}
