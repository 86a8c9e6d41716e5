//! `host.Lookup`: a function of 8-bit codes as a table with an entry for each.

use byoc_graph::DType;

use super::codings::output_dtype;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "lookup",
    domain: "host",
    ops: &["Lookup"],
    since: 1,
    dtypes: &[DType::U8, DType::I8],
    priority: 10,
    prepare,
}];

struct Lookup {
    /// By the bits of a code.
    table: [u8; 256],
    from: DType,
    to: DType,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let table = node.constant(1)?.bytes()[..].try_into().ok()?;
    let (from, to) = (node.dtype(0)?, output_dtype(node)?);
    (to.bits() == 8).then(|| Box::new(Lookup { table, from, to }) as Box<dyn Kernel>)
}

impl Kernel for Lookup {
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
        let (source, table) = (x.bytes(), &self.table);
        let out = outputs.bytes(0, self.to, x.dims)?;
        loops::split(ctx.exec, out, &|range, out| {
            out.iter_mut().zip(&source[range]).for_each(|(out, &x)| *out = table[usize::from(x)]);
        });
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1
    }
}
