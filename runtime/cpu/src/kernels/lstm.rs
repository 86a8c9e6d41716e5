//! LSTM in f32 as most models have it: constant weights, whole sequences, sigmoid and tanh.

use byoc_graph::{Attr, DType};

use crate::fast::recurrent::{PackedLstm, Steps, lstm};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "lstm",
    domain: "",
    ops: &["LSTM"],
    since: 7,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// Inputs that only the reference kernel understands: lengths of sequences, and peepholes.
const RARE: [usize; 2] = [4, 7];
/// Inputs that are packed.
const PACKED: [usize; 3] = [1, 2, 3];
const INITIAL_H: usize = 5;
const INITIAL_C: usize = 6;

struct Lstm {
    /// One for each direction.
    cells: Vec<PackedLstm>,
    /// Whether the first direction walks from the end.
    reverse: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let plain =
        ["activation_alpha", "activation_beta", "clip"].iter().all(|a| !node.node.attrs.contains_key(*a))
            && usual_activations(node)
            && ["layout", "input_forget"].iter().all(|name| node.int(name).unwrap_or(0) == 0)
            && RARE.iter().all(|&i| !node.has_input(i));
    if !plain {
        return None;
    }
    let direction = node.str("direction").unwrap_or("forward");
    let directions = if direction == "bidirectional" { 2 } else { 1 };
    let (w, r) = (node.constant(1)?, node.constant(2)?);
    let (&[d, rows, inputs], &[d_r, rows_r, hidden]) = (w.dims(), r.dims()) else { return None };
    let fits = d == directions && d_r == directions && rows == 4 * hidden && rows_r == rows && hidden > 0;
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
        PackedLstm::pack(node.isa, [inputs, hidden], w, r, bias)
    };
    let cells = (0..directions).map(cell).collect();
    Some(Box::new(Lstm { cells, reverse: direction == "reverse" }))
}

/// Whether the activations are the default ones, written out or not.
fn usual_activations(node: &NodeDesc<'_>) -> bool {
    let usual: [&[u8]; 3] = [b"sigmoid", b"tanh", b"tanh"];
    match node.node.attrs.get("activations") {
        None => true,
        Some(Attr::Strs(names)) => {
            names.iter().zip(usual.iter().cycle()).all(|(name, usual)| name.eq_ignore_ascii_case(usual))
                && matches!(names.len(), 3 | 6)
        }
        Some(_) => false,
    }
}

/// What direction `i` has of weights.
fn part(all: &[f32], directions: usize, i: usize) -> &[f32] {
    let len = all.len() / directions;
    &all[i * len..(i + 1) * len]
}

/// A state to begin with.
fn initial(inputs: &[Option<View<'_>>], i: usize, state: &mut [f32]) -> Result<(), KernelError> {
    match optional(inputs, i)? {
        None => state.fill(0.0),
        Some(given) if given.len() == state.len() => state.copy_from_slice(given.slice()?),
        Some(given) => {
            return Err(KernelError::invalid(format!("an initial state of shape {:?}", given.dims)));
        }
    }
    Ok(())
}

impl Kernel for Lstm {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (directions, hidden) = (self.cells.len(), self.cells[0].hidden());
        let &[steps, batch, size] = x.dims else {
            return Err(KernelError::invalid(format!("an input of rank 3 is needed, not {:?}", x.dims)));
        };
        if size != self.cells[0].inputs() {
            let expected = self.cells[0].inputs();
            return Err(KernelError::invalid(format!("{size} inputs a step, with weights for {expected}")));
        }
        let x = x.slice::<f32>()?;
        let state_dims = [directions, batch, hidden];
        let len = directions * batch * hidden;
        let mut states = vec![0.0f32; 2 * len];
        let (h, c) = states.split_at_mut(len);
        initial(inputs, INITIAL_H, h)?;
        initial(inputs, INITIAL_C, c)?;
        let mut y = match outputs.wanted(0) {
            true => Some(outputs.tensor::<f32>(0, &[steps, directions, batch, hidden])?),
            false => None,
        };
        for (d, cell) in self.cells.iter().enumerate() {
            let at = d * batch * hidden..(d + 1) * batch * hidden;
            let step = directions * batch * hidden;
            let out = y.as_deref_mut().map(|y| Steps { y, first: at.start, step });
            let reverse = self.reverse || d == 1;
            lstm(ctx.exec, cell, x, [steps, batch], reverse, [&mut h[at.clone()], &mut c[at]], out);
        }
        for (i, state) in [(1, &*h), (2, &*c)] {
            if outputs.wanted(i) {
                outputs.tensor::<f32>(i, &state_dims)?.copy_from_slice(state);
            }
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        PACKED.contains(&input)
    }
}
