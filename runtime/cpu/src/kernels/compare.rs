//! Comparisons, element by element, with broadcasting.

use byoc_graph::{DType, Element};
use bytemuck::Pod;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast, from};
use crate::kernels::loops;
use crate::kernels::words::words;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    ops: &'static [&'static str],
    dtypes: &'static [DType],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "compare", domain: "", ops, since: 7, dtypes, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        &["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"],
        &[
            DType::F32,
            DType::F64,
            DType::I8,
            DType::I16,
            DType::I32,
            DType::I64,
            DType::U8,
            DType::U16,
            DType::U32,
            DType::U64,
        ],
        prepare,
    ),
    entry(&["And", "Or", "Xor"], &[DType::Bool], |node| {
        Some(match node.op() {
            "And" => logic(
                #[inline(always)]
                |a, b| a & b,
            ),
            "Or" => logic(
                #[inline(always)]
                |a, b| a | b,
            ),
            _ => logic(
                #[inline(always)]
                |a, b| a ^ b,
            ),
        })
    }),
    entry(&["Not"], &[DType::Bool], |_| {
        asked(
            DType::Bool,
            #[inline(always)]
            |x: u8| x == 0,
        )
    }),
    entry(&["IsNaN"], &[DType::F32], |_| {
        asked(
            DType::F32,
            #[inline(always)]
            |x: f32| x.is_nan(),
        )
    }),
    entry(&["IsInf"], &[DType::F32], |node| {
        let detects = |name: &str| node.int(name).unwrap_or(1) != 0;
        // One that is not asked for is no number and equal to nothing.
        let low = if detects("detect_negative") { f32::NEG_INFINITY } else { f32::NAN };
        let high = if detects("detect_positive") { f32::INFINITY } else { f32::NAN };
        asked(
            DType::F32,
            #[inline(always)]
            move |x: f32| x == low || x == high,
        )
    }),
];

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
        macro_rules! by_type {
            ($($dtype:ident: $ty:ty),*) => {
                match dtype {
                    $(DType::$dtype => Some(Box::new(Compare::<$ty, R>(std::marker::PhantomData))),)*
                    _ => None,
                }
            };
        }
        by_type!(
            F32: f32, F64: f64, I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64
        )
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
        relate(
            ctx,
            [a.dims, b.dims],
            [a.slice::<T>()?, b.slice::<T>()?],
            outputs,
            #[inline(always)]
            |a, b| R::holds(a, b),
        )
    }
}

/// What two truths make, on bytes that are zero or not.
struct Logic<F>(F);

fn logic<F: Fn(bool, bool) -> bool + Copy + Send + Sync + 'static>(f: F) -> Box<dyn Kernel> {
    Box::new(Logic(f))
}

/// The bytes of a tensor of truths.
fn truths<'a>(inputs: &[Option<View<'a>>], i: usize) -> Result<TensorView<'a>, KernelError> {
    let x = tensor(inputs, i)?;
    match x.dtype {
        DType::Bool => Ok(x),
        got => Err(KernelError::DType { expected: DType::Bool, got }),
    }
}

impl<F: Fn(bool, bool) -> bool + Copy + Send + Sync> Kernel for Logic<F> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let ((a, b), f) = ((truths(inputs, 0)?, truths(inputs, 1)?), self.0);
        relate(
            ctx,
            [a.dims, b.dims],
            [a.bytes(), b.bytes()],
            outputs,
            #[inline(always)]
            move |a: u8, b: u8| f(a != 0, b != 0),
        )
    }
}

/// A question about each element, as a word of its size.
struct Asked<T, F> {
    dtype: DType,
    holds: F,
    word: std::marker::PhantomData<fn(T)>,
}

fn asked<T, F>(dtype: DType, holds: F) -> Option<Box<dyn Kernel>>
where
    T: Pod + Sync,
    F: Fn(T) -> bool + Copy + Send + Sync + 'static,
{
    Some(Box::new(Asked { dtype, holds, word: std::marker::PhantomData }))
}

impl<T: Pod + Sync, F: Fn(T) -> bool + Copy + Send + Sync> Kernel for Asked<T, F> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        if x.dtype != self.dtype {
            return Err(KernelError::DType { expected: self.dtype, got: x.dtype });
        }
        let (source, isa, holds) = (words::<T>(x)?, ctx.exec.isa, self.holds);
        let out = outputs.bytes(0, DType::Bool, x.dims)?;
        loops::split(ctx.exec, out, &|range, out| {
            loops::vectorised(
                isa,
                #[inline(always)]
                || out.iter_mut().zip(&source[range]).for_each(|(out, &x)| *out = holds(x).into()),
            );
        });
        Ok(())
    }
}

/// Whether `holds` is true of each two elements.
fn relate<T: Copy + Sync>(
    ctx: &Ctx<'_>,
    [a_dims, b_dims]: [&[usize]; 2],
    [a, b]: [&[T]; 2],
    outputs: &mut Outputs<'_>,
    holds: impl Fn(T, T) -> bool + Copy + Sync,
) -> Result<(), KernelError> {
    let dims = broadcast(a_dims, b_dims)?;
    let walk = Walk::new(&dims, [a_dims, b_dims]);
    let out = outputs.bytes(0, DType::Bool, &dims)?;
    let isa = ctx.exec.isa;
    walk.rows(ctx.exec, out, |starts, steps, out| {
        let (a, b) = (from(a, starts[0]), from(b, starts[1]));
        loops::vectorised(
            isa,
            #[inline(always)]
            || match steps {
                [0, 0] => out.fill(holds(a[0], b[0]).into()),
                [0, _] => out.iter_mut().zip(b).for_each(|(x, &b)| *x = holds(a[0], b).into()),
                [_, 0] => out.iter_mut().zip(a).for_each(|(x, &a)| *x = holds(a, b[0]).into()),
                _ => {
                    let both = a.iter().zip(b);
                    out.iter_mut().zip(both).for_each(|(x, (&a, &b))| *x = holds(a, b).into());
                }
            },
        );
    });
    Ok(())
}
