//! A call of a local function: its body with the call's attributes put in.

use byoc_cpu::{Ctx, Kernel, KernelError, Outputs, View};
use byoc_graph::{Function, Graph, Node};
use smallvec::SmallVec;

use crate::program::Program;

/// A function's body, for one call.
pub(crate) struct Call(pub Program);

impl Kernel for Call {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let mut given: SmallVec<[_; 8]> = inputs.into();
        given.resize(self.0.inputs().len(), None);
        let mut made = SmallVec::new();
        self.0.run_nested(ctx, &given, &mut [], &mut made).map_err(|e| KernelError::Other(Box::new(e)))?;
        for (i, made) in made.into_iter().enumerate().take(outputs.len()) {
            outputs.set_made(i, made)?;
        }
        Ok(())
    }
}

/// The function's body with the attributes of the call put in.
pub(crate) fn instantiate(function: &Function, call: &Node) -> Graph {
    let mut body = function.with_attributes(&function.with_defaults(call.attrs.clone()));
    let inputs: Vec<_> = body.inputs().to_vec();
    // Parameters that the call leaves out are absent in the body, too.
    for (i, input) in inputs.into_iter().enumerate() {
        if call.input(i).is_none() {
            drop_uses(&mut body, input);
        }
    }
    body
}

fn drop_uses(graph: &mut Graph, value: byoc_graph::ValueId) {
    for use_ in graph.value(value).uses().to_vec() {
        if let byoc_graph::Slot::Input(i) = use_.slot {
            graph.set_input(use_.node, i as usize, None);
        }
    }
}
