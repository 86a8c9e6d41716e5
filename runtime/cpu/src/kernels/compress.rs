//! Compress: the slices of an axis, or the elements, for which a condition holds.

use byoc_graph::{DType, StaticDims, element_count};

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "compress",
    domain: "",
    ops: &["Compress"],
    since: 9,
    dtypes: super::MOVABLE,
    priority: 10,
    prepare,
}];

struct Compress {
    /// All axes are one where there is none.
    axis: Option<i64>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Compress { axis: node.int("axis") }))
}

impl Kernel for Compress {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, condition) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        if condition.dtype != DType::Bool {
            return Err(KernelError::DType { expected: DType::Bool, got: condition.dtype });
        }
        let (mut dims, axis): (StaticDims, usize) = match self.axis {
            None => ([x.len()].into_iter().collect(), 0),
            Some(axis) => {
                let at = if axis < 0 { axis.saturating_add(x.rank() as i64) } else { axis };
                let at = usize::try_from(at).ok().filter(|&at| at < x.rank());
                let at = at.ok_or_else(|| KernelError::invalid(format!("no axis {axis} in {:?}", x.dims)))?;
                (x.static_dims(), at)
            }
        };
        let (len, condition) = (dims[axis], condition.bytes());
        let chosen: Vec<usize> = (0..condition.len().min(len)).filter(|&i| condition[i] != 0).collect();
        let unit = element_count(&dims[axis + 1..]).and_then(|n| x.dtype.byte_len(n)).unwrap_or(0);
        dims[axis] = chosen.len();
        let out = outputs.bytes(0, x.dtype, &dims)?;
        loops::rows(ctx.exec, out, unit, &|row, out| {
            let from = row / chosen.len() * len + chosen[row % chosen.len()];
            out.copy_from_slice(&x.bytes()[from * unit..][..unit]);
        });
        Ok(())
    }
}
