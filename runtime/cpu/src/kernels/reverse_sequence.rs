//! ReverseSequence: runs of elements of any whole number of bytes, in the opposite order up to each sequence's length.

use byoc_graph::element_count;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "reverse",
    domain: "",
    ops: &["ReverseSequence"],
    since: 10,
    dtypes: super::MOVABLE,
    priority: 10,
    prepare,
}];

struct ReverseSequence {
    /// The axes of sequences and of time are the first two, in either order.
    time_first: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let time_first = match (node.int("batch_axis").unwrap_or(1), node.int("time_axis").unwrap_or(0)) {
        (1, 0) => true,
        (0, 1) => false,
        _ => return None,
    };
    Some(Box::new(ReverseSequence { time_first }))
}

impl Kernel for ReverseSequence {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (x, lengths) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let &[outer, inner, ref unit @ ..] = x.dims else {
            return Err(KernelError::invalid(format!("sequences of {:?}", x.dims)));
        };
        let (batch, steps) = if self.time_first { (inner, outer) } else { (outer, inner) };
        let whole = |&length: &i64| usize::try_from(length).ok().filter(|&length| length <= steps);
        let lengths = lengths.to_i64s().filter(|lengths| lengths.len() == batch);
        let lengths: Option<Vec<usize>> = lengths.and_then(|lengths| lengths.iter().map(whole).collect());
        let lengths = lengths.ok_or_else(|| {
            KernelError::invalid(format!("the lengths do not suit sequences of {:?}", x.dims))
        })?;
        let unit = element_count(unit).and_then(|n| x.dtype.byte_len(n)).unwrap_or(0);
        let out = outputs.bytes(0, x.dtype, x.dims)?;
        loops::rows(ctx.exec, out, unit, &|row, out| {
            let (a, b) = (row / inner, row % inner);
            let (sequence, t) = if self.time_first { (b, a) } else { (a, b) };
            let length = lengths[sequence];
            let from = if t < length { length - 1 - t } else { t };
            let row = if self.time_first { from * inner + sequence } else { sequence * inner + from };
            out.copy_from_slice(&x.bytes()[row * unit..][..unit]);
        });
        Ok(())
    }
}
