//! Hardmax along the last axes: one at the first of the largest elements, zero elsewhere.

use byoc_graph::DType;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "rows",
    domain: "",
    ops: &["Hardmax"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// Rows begin at an axis.
struct Hardmax {
    axis: usize,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let rank = node.rank(0)?;
    let is_one_axis = node.opset() >= 13;
    let axis = node.int("axis").unwrap_or(if is_one_axis { -1 } else { 1 });
    let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
    (axis < rank && (!is_one_axis || axis + 1 == rank)).then(|| Box::new(Hardmax { axis }) as Box<dyn Kernel>)
}

impl Kernel for Hardmax {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let dims =
            x.dims.get(self.axis..).ok_or_else(|| KernelError::invalid("an axis outside of the rank"))?;
        let (source, out) = (x.slice::<f32>()?, outputs.tensor::<f32>(0, x.dims)?);
        if out.is_empty() {
            return Ok(());
        }
        let (columns, isa) = (dims.iter().product::<usize>(), ctx.exec.isa);
        loops::rows(ctx.exec, out, columns, &|row, out| {
            let x = &source[row * columns..][..columns];
            loops::vectorised(
                isa,
                #[inline(always)]
                || one_hot(x, out),
            );
        });
        Ok(())
    }
}

const LANES: usize = 32;

#[inline(always)]
fn one_hot(x: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for i in 0..LANES {
            lanes[i] = if block[i] > lanes[i] { block[i] } else { lanes[i] };
        }
    }
    let largest =
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &x| if x > most { x } else { most });
    // Nothing is larger than a first element that is no number.
    let at = if x[0].is_nan() { None } else { x.iter().position(|&x| x == largest) };
    out[at.unwrap_or(0)] = 1.0;
}
