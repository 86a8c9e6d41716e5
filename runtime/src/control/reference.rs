//! Operators with bodies that have a reference kernel alone: the kernel asks, the bodies run as programs.

use byoc_cpu::reference::{self, Bodies, Fault};
use byoc_cpu::{Ctx, Kernel, KernelError, Outputs, View};
use byoc_graph::{Datum, Graph, Node};
use smallvec::SmallVec;

use super::{Body, Views, datum_of_made};
use crate::build::{BuildError, Builder};
use crate::program::align_datum;

pub(super) struct Reference {
    kernel: reference::Kernel,
    node: Node,
    /// By the name of the attribute that holds it.
    bodies: Vec<(String, Body)>,
}

impl Reference {
    /// `None` where the operator has no bodies, or no reference kernel.
    pub fn new(builder: &Builder<'_>, graph: &Graph, node: &Node) -> Result<Option<Reference>, BuildError> {
        let op = &node.op;
        let names: Vec<_> =
            node.attrs.iter().filter(|(_, a)| a.graphs().len() == 1).map(|(n, _)| n).collect();
        let Some(kernel) = reference::lookup(&op.domain, &op.name, node.opset).filter(|_| !names.is_empty())
        else {
            return Ok(None);
        };
        let body =
            |name: &std::sync::Arc<str>| Ok((name.to_string(), Body::new(builder, graph, node, name)?));
        let bodies = names.into_iter().map(body).collect::<Result<_, BuildError>>()?;
        Ok(Some(Reference { kernel, node: node.clone(), bodies }))
    }
}

impl Kernel for Reference {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let own = &inputs[..inputs.len().min(self.node.inputs().len())];
        let data: SmallVec<[Option<Datum>; 4]> =
            own.iter().map(|view| view.as_ref().map(View::to_datum)).collect();
        let data: SmallVec<[Option<&Datum>; 4]> = data.iter().map(Option::as_ref).collect();
        let running = Running { kernel: self, ctx, step: inputs };
        let call = reference::Call { node: &self.node, inputs: &data, bodies: &running };
        let made = (self.kernel)(&call).map_err(|fault| KernelError::Other(Box::new(fault)))?;
        for (i, datum) in made.into_iter().enumerate().take(outputs.len()) {
            if outputs.wanted(i) {
                outputs.set(i, datum)?;
            }
        }
        Ok(())
    }
}

/// The bodies while the kernel runs.
struct Running<'r> {
    kernel: &'r Reference,
    ctx: &'r Ctx<'r>,
    step: &'r [Option<View<'r>>],
}

impl Bodies for Running<'_> {
    fn run(&self, body: &Graph, inputs: Vec<Datum>) -> Result<Vec<Datum>, Fault> {
        // The kernel names a body by its graph, which lies in the node's attributes.
        let attrs = &self.kernel.node.attrs;
        let name =
            attrs.iter().find(|(_, attr)| attr.graphs().first().is_some_and(|g| std::ptr::eq(g, body)));
        let body = name.and_then(|(name, _)| self.kernel.bodies.iter().find(|(n, _)| **n == **name));
        let (_, body) =
            body.ok_or_else(|| Fault::Unsupported("running a graph that is no body here".into()))?;
        if inputs.len() != body.inputs() {
            let (got, takes) = (inputs.len(), body.inputs());
            return Err(Fault::Invalid(format!("its body takes {takes} inputs, not {got}")));
        }
        let inputs: Vec<Datum> = inputs.iter().map(align_datum).collect();
        let own: Views<'_> = inputs.iter().map(|datum| Some(View::of(datum))).collect();
        let made = body.run(self.ctx, own, self.step).map_err(|e| Fault::Body(Box::new(e)))?;
        let made = made.into_iter().map(datum_of_made);
        made.collect::<Result<_, KernelError>>().map_err(|e| Fault::Body(Box::new(e)))
    }
}
