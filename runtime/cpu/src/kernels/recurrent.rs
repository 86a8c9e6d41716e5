//! LSTM, GRU and RNN in f32 as most models have them: constant weights, whole sequences, the usual activations.

use byoc_graph::{Attr, DType};

use crate::fast::Activation;
use crate::fast::recurrent::{Kind, PackedCell, walk};
use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "recurrent",
    domain: "",
    ops: &["LSTM", "GRU", "RNN"],
    since: 7,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// Attributes, other than zero, and inputs that only the reference kernel understands: lengths of sequences, and
/// peepholes.
const RARE_ATTRIBUTES: [&str; 3] = ["activation_alpha", "activation_beta", "clip"];
const RARE_FLAGS: [&str; 2] = ["layout", "input_forget"];
const RARE_INPUTS: [usize; 2] = [4, 7];
/// Inputs that are packed.
const PACKED: [usize; 3] = [1, 2, 3];
/// The hidden state to begin with, and the cell's.
const INITIAL: [usize; 2] = [5, 6];

struct Recurrent {
    /// One for each direction.
    cells: Vec<PackedCell>,
    /// Whether the first direction walks from the end.
    reverse: bool,
    /// One direction, step by step on one thread.
    serial: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let plain = RARE_ATTRIBUTES.iter().all(|a| !node.node.attrs.contains_key(*a))
        && RARE_FLAGS.iter().all(|name| node.int(name).unwrap_or(0) == 0)
        && RARE_INPUTS.iter().all(|&i| !node.has_input(i));
    if !plain {
        return None;
    }
    let direction = node.str("direction").unwrap_or("forward");
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let kind = kind(node, directions)?;
    let (w, r) = (node.constant(1)?, node.constant(2)?);
    let (&[d, rows, inputs], &[d_r, rows_r, hidden]) = (w.dims(), r.dims()) else { return None };
    let fits =
        d == directions && d_r == directions && rows == kind.gates() * hidden && rows_r == rows && hidden > 0;
    let bias = match node.has_input(3) {
        true => Some(node.constant(3)?).filter(|b| b.dims() == [directions, 2 * rows]),
        false => None,
    };
    if !fits || bias.is_some() != node.has_input(3) {
        return None;
    }
    let (w, r) = (w.as_slice::<f32>().ok()?, r.as_slice::<f32>().ok()?);
    let bias = bias.map(|b| b.as_slice::<f32>()).transpose().ok()?;
    let cell = |i: usize| {
        let bias = bias.as_deref().map(|b| part(b, directions, i));
        let (w, r) = (part(&w, directions, i), part(&r, directions, i));
        PackedCell::pack(node.isa, kind, [inputs, hidden], w, r, bias)
    };
    let cells: Vec<PackedCell> = (0..directions).map(cell).collect();
    let batch = node.shape(0).and_then(|dims| usize::try_from(dims.get(1)?.value()?).ok());
    let serial = directions == 1 && batch.is_some_and(|batch| cells[0].is_serial(batch));
    Some(Box::new(Recurrent { cells, reverse: direction == "reverse", serial }))
}

/// What a step does, where its activations are known here.
fn kind(node: &NodeDesc<'_>, directions: usize) -> Option<Kind> {
    let names = match node.node.attrs.get("activations") {
        None => None,
        Some(Attr::Strs(names)) => Some(names),
        Some(_) => return None,
    };
    let all = |usual: &[&str]| {
        names.is_none_or(|names| {
            names.len() == directions * usual.len()
                && names
                    .iter()
                    .zip(usual.iter().cycle())
                    .all(|(name, usual)| name.eq_ignore_ascii_case(usual.as_bytes()))
        })
    };
    match node.op() {
        "LSTM" => all(&["sigmoid", "tanh", "tanh"]).then_some(Kind::Lstm),
        "GRU" => {
            let linear_before_reset = node.int("linear_before_reset").unwrap_or(0) != 0;
            all(&["sigmoid", "tanh"]).then_some(Kind::Gru { linear_before_reset })
        }
        _ => {
            let known =
                [("tanh", Activation::Tanh), ("relu", Activation::Relu), ("sigmoid", Activation::Sigmoid)];
            known.into_iter().find(|(name, _)| all(&[name])).map(|(_, activation)| Kind::Rnn(activation))
        }
    }
}

/// What direction `i` has of weights.
fn part(all: &[f32], directions: usize, i: usize) -> &[f32] {
    let len = all.len() / directions;
    &all[i * len..(i + 1) * len]
}

/// Copies a state to begin with (directions, batch, hidden) to where each direction has it.
fn initial<'a>(
    inputs: &[Option<View<'_>>],
    i: usize,
    states: impl ExactSizeIterator<Item = &'a mut [f32]>,
    len: usize,
) -> Result<(), KernelError> {
    match optional(inputs, i)? {
        None => states.for_each(|state| state.fill(0.0)),
        Some(given) if given.len() == len * states.len() => {
            let given = given.slice::<f32>()?.chunks_exact(len.max(1));
            states.zip(given).for_each(|(state, given)| state.copy_from_slice(given));
        }
        Some(given) => {
            return Err(KernelError::invalid(format!("an initial state of shape {:?}", given.dims)));
        }
    }
    Ok(())
}

impl Kernel for Recurrent {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let cell = &self.cells[0];
        let (directions, hidden, states_each) = (self.cells.len(), cell.hidden(), cell.kind().states());
        let &[steps, batch, size] = x.dims else {
            return Err(KernelError::invalid(format!("an input of rank 3 is needed, not {:?}", x.dims)));
        };
        if size != cell.inputs() {
            let expected = cell.inputs();
            return Err(KernelError::invalid(format!("{size} inputs a step, with weights for {expected}")));
        }
        let x = x.slice::<f32>()?;
        let dims = [steps, directions, batch, hidden];
        let sums = dims.iter().try_fold(cell.kind().gates(), |all, &dim| all.checked_mul(dim));
        let (Some(_), Some(len)) = (sums, batch.checked_mul(hidden * directions * states_each)) else {
            return Err(KernelError::TooLarge { dtype: DType::F32, dims: dims.to_vec() });
        };
        let state = batch * hidden;
        with_scratch::<f32, _>(len, |states| {
            for (which, input) in INITIAL.into_iter().enumerate().take(states_each) {
                let own = states.chunks_exact_mut((states_each * state).max(1));
                initial(inputs, input, own.map(|own| &mut own[which * state..][..state]), state)?;
            }
            let y = if outputs.wanted(0) { Some(outputs.tensor::<f32>(0, &dims)?) } else { None };
            walk(ctx.exec, &self.cells, x, [steps, batch], self.reverse, states, y);
            for which in 0..states_each {
                if outputs.wanted(1 + which) {
                    let out = outputs.tensor::<f32>(1 + which, &dims[1..])?;
                    let own = states.chunks_exact((states_each * state).max(1));
                    let each = out.chunks_exact_mut(state.max(1)).zip(own);
                    each.for_each(|(out, own)| out.copy_from_slice(&own[which * state..][..state]));
                }
            }
            Ok(())
        })
    }

    fn is_serial(&self) -> bool {
        self.serial
    }

    fn owns_input(&self, input: usize) -> bool {
        PACKED.contains(&input)
    }
}
