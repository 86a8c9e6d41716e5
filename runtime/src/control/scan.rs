//! Scan: a body run once for each slice of its inputs, carrying state from one to the next.

use byoc_cpu::{Buffer, Ctx, Kernel, KernelError, Made, Outputs, TensorView, View};
use byoc_graph::{Graph, Node, StaticDims};
use smallvec::SmallVec;

use super::stack::{Stack, slice_at};
use super::{Body, Views, empty_round, tensor_of, view_of_made};
use crate::build::{BuildError, Builder};

pub(super) struct Scan {
    body: Body,
    /// State variables.
    carried: usize,
    inputs: Vec<Direction>,
    outputs: Vec<Direction>,
}

/// How one scanned input or output is walked.
#[derive(Clone, Copy, Default)]
struct Direction {
    axis: i64,
    reversed: bool,
}

impl Scan {
    pub fn new(builder: &Builder<'_>, graph: &Graph, node: &Node) -> Result<Scan, BuildError> {
        let malformed = |what: &str| BuildError::Malformed {
            node: node.label.clone(),
            op: node.op.name.clone(),
            what: what.to_owned(),
        };
        let body = Body::new(builder, graph, node, "body")?;
        let scanned = node.attrs.get("num_scan_inputs").and_then(|a| a.as_int());
        let scanned = scanned.and_then(|n| usize::try_from(n).ok()).filter(|&n| n >= 1);
        let carried = scanned.and_then(|n| node.inputs().len().checked_sub(n));
        let (Some(scanned), Some(carried)) = (scanned, carried) else {
            return Err(malformed("`num_scan_inputs` is not the number of some of its inputs"));
        };
        if body.inputs() != carried + scanned || body.outputs() < carried {
            return Err(malformed("its body has other inputs or outputs than it needs"));
        }
        let directions = |count: usize, axes: &str, directions: &str| -> Vec<Direction> {
            let ints =
                |name: &str| node.attrs.get(name).and_then(|a| a.as_ints()).unwrap_or_default().to_vec();
            let (axes, directions) = (ints(axes), ints(directions));
            let get = |i: usize| Direction {
                axis: axes.get(i).copied().unwrap_or(0),
                reversed: directions.get(i) == Some(&1),
            };
            (0..count).map(get).collect()
        };
        Ok(Scan {
            inputs: directions(scanned, "scan_input_axes", "scan_input_directions"),
            outputs: directions(body.outputs() - carried, "scan_output_axes", "scan_output_directions"),
            body,
            carried,
        })
    }

    /// The scanned inputs with their axes, and the number of rounds.
    fn scanned<'a>(
        &self,
        inputs: &[Option<View<'a>>],
    ) -> Result<(SmallVec<[Scanned<'a>; 4]>, usize), KernelError> {
        let mut all = SmallVec::new();
        let mut rounds = None;
        for (i, direction) in self.inputs.iter().enumerate() {
            let view = byoc_cpu::kernel::tensor(inputs, self.carried + i)?;
            let axis = wrap(direction.axis, view.rank())?;
            let len = view.dims[axis];
            if *rounds.get_or_insert(len) != len {
                return Err(KernelError::invalid("scanned inputs differ in length"));
            }
            let mut dims = view.static_dims();
            dims.remove(axis);
            all.push(Scanned { view, axis, dims });
        }
        Ok((all, rounds.unwrap_or(0)))
    }
}

struct Scanned<'a> {
    view: TensorView<'a>,
    axis: usize,
    dims: StaticDims,
}

fn wrap(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|&at| at < rank);
    at.ok_or_else(|| KernelError::invalid(format!("axis {axis} is outside of rank {rank}")))
}

impl Kernel for Scan {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (scanned, rounds) = self.scanned(inputs)?;
        let mut stacks: Vec<Stack> = self.outputs.iter().map(|_| Stack::default()).collect();
        let mut buffers: Vec<Buffer> = scanned.iter().map(|_| Buffer::default()).collect();
        let mut carried: Option<SmallVec<[Made; 4]>> = None;
        for round in 0..rounds {
            let mut own = Views::new();
            match &carried {
                Some(made) => own.extend(made.iter().map(view_of_made)),
                None => own.extend(inputs[..self.carried].iter().copied()),
            }
            for ((x, direction), buffer) in scanned.iter().zip(&self.inputs).zip(&mut buffers) {
                let index = if direction.reversed { rounds - 1 - round } else { round };
                own.push(Some(View::Tensor(slice_at(x.view, x.axis, index, &x.dims, buffer)?)));
            }
            let mut made = self.body.run(ctx, own, inputs)?;
            for (stack, made) in stacks.iter_mut().zip(made.drain(self.carried..)) {
                stack.push(tensor_of(&made)?)?;
            }
            carried = Some(made);
        }
        match carried {
            Some(made) => {
                for (i, made) in made.into_iter().enumerate() {
                    outputs.set_made(i, made)?;
                }
            }
            None => {
                for (i, view) in inputs[..self.carried].iter().enumerate() {
                    outputs.set(i, view.ok_or(KernelError::MissingInput(i))?.to_datum())?;
                }
            }
        }
        for (i, (stack, direction)) in stacks.into_iter().zip(&self.outputs).enumerate() {
            let nothing = empty_round(&self.body, self.carried + i);
            let axis = wrap(direction.axis, stack.rank().unwrap_or(nothing.1.len()) + 1)?;
            stack.finish(outputs, self.carried + i, axis, direction.reversed, nothing)?;
        }
        Ok(())
    }
}
