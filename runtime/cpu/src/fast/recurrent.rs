//! Recurrent layers in f32: one product for the inputs of all steps, then a small product or two a step.
//!
//! Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997), with forget gates and without peepholes; Cho et al.,
//! "Learning Phrase Representations using RNN Encoder-Decoder" (2014), with the reset before or behind the product;
//! Elman, "Finding Structure in Time" (1990).

use super::activation::Activation;
use super::gemm::drive::is_one_piece;
use super::gemm::{Epilogue, Matrix, PackedB, Rhs, gemm};
use super::math;
use super::scratch::with_scratch;
use super::simd::{Simd, Task};
use super::{Exec, Isa};
use crate::pool::SharedSlice;

/// Multiply-adds of one step up to which two directions are walked at once, by a thread each, though there are more
/// threads: a step alone would not keep those busy.
const SMALL_STEP: usize = 2_000_000;

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Gates: input, output, forget, cell.
    Lstm,
    /// Gates: update, reset, hidden. The reset gate scales the state before its product with the hidden gate's
    /// weights, or that product where `linear_before_reset`.
    Gru { linear_before_reset: bool },
    /// One sum and its activation.
    Rnn(Activation),
}

impl Kind {
    pub fn gates(self) -> usize {
        match self {
            Kind::Lstm => 4,
            Kind::Gru { .. } => 3,
            Kind::Rnn(_) => 1,
        }
    }

    /// Vectors that a sequence carries from step to step: the hidden state, and the cell's.
    pub fn states(self) -> usize {
        if self == Kind::Lstm { 2 } else { 1 }
    }
}

/// The weights of one direction, packed for one instruction set.
pub struct PackedCell {
    kind: Kind,
    inputs: usize,
    hidden: usize,
    /// `[inputs, gates · hidden]`.
    input: PackedB,
    /// `[hidden, gates · hidden]`, without the gate that `late` has.
    state: PackedB,
    /// `[hidden, hidden]` of the gate whose product waits for the reset gate.
    late: Option<PackedB>,
    /// Added to the product with the inputs, and to that with the state.
    bias: Vec<f32>,
    state_bias: Option<Vec<f32>>,
}

impl PackedCell {
    /// Packs `w` (`gates · hidden`, `inputs`), `r` (`gates · hidden`, `hidden`) and both biases one after the other.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn pack(
        isa: Isa,
        kind: Kind,
        [inputs, hidden]: [usize; 2],
        w: &[f32],
        r: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let rows = kind.gates() * hidden;
        assert_eq!((w.len(), r.len()), (rows * inputs, rows * hidden), "sizes of the weights");
        assert!(bias.is_none_or(|bias| bias.len() == 2 * rows), "size of the biases");
        let mut sum = vec![0.0; rows];
        let mut state_bias = None;
        if let Some((w_bias, r_bias)) = bias.map(|bias| bias.split_at(rows)) {
            sum.copy_from_slice(w_bias);
            // The reset gate scales the bias of the product, too.
            let apart = if kind == (Kind::Gru { linear_before_reset: true }) { 2 * hidden } else { rows };
            sum[..apart].iter_mut().zip(r_bias).for_each(|(sum, r)| *sum += r);
            if apart < rows {
                let mut late = vec![0.0; rows];
                late[apart..].copy_from_slice(&r_bias[apart..]);
                state_bias = Some(late);
            }
        }
        let pack = |data: &[f32], cols| {
            PackedB::pack(isa, Matrix::row_major(data, data.len() / cols, cols).transposed())
        };
        let late = kind == Kind::Gru { linear_before_reset: false };
        let (early_r, late_r) = r.split_at(if late { 2 * hidden * hidden } else { r.len() });
        let input = PackedB::pack(isa, Matrix::row_major(w, rows, inputs).transposed());
        let late = late.then(|| pack(late_r, hidden));
        Self { kind, inputs, hidden, input, state: pack(early_r, hidden), late, bias: sum, state_bias }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Whether the product of a step is not shared among threads.
    pub fn is_serial(&self, batch: usize) -> bool {
        is_one_piece([batch, self.gates(), self.hidden])
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    fn gates(&self) -> usize {
        self.kind.gates() * self.hidden
    }
}

/// Walks `x` (`steps`, `batch`, inputs) in the direction of each of `cells`, the second one from the end, and the
/// first one, too, where `reverse`. `states` (directions, hidden state and cell, `batch`, hidden) go from the first
/// to the last; `y` (`steps`, directions, `batch`, hidden) gets every hidden state.
///
/// # Panics
/// If the sizes do not fit together.
pub fn walk(
    exec: Exec<'_>,
    cells: &[PackedCell],
    x: &[f32],
    [steps, batch]: [usize; 2],
    reverse: bool,
    states: &mut [f32],
    y: Option<&mut [f32]>,
) {
    let Some(cell) = cells.first() else { return };
    let (rows, gates, state) = (steps * batch, cell.gates(), batch * cell.hidden);
    let own = cell.kind.states() * state;
    assert_eq!((x.len(), states.len()), (rows * cell.inputs, cells.len() * own), "sizes of input and state");
    assert!(y.as_ref().is_none_or(|y| y.len() == steps * cells.len() * state), "size of the output");
    assert!(cells.iter().all(|c| (c.kind, c.inputs, c.hidden) == (cell.kind, cell.inputs, cell.hidden)));
    if state == 0 {
        return;
    }
    let y = y.map(SharedSlice::new);
    with_scratch(cells.len() * rows * gates, |sums| {
        let input = Matrix::row_major(x, rows, cell.inputs);
        for (cell, sums) in cells.iter().zip(sums.chunks_exact_mut((rows * gates).max(1))) {
            let epilogue = Epilogue { column_bias: Some(&cell.bias), ..Epilogue::default() };
            gemm(exec, input, Rhs::Packed(&cell.input), sums, gates, &epilogue);
        }
        let sums = &*sums;
        let one = |d: usize, state_of: &mut [f32]| {
            let sums = &sums[d * rows * gates..][..rows * gates];
            direction(exec, &cells[d], sums, [steps, batch], reverse || d == 1, state_of, &|t, h| {
                if let Some(y) = &y {
                    let at = (t * cells.len() + d) * state;
                    // SAFETY: each step of each direction has a part of its own, and is written by one walk.
                    unsafe { y.range(at..at + state) }.copy_from_slice(h);
                }
            });
        };
        if exec.pool.threads() == 2 || state * gates <= SMALL_STEP {
            exec.pool.parallel_chunks(states, own, &one);
        } else {
            states.chunks_exact_mut(own).enumerate().for_each(|(d, state_of)| one(d, state_of));
        }
    });
}

/// Walks one direction, given what the inputs add to the gates of each step.
fn direction(
    exec: Exec<'_>,
    cell: &PackedCell,
    from_input: &[f32],
    [steps, batch]: [usize; 2],
    reverse: bool,
    states: &mut [f32],
    done: &dyn Fn(usize, &[f32]),
) {
    let (gates, state) = (batch * cell.gates(), batch * cell.hidden);
    let (h, c) = states.split_at_mut(state);
    with_scratch(gates + state, |scratch| {
        let (sums, reset) = scratch.split_at_mut(gates);
        for i in 0..steps {
            let t = if reverse { steps - 1 - i } else { i };
            let from_input = &from_input[t * gates..][..gates];
            match cell.kind {
                Kind::Lstm => lstm(exec, cell, from_input, sums, h, c),
                Kind::Gru { .. } => gru(exec, cell, from_input, sums, reset, h),
                Kind::Rnn(activation) => {
                    let epilogue = Epilogue { addend: Some(from_input), activation, ..Epilogue::default() };
                    cell.product(exec, &cell.state, h, sums, &epilogue);
                    h.copy_from_slice(sums);
                }
            }
            done(t, h);
        }
    });
}

impl PackedCell {
    /// The product of the states `h` with the weights of some gates, among the sums of all.
    fn product(&self, exec: Exec<'_>, r: &PackedB, h: &[f32], sums: &mut [f32], epilogue: &Epilogue<'_>) {
        let before = Matrix::row_major(h, h.len() / self.hidden, self.hidden);
        gemm(exec, before, Rhs::Packed(r), sums, self.gates(), epilogue);
    }
}

fn lstm(
    exec: Exec<'_>,
    cell: &PackedCell,
    from_input: &[f32],
    sums: &mut [f32],
    h: &mut [f32],
    c: &mut [f32],
) {
    let epilogue = Epilogue { addend: Some(from_input), ..Epilogue::default() };
    cell.product(exec, &cell.state, h, sums, &epilogue);
    let n = cell.hidden;
    let rows = sums.chunks_exact(4 * n).zip(h.chunks_exact_mut(n));
    for ((sums, h), c) in rows.zip(c.chunks_exact_mut(n)) {
        exec.isa.run(Lstm { sums, h, c });
    }
}

fn gru(
    exec: Exec<'_>,
    cell: &PackedCell,
    from_input: &[f32],
    sums: &mut [f32],
    reset: &mut [f32],
    h: &mut [f32],
) {
    let n = cell.hidden;
    let Some(late) = &cell.late else {
        let epilogue = Epilogue { column_bias: cell.state_bias.as_deref(), ..Epilogue::default() };
        cell.product(exec, &cell.state, h, sums, &epilogue);
        let rows = sums.chunks_exact(3 * n).zip(from_input.chunks_exact(3 * n));
        for ((sums, x), h) in rows.zip(h.chunks_exact_mut(n)) {
            exec.isa.run(GruLinear { x, sums, h });
        }
        return;
    };
    let epilogue = Epilogue { addend: Some(from_input), ..Epilogue::default() };
    cell.product(exec, &cell.state, h, sums, &epilogue);
    let rows = sums.chunks_exact(3 * n).zip(h.chunks_exact(n));
    for ((sums, h), out) in rows.zip(reset.chunks_exact_mut(n)) {
        exec.isa.run(Reset { gate: &sums[n..2 * n], h, out });
    }
    let epilogue = Epilogue { addend: Some(&from_input[2 * n..]), ..Epilogue::default() };
    cell.product(exec, late, reset, &mut sums[2 * n..], &epilogue);
    for (sums, h) in sums.chunks_exact(3 * n).zip(h.chunks_exact_mut(n)) {
        exec.isa.run(Gru { sums, h });
    }
}

/// One sequence's next states from the sums of its gates: `c = σ(f) · c + σ(i) · tanh(g)`, `h = σ(o) · tanh(c)`.
struct Lstm<'a> {
    sums: &'a [f32],
    h: &'a mut [f32],
    c: &'a mut [f32],
}

impl Task for Lstm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        let [input, output, forget, new] = parts::<4>(self.sums, n);
        for at in (0..n).step_by(S::LANES) {
            let kept = s.mul(math::sigmoid(s, math::load_at(s, forget, at)), math::load_at(s, self.c, at));
            let new = math::tanh(s, math::load_at(s, new, at));
            let c = s.fma(math::sigmoid(s, math::load_at(s, input, at)), new, kept);
            math::store_at(s, self.c, at, c);
            let output = math::sigmoid(s, math::load_at(s, output, at));
            math::store_at(s, self.h, at, s.mul(output, math::tanh(s, c)));
        }
    }
}

/// `out = σ(gate) · h`.
struct Reset<'a> {
    gate: &'a [f32],
    h: &'a [f32],
    out: &'a mut [f32],
}

impl Task for Reset<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.out.len()).step_by(S::LANES) {
            let gate = math::sigmoid(s, math::load_at(s, self.gate, at));
            math::store_at(s, self.out, at, s.mul(gate, math::load_at(s, self.h, at)));
        }
    }
}

/// One sequence's next state from the sums of its gates: `h = tanh(n) + σ(z) · (h - tanh(n))`.
struct Gru<'a> {
    sums: &'a [f32],
    h: &'a mut [f32],
}

impl Task for Gru<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        let [update, _, new] = parts::<3>(self.sums, n);
        for at in (0..n).step_by(S::LANES) {
            let new = math::tanh(s, math::load_at(s, new, at));
            let update = math::sigmoid(s, math::load_at(s, update, at));
            blend(s, self.h, at, update, new);
        }
    }
}

/// The same where the reset gate scales the product: inputs and state are still apart.
struct GruLinear<'a> {
    x: &'a [f32],
    sums: &'a [f32],
    h: &'a mut [f32],
}

impl Task for GruLinear<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.h.len();
        let ([z, r, new], [x_z, x_r, x_new]) = (parts::<3>(self.sums, n), parts::<3>(self.x, n));
        for at in (0..n).step_by(S::LANES) {
            let update = math::sigmoid(s, s.add(math::load_at(s, z, at), math::load_at(s, x_z, at)));
            let reset = math::sigmoid(s, s.add(math::load_at(s, r, at), math::load_at(s, x_r, at)));
            let sum = s.fma(reset, math::load_at(s, new, at), math::load_at(s, x_new, at));
            blend(s, self.h, at, update, math::tanh(s, sum));
        }
    }
}

/// `h = new + update · (h - new)` from index `at`.
#[inline(always)]
fn blend<S: Simd>(s: S, h: &mut [f32], at: usize, update: S::F, new: S::F) {
    let old = math::load_at(s, h, at);
    math::store_at(s, h, at, s.fma(update, s.sub(old, new), new));
}

/// The sums of each gate.
#[inline(always)]
fn parts<const N: usize>(sums: &[f32], n: usize) -> [&[f32]; N] {
    let mut parts: [&[f32]; N] = [&[]; N];
    for (part, sums) in parts.iter_mut().zip(sums.chunks_exact(n)) {
        *part = sums;
    }
    parts
}
