//! The adapter that runs an operator by its reference kernel.

use byoc_graph::{Datum, Node};
use smallvec::SmallVec;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc};
use crate::outputs::Outputs;
use crate::reference::{self, Call, NoBodies};
use crate::view::View;

/// The reference kernel of a node, if there is one.
pub(crate) fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let kernel = reference::lookup(node.domain(), node.op(), node.opset())?;
    Some(Box::new(Reference { kernel, node: node.node.clone() }))
}

struct Reference {
    kernel: reference::Kernel,
    node: Node,
}

impl Kernel for Reference {
    fn is_serial(&self) -> bool {
        true
    }

    fn run(
        &self,
        _: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let inputs = &inputs[..inputs.len().min(self.node.inputs().len())];
        let data: SmallVec<[Option<Datum>; 4]> =
            inputs.iter().map(|view| view.as_ref().map(View::to_datum)).collect();
        let inputs: SmallVec<[Option<&Datum>; 4]> = data.iter().map(Option::as_ref).collect();
        let call = Call { node: &self.node, inputs: &inputs, bodies: &NoBodies };
        let made = (self.kernel)(&call).map_err(|fault| KernelError::Other(Box::new(fault)))?;
        for (i, datum) in made.into_iter().enumerate().take(outputs.len()) {
            if outputs.wanted(i) {
                outputs.set(i, datum)?;
            }
        }
        Ok(())
    }
}
