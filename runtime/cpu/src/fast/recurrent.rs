//! Long short-term memory in f32: one product for the inputs of all steps, then one small product a step.
//!
//! Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997), with forget gates and without peepholes;
//! gates lie in ONNX's order: input, output, forget, cell.

use super::activation::Activation;
use super::gemm::{Epilogue, Matrix, PackedB, Rhs, gemm};
use super::scratch::with_scratch;
use super::{Exec, Isa};

/// The weights of one direction, packed for one instruction set.
pub struct PackedLstm {
    inputs: usize,
    hidden: usize,
    /// `[inputs, 4 · hidden]` and `[hidden, 4 · hidden]`.
    input: PackedB,
    state: PackedB,
    /// The sum of both biases.
    bias: Vec<f32>,
}

impl PackedLstm {
    /// Packs `w` (`4 · hidden`, `inputs`), `r` (`4 · hidden`, `hidden`) and both biases one after the other.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn pack(isa: Isa, [inputs, hidden]: [usize; 2], w: &[f32], r: &[f32], bias: Option<&[f32]>) -> Self {
        let rows = 4 * hidden;
        assert_eq!((w.len(), r.len()), (rows * inputs, rows * hidden), "sizes of the weights");
        let bias = match bias {
            Some(bias) => {
                assert_eq!(bias.len(), 2 * rows, "size of the biases");
                bias[..rows].iter().zip(&bias[rows..]).map(|(w, r)| w + r).collect()
            }
            None => vec![0.0; rows],
        };
        let pack = |data, cols| PackedB::pack(isa, Matrix::row_major(data, rows, cols).transposed());
        Self { inputs, hidden, input: pack(w, inputs), state: pack(r, hidden), bias }
    }

    pub fn hidden(&self) -> usize {
        self.hidden
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Where the hidden state of each step goes.
pub struct Steps<'a> {
    pub y: &'a mut [f32],
    /// Where step 0 begins, and how far apart steps are.
    pub first: usize,
    pub step: usize,
}

/// Walks `x` (steps, `batch`, inputs) from its start, or from its end where `reverse`. `h` and `c` (`batch`,
/// hidden) go from the first state to the last.
///
/// # Panics
/// If the sizes do not fit together.
pub fn lstm(
    exec: Exec<'_>,
    cell: &PackedLstm,
    x: &[f32],
    [steps, batch]: [usize; 2],
    reverse: bool,
    [h, c]: [&mut [f32]; 2],
    mut out: Option<Steps<'_>>,
) {
    let (rows, gates) = (steps * batch, 4 * cell.hidden);
    let state = batch * cell.hidden;
    assert_eq!((x.len(), h.len(), c.len()), (rows * cell.inputs, state, state), "sizes of input and state");
    with_scratch((rows + batch) * gates, |scratch| {
        let (from_input, sums) = scratch.split_at_mut(rows * gates);
        let epilogue = Epilogue { column_bias: Some(&cell.bias), ..Epilogue::default() };
        let input = Matrix::row_major(x, rows, cell.inputs);
        gemm(exec, input, Rhs::Packed(&cell.input), from_input, gates, &epilogue);
        for i in 0..steps {
            let t = if reverse { steps - 1 - i } else { i };
            let addend = &from_input[t * batch * gates..][..batch * gates];
            let epilogue = Epilogue { addend: Some(addend), ..Epilogue::default() };
            let before = Matrix::row_major(h, batch, cell.hidden);
            gemm(exec, before, Rhs::Packed(&cell.state), sums, gates, &epilogue);
            let rows = sums.chunks_exact_mut(gates).zip(h.chunks_exact_mut(cell.hidden));
            for ((sums, h), c) in rows.zip(c.chunks_exact_mut(cell.hidden)) {
                advance(exec.isa, sums, h, c);
            }
            if let Some(Steps { y, first, step }) = &mut out {
                y[*first + t * *step..][..state].copy_from_slice(h);
            }
        }
    });
}

/// One sequence's next state from the sums of its gates, which are overwritten.
fn advance(isa: Isa, sums: &mut [f32], h: &mut [f32], c: &mut [f32]) {
    let hidden = h.len();
    let (open, new) = sums.split_at_mut(3 * hidden);
    Activation::Sigmoid.apply(isa, open);
    Activation::Tanh.apply(isa, new);
    let (input, open) = open.split_at(hidden);
    let (output, forget) = open.split_at(hidden);
    for (((c, input), forget), new) in c.iter_mut().zip(input).zip(forget).zip(new) {
        *c = forget * *c + input * *new;
    }
    h.copy_from_slice(c);
    Activation::Tanh.apply(isa, h);
    h.iter_mut().zip(output).for_each(|(h, output)| *h *= output);
}
