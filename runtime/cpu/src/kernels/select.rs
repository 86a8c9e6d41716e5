//! Where and Expand: elements of any whole number of bytes, broadcast.

use byoc_graph::StaticDims;
use bytemuck::Pod;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast, from};
use crate::kernels::loops;
use crate::kernels::words::{by_size, words, words_mut};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "select",
        domain: "",
        ops: &["Where"],
        since: 9,
        dtypes: &[byoc_graph::DType::Bool],
        priority: 10,
        prepare: prepare_where,
    },
    Entry {
        name: "select",
        domain: "",
        ops: &["Expand"],
        since: 8,
        dtypes: super::MOVABLE,
        priority: 10,
        prepare: |_| Some(Box::new(Expand)),
    },
];

fn prepare_where(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let dtype = node.dtype(1)?;
    (node.dtype(2) == Some(dtype) && super::MOVABLE.contains(&dtype))
        .then(|| Box::new(Where) as Box<dyn Kernel>)
}

struct Where;

impl Kernel for Where {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let [condition, x, y] = [tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?];
        if x.dtype != y.dtype {
            return Err(KernelError::DType { expected: x.dtype, got: y.dtype });
        }
        by_size!(x.dtype, choose(ctx, condition, [x, y], outputs))
    }
}

fn choose<T: Pod + Send + Sync>(
    ctx: &Ctx<'_>,
    condition: TensorView<'_>,
    [x, y]: [TensorView<'_>; 2],
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let dims = broadcast(condition.dims, &broadcast(x.dims, y.dims)?)?;
    let walk = Walk::new(&dims, [condition.dims, x.dims, y.dims]);
    let (c, a, b) = (condition.bytes(), words::<T>(x)?, words::<T>(y)?);
    let out = words_mut::<T>(outputs.bytes(0, x.dtype, &dims)?)?;
    let isa = ctx.exec.isa;
    walk.rows(ctx.exec, out, |starts, steps, out| {
        let (c, a, b) = (from(c, starts[0]), from(a, starts[1]), from(b, starts[2]));
        loops::vectorised(
            isa,
            #[inline(always)]
            || match steps {
                [0, _, _] => {
                    let (side, step) = if c[0] != 0 { (a, steps[1]) } else { (b, steps[2]) };
                    repeat(side, step, out);
                }
                [_, 0, 0] => {
                    out.iter_mut().zip(c).for_each(|(out, &c)| *out = if c != 0 { a[0] } else { b[0] })
                }
                [_, 0, _] => {
                    out.iter_mut()
                        .zip(c)
                        .zip(b)
                        .for_each(|((out, &c), &b)| *out = if c != 0 { a[0] } else { b });
                }
                [_, _, 0] => {
                    out.iter_mut()
                        .zip(c)
                        .zip(a)
                        .for_each(|((out, &c), &a)| *out = if c != 0 { a } else { b[0] });
                }
                _ => {
                    let sides = a.iter().zip(b);
                    out.iter_mut().zip(c).zip(sides).for_each(|((out, &c), (&a, &b))| {
                        *out = if c != 0 { a } else { b };
                    });
                }
            },
        );
    });
    Ok(())
}

/// A row of an operand that stands still, or moves along.
fn repeat<T: Copy>(from: &[T], step: usize, out: &mut [T]) {
    match step {
        0 => out.fill(from[0]),
        _ => out.copy_from_slice(&from[..out.len()]),
    }
}

struct Expand;

impl Kernel for Expand {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, shape) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let wrong = || KernelError::invalid("the shape to expand to is no list of sizes");
        let shape: StaticDims = shape
            .to_i64s()
            .and_then(|s| s.iter().map(|&n| usize::try_from(n).ok()).collect())
            .ok_or_else(wrong)?;
        let dims = broadcast(x.dims, &shape)?;
        by_size!(x.dtype, expand(ctx, x, &dims, outputs))
    }
}

fn expand<T: Pod + Send + Sync>(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    dims: &[usize],
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let source = words::<T>(x)?;
    let out = words_mut::<T>(outputs.bytes(0, x.dtype, dims)?)?;
    Walk::new(dims, [x.dims]).rows(ctx.exec, out, |[start], [step], out| repeat(&source[start..], step, out));
    Ok(())
}
