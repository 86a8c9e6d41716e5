//! If: one of two bodies.

use byoc_cpu::{Ctx, Kernel, KernelError, Outputs, View};
use byoc_graph::{Graph, Node};

use super::{Body, Views, truth};
use crate::build::{BuildError, Builder};

pub(super) struct If {
    then: Body,
    otherwise: Body,
}

impl If {
    pub fn new(builder: &Builder<'_>, graph: &Graph, node: &Node) -> Result<If, BuildError> {
        Ok(If {
            then: Body::new(builder, graph, node, "then_branch")?,
            otherwise: Body::new(builder, graph, node, "else_branch")?,
        })
    }
}

impl Kernel for If {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let condition = inputs.first().copied().flatten().ok_or(KernelError::MissingInput(0))?;
        let body = if truth(condition)? { &self.then } else { &self.otherwise };
        for (i, made) in body.run(ctx, Views::new(), inputs)?.into_iter().enumerate().take(outputs.len()) {
            outputs.set_made(i, made)?;
        }
        Ok(())
    }
}
