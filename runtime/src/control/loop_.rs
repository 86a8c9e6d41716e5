//! Loop: a body run again and again, while it says so and at most so many times.

use byoc_cpu::{Ctx, Kernel, KernelError, Made, Outputs, TensorView, View};
use byoc_graph::{DType, Datum, Graph, Node};
use smallvec::SmallVec;

use super::stack::Stack;
use super::{Body, Views, empty_round, tensor_of, truth, view_of_made};
use crate::build::{BuildError, Builder};

pub(super) struct Loop {
    body: Body,
    /// Values that each round takes from the one before.
    carried: usize,
    /// Of the number of the round: some bodies of old models take a list of one.
    round_dims: &'static [usize],
}

impl Loop {
    pub fn new(builder: &Builder<'_>, graph: &Graph, node: &Node) -> Result<Loop, BuildError> {
        let body = Body::new(builder, graph, node, "body")?;
        let carried = node.inputs().len().saturating_sub(2);
        if body.inputs() != carried + 2 || body.outputs() < carried + 1 {
            let what = format!(
                "{carried} values are carried, but its body has {} inputs and {} outputs",
                body.inputs(),
                body.outputs()
            );
            return Err(BuildError::Malformed { node: node.label.clone(), op: node.op.name.clone(), what });
        }
        let rank = body.input_rank(0).unwrap_or(0);
        Ok(Loop { body, carried, round_dims: if rank == 1 { &[1] } else { &[] } })
    }
}

impl Kernel for Loop {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let limit = match inputs.first().copied().flatten() {
            Some(view) => view.tensor().and_then(|t| t.to_i64s()?.first().copied()),
            None => Some(i64::MAX),
        };
        let limit = limit.ok_or_else(|| KernelError::invalid("the trip count is not one int64"))?;
        let mut go_on = inputs.get(1).copied().flatten().map_or(Ok(true), truth)?;
        let mut stacks: Vec<Stack> =
            (self.carried + 1..self.body.outputs()).map(|_| Stack::default()).collect();
        let mut carried: Option<SmallVec<[Made; 4]>> = None;
        let mut round = 0;
        while go_on && round < limit {
            let (count, condition) = (round.to_ne_bytes(), [1u8]);
            let mut own = Views::new();
            own.push(Some(View::Tensor(TensorView::new(DType::I64, self.round_dims, &count))));
            own.push(Some(View::Tensor(TensorView::new(DType::Bool, &[], &condition))));
            match &carried {
                Some(made) => own.extend(made.iter().map(view_of_made)),
                None => own.extend(inputs[2..2 + self.carried].iter().copied()),
            }
            let mut made = self.body.run(ctx, own, inputs)?;
            for (stack, made) in stacks.iter_mut().zip(made.drain(self.carried + 1..)) {
                stack.push(tensor_of(&made)?)?;
            }
            go_on = truth(view_of_made(&made.remove(0)).ok_or(KernelError::MissingInput(1))?)?;
            carried = Some(made);
            round += 1;
        }
        match carried {
            Some(made) => {
                for (i, made) in made.into_iter().enumerate() {
                    outputs.set_made(i, made)?;
                }
            }
            None => {
                for (i, view) in inputs[2..2 + self.carried].iter().enumerate() {
                    let datum: Datum = view.ok_or(KernelError::MissingInput(2 + i))?.to_datum();
                    outputs.set(i, datum)?;
                }
            }
        }
        for (i, stack) in stacks.into_iter().enumerate().take(outputs.len().saturating_sub(self.carried)) {
            let nothing = empty_round(&self.body, self.carried + 1 + i);
            stack.finish(outputs, self.carried + i, 0, false, nothing)?;
        }
        Ok(())
    }
}
