//! Sums and means in f32 over the last axes.

use byoc_graph::{DType, StaticDims};

use crate::fast::Isa;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "reduction",
    domain: "",
    ops: &["ReduceMean", "ReduceSum"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// The sum of a row, in sixteen lanes whatever the instruction set, so that results do not depend on it.
pub(super) fn sum(isa: Isa, row: &[f32]) -> f32 {
    loops::vectorised(
        isa,
        #[inline(always)]
        || {
            let mut lanes = [0f32; 16];
            let chunks = row.chunks_exact(16);
            let rest = chunks.remainder();
            for chunk in chunks {
                lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x);
            }
            lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x);
            // In a fixed order.
            let mut width = 8;
            while width > 0 {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
                width /= 2;
            }
            lanes[0]
        },
    )
}

struct Reduce {
    mean: bool,
    keep: bool,
    /// Where no axes are given, nothing is reduced, instead of everything.
    none: bool,
    axes: Option<Vec<i64>>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let axes = match (node.ints("axes"), node.constant(1)) {
        (Some(axes), _) => Some(axes.to_vec()),
        (None, Some(axes)) => Some(axes.to_i64s()?),
        (None, None) if node.has_input(1) => return None,
        (None, None) => None,
    };
    let none = node.int("noop_with_empty_axes").unwrap_or(0) != 0;
    // Only the last axes, in any order; all of them where none are given.
    if let (Some(axes), Some(rank)) = (&axes, node.rank(0)) {
        let marked = mark(axes, rank)?;
        if !marked.is_sorted() {
            return None;
        }
    } else if axes.is_some() {
        return None;
    }
    let keep = node.int("keepdims").unwrap_or(1) != 0;
    Some(Box::new(Reduce { mean: node.op() == "ReduceMean", keep, none, axes }))
}

/// Which axes are reduced.
fn mark(axes: &[i64], rank: usize) -> Option<Vec<bool>> {
    let mut marked = vec![false; rank];
    for &axis in axes {
        let at = if axis < 0 { axis + rank as i64 } else { axis };
        *marked.get_mut(usize::try_from(at).ok()?)? = true;
    }
    Some(marked)
}

impl Kernel for Reduce {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let wrong = || KernelError::invalid(format!("axes {:?} of {:?}", self.axes, x.dims));
        optional(inputs, 1)?;
        let marked = match &self.axes {
            Some(axes) if !axes.is_empty() => mark(axes, x.rank()).ok_or_else(wrong)?,
            _ => vec![!self.none; x.rank()],
        };
        if !marked.is_sorted() {
            return Err(wrong());
        }
        let first = marked.iter().position(|&m| m).unwrap_or(marked.len());
        let columns: usize = x.dims[first..].iter().product();
        let mut dims: StaticDims = x.dims[..first].into();
        if self.keep {
            dims.resize(x.rank(), 1);
        }
        let source = x.slice::<f32>()?;
        let out = outputs.tensor::<f32>(0, &dims)?;
        let (isa, divisor) = (ctx.exec.isa, if self.mean { columns as f32 } else { 1.0 });
        let rows = (loops::GRAIN / columns.max(1)).max(1);
        ctx.exec.pool.parallel_chunks(out, rows, &|piece, out| {
            for (i, out) in out.iter_mut().enumerate() {
                let row = &source[(piece * rows + i) * columns..][..columns];
                *out = sum(isa, row) / divisor;
            }
        });
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}
