//! LRN in f32.

use byoc_graph::DType;

use crate::fast::neighbours::{Response, normalise};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "response normalisation",
    domain: "",
    ops: &["LRN"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct Lrn(Response);

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let size = usize::try_from(node.int("size")?).ok().filter(|&n| n > 0)?;
    let alpha = node.float("alpha").unwrap_or(1e-4) / size as f32;
    let (beta, bias) = (node.float("beta").unwrap_or(0.75), node.float("bias").unwrap_or(1.0));
    // Sums are positive then, and their powers are as exact as logarithms.
    (alpha >= 0.0 && bias > 0.0 && beta.abs() <= 4.0).then_some(())?;
    Some(Box::new(Lrn(Response { reach: [(size - 1) / 2, size / 2], alpha, beta, bias })))
}

impl Kernel for Lrn {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let &[_, channels, ref spatial @ ..] = x.dims else {
            return Err(KernelError::invalid(format!("an input with channels is needed, not {:?}", x.dims)));
        };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        normalise(ctx.exec, self.0, x.slice()?, [channels, spatial.iter().product()], out);
        Ok(())
    }
}
