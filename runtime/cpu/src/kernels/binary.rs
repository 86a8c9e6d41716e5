//! Operators of two inputs, element by element, with broadcasting.

use byoc_graph::{DType, Element};

use crate::fast::Isa;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast, from};
use crate::kernels::{loops, unary};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    name: &'static str,
    ops: &'static [&'static str],
    dtypes: &'static [DType],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name, domain: "", ops, since: 7, dtypes, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry("binary", &["Add", "Sub", "Mul", "Div", "Min", "Max"], &[DType::F32], prepare),
    entry("binary", &["PRelu"], &[DType::F32], kernel::<f32, PRelu>),
    entry("power", &["Pow"], &[DType::F32], prepare_power),
    entry("binary", &["Mod"], &[DType::F32], |node| {
        let keeps_sign = node.int("fmod").unwrap_or(0) != 0;
        keeps_sign.then(|| kernel::<f32, Rest>(node)).flatten()
    }),
    entry("several", &["Sum", "Min", "Max", "Mean"], &[DType::F32], prepare_several),
];

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
struct Pow;
struct PRelu;
/// The rest with the sign of the first operand.
struct Rest;

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
    f32, Pow: |a, b| a.powf(b);
    f32, Rest: |a, b| a % b;
    f32, PRelu: |a, b| if a < 0.0 { a * b } else { a };
}

fn kernel<T: Element, O: Op<T>>(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let in_place = (0..2).find(|&i| node.like_output(i) && node.constant(i).is_none());
    Some(Box::new(Binary::<T, O> { in_place, op: std::marker::PhantomData }))
}

/// Powers that are something simpler are computed as that.
fn prepare_power(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    if node.dtype(1) != Some(DType::F32) {
        return None;
    }
    let alone = node.constant(1).is_some_and(|e| node.rank(0).is_some_and(|rank| e.rank() <= rank));
    match node.scalar_f32(1).filter(|_| alone) {
        Some(2.0) => unary::of(
            #[inline(always)]
            |x: f32| x * x,
        ),
        Some(3.0) => unary::of(
            #[inline(always)]
            |x: f32| x * x * x,
        ),
        Some(1.0) => unary::of(
            #[inline(always)]
            |x: f32| x,
        ),
        Some(-1.0) => unary::of(
            #[inline(always)]
            |x: f32| 1.0 / x,
        ),
        // Unlike the root, the power of -0 is 0, and that of -∞ is ∞.
        Some(0.5) => unary::of(
            #[inline(always)]
            |x: f32| if x == f32::NEG_INFINITY { f32::INFINITY } else { (x + 0.0).sqrt() },
        ),
        _ => kernel::<f32, Pow>(node),
    }
}

fn prepare_several(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    fn several<O: Op<f32>>() -> Option<Box<dyn Kernel>> {
        Some(Box::new(Several::<O> { mean: false, op: std::marker::PhantomData }))
    }
    match node.op() {
        "Mean" => Some(Box::new(Several::<Add> { mean: true, op: std::marker::PhantomData })),
        "Sum" => several::<Add>(),
        "Min" => several::<Min>(),
        _ => several::<Max>(),
    }
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    if node.inputs.len() != 2 {
        return None;
    }
    match node.op() {
        "Add" => kernel::<f32, Add>(node),
        "Sub" => kernel::<f32, Sub>(node),
        "Mul" => kernel::<f32, Mul>(node),
        "Div" => kernel::<f32, Div>(node),
        "Min" => kernel::<f32, Min>(node),
        "Max" => kernel::<f32, Max>(node),
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
        let walk = Walk::new(&dims, [a.dims, b.dims]);
        let out = outputs.tensor::<T>(0, &dims)?;
        let isa = ctx.exec.isa;
        walk.rows(ctx.exec, out, |starts, steps, part| {
            let operands = [from(sources[0], starts[0]), from(sources[1], starts[1])];
            row::<T, O>(isa, operands, steps, held, part);
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        self.in_place
    }
}

/// One operator between any number of inputs, the first ones first.
struct Several<O> {
    /// Whether the result is divided by the number of inputs.
    mean: bool,
    op: std::marker::PhantomData<fn() -> O>,
}

impl<O: Op<f32>> Kernel for Several<O> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let parts: Vec<TensorView<'_>> =
            (0..inputs.len()).map(|i| tensor(inputs, i)).collect::<Result<_, _>>()?;
        let mut dims = parts.first().ok_or(KernelError::MissingInput(0))?.static_dims();
        for part in &parts[1..] {
            dims = broadcast(&dims, part.dims)?;
        }
        let out = outputs.tensor::<f32>(0, &dims)?;
        combine::<O>(ctx, &dims, &parts, out)?;
        if self.mean {
            let (isa, count) = (ctx.exec.isa, [parts.len() as f32]);
            loops::split(ctx.exec, out, &|_, part| {
                row::<f32, Div>(isa, [&[], &count], [1, 0], Some(0), part)
            });
        }
        Ok(())
    }
}

/// The sum of all parts, which broadcast to `dims`.
pub(super) fn add_all(
    ctx: &Ctx<'_>,
    dims: &[usize],
    parts: &[TensorView<'_>],
    out: &mut [f32],
) -> Result<(), KernelError> {
    for part in parts {
        if broadcast(dims, part.dims)?[..] != *dims {
            let message = format!("{:?} does not broadcast to {dims:?}", part.dims);
            return Err(KernelError::invalid(message));
        }
    }
    combine::<Add>(ctx, dims, parts, out)
}

/// One operator between all parts, the first ones first.
fn combine<O: Op<f32>>(
    ctx: &Ctx<'_>,
    dims: &[usize],
    parts: &[TensorView<'_>],
    out: &mut [f32],
) -> Result<(), KernelError> {
    let isa = ctx.exec.isa;
    let [first, second, more @ ..] = parts else {
        out.copy_from_slice(parts.first().ok_or(KernelError::MissingInput(0))?.slice::<f32>()?);
        return Ok(());
    };
    let sources = [first.slice::<f32>()?, second.slice::<f32>()?];
    Walk::new(dims, [first.dims, second.dims]).rows(ctx.exec, out, |starts, steps, part| {
        let operands = [from(sources[0], starts[0]), from(sources[1], starts[1])];
        row::<f32, O>(isa, operands, steps, None, part);
    });
    for next in more {
        let source = next.slice::<f32>()?;
        Walk::new(dims, [dims, next.dims]).rows(ctx.exec, out, |starts, steps, part| {
            row::<f32, O>(isa, [&[], from(source, starts[1])], steps, Some(0), part);
        });
    }
    Ok(())
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
