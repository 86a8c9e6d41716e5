//! Recurrent layers: RNN, GRU, LSTM. One driver walks time and directions, a cell computes one step.

use byoc_graph::{Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::matmul::{product, transposed};
use super::numbers::{self, from_floats};
use super::quantize::dynamic_parameters;
use super::registry::{Entry, contrib, onnx};
use super::special::{sigmoid, softplus};

pub(super) const OPS: &[Entry] = &[
    contrib("DynamicQuantizeLSTM", dynamic_quantize_lstm),
    onnx("GRU", 1, gru),
    onnx("LSTM", 1, lstm),
    onnx("RNN", 1, rnn),
];

/// An activation with its parameters.
#[derive(Clone, Copy)]
struct Activation {
    f: fn(f64, f64, f64) -> f64,
    alpha: f64,
    beta: f64,
}

impl Activation {
    fn at(&self, x: f64) -> f64 {
        (self.f)(x, self.alpha, self.beta)
    }
}

/// Name, default alpha and beta, function.
type Row = (&'static str, f64, f64, fn(f64, f64, f64) -> f64);

const ACTIVATIONS: &[Row] = &[
    ("affine", 1.0, 0.0, |x, a, b| a * x + b),
    ("elu", 1.0, 0.0, |x, a, _| if x < 0.0 { a * x.exp_m1() } else { x }),
    ("hardsigmoid", 0.2, 0.5, |x, a, b| (a * x + b).clamp(0.0, 1.0)),
    ("leakyrelu", 0.01, 0.0, |x, a, _| if x < 0.0 { a * x } else { x }),
    ("relu", 0.0, 0.0, |x, _, _| x.max(0.0)),
    ("scaledtanh", 1.0, 1.0, |x, a, b| a * (b * x).tanh()),
    ("sigmoid", 0.0, 0.0, |x, _, _| sigmoid(x)),
    ("softplus", 0.0, 0.0, |x, _, _| softplus(x)),
    ("softsign", 0.0, 0.0, |x, _, _| x / (1.0 + x.abs())),
    ("tanh", 0.0, 0.0, |x, _, _| x.tanh()),
    ("thresholdedrelu", 1.0, 0.0, |x, a, _| if x > a { x } else { 0.0 }),
];

/// The activations of all directions, one after the other.
fn activations(call: &Call<'_>, defaults: &[&str], directions: usize) -> Result<Vec<Activation>, Fault> {
    let names: Vec<String> = match call.texts_opt("activations")? {
        Some(names) if call.has("activations") => {
            names.iter().map(|n| String::from_utf8_lossy(n).to_lowercase()).collect()
        }
        _ => defaults.iter().cycle().take(defaults.len() * directions).map(|n| (*n).to_owned()).collect(),
    };
    ensure!(
        names.len() == defaults.len() * directions,
        "{} activations for {directions} directions",
        names.len()
    );
    let mut alphas = call.floats_attr("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = call.floats_attr("activation_beta")?.unwrap_or_default().into_iter();
    let mut find = |name: &String| {
        let row = ACTIVATIONS.iter().find(|(known, ..)| known == name);
        let &(name, alpha, beta, f) =
            row.ok_or_else(|| Fault::Unsupported(format!("activation `{name}`")))?;
        // Only activations that have parameters take one from the lists.
        let takes_alpha = alpha != 0.0;
        let takes_beta = matches!(name, "affine" | "hardsigmoid" | "scaledtanh");
        Ok(Activation {
            f,
            alpha: if takes_alpha { alphas.next().unwrap_or(alpha) } else { 0.0 },
            beta: if takes_beta { betas.next().unwrap_or(beta) } else { 0.0 },
        })
    };
    names.iter().map(&mut find).collect()
}

/// One direction's weights and what it does at each step.
struct Cell {
    /// `[inputs, gates * hidden]` and `[hidden, gates * hidden]`.
    w: Vec<f64>,
    r: Vec<f64>,
    /// `gates * hidden` of each, for inputs and for the hidden state.
    w_bias: Vec<f64>,
    r_bias: Vec<f64>,
    /// LSTM's peepholes: input, output, forget.
    peepholes: Option<Vec<f64>>,
    activations: Vec<Activation>,
    clip: f64,
    inputs: usize,
    hidden: usize,
    gates: usize,
    linear_before_reset: bool,
    input_forget: bool,
}

/// What a cell carries from step to step, for one sequence of the batch.
#[derive(Clone)]
struct State {
    h: Vec<f64>,
    c: Vec<f64>,
}

type Step = fn(&Cell, &[f64], &State) -> Result<State, Fault>;

impl Cell {
    fn clipped(&self, x: f64) -> f64 {
        x.clamp(-self.clip, self.clip)
    }

    /// `x·W + b` for all gates.
    fn input_part(&self, x: &[f64]) -> Result<Vec<f64>, Fault> {
        let mut z = product(x, &self.w, [1, self.inputs, self.gates * self.hidden])?;
        z.iter_mut().zip(&self.w_bias).for_each(|(z, b)| *z += b);
        Ok(z)
    }

    /// `h·R + b` for all gates.
    fn state_part(&self, h: &[f64]) -> Result<Vec<f64>, Fault> {
        let mut z = product(h, &self.r, [1, self.hidden, self.gates * self.hidden])?;
        z.iter_mut().zip(&self.r_bias).for_each(|(z, b)| *z += b);
        Ok(z)
    }
}

fn rnn_step(cell: &Cell, x: &[f64], state: &State) -> Result<State, Fault> {
    let (zx, zh) = (cell.input_part(x)?, cell.state_part(&state.h)?);
    let h = zx.iter().zip(&zh).map(|(x, h)| cell.activations[0].at(cell.clipped(x + h))).collect();
    Ok(State { h, c: vec![] })
}

/// Gates in order: update, reset, hidden.
fn gru_step(cell: &Cell, x: &[f64], state: &State) -> Result<State, Fault> {
    let n = cell.hidden;
    let (zx, zh) = (cell.input_part(x)?, cell.state_part(&state.h)?);
    let gate = |g: usize, i: usize| cell.activations[0].at(cell.clipped(zx[g * n + i] + zh[g * n + i]));
    let reset: Vec<f64> = (0..n).map(|i| gate(1, i)).collect();
    let from_state: Vec<f64> = if cell.linear_before_reset {
        (0..n).map(|i| reset[i] * zh[2 * n + i]).collect()
    } else {
        let h: Vec<f64> = state.h.iter().zip(&reset).map(|(h, r)| h * r).collect();
        cell.state_part(&h)?[2 * n..].to_vec()
    };
    let one = |i: usize| {
        let z = gate(0, i);
        let new = cell.activations[1].at(cell.clipped(zx[2 * n + i] + from_state[i]));
        (1.0 - z) * new + z * state.h[i]
    };
    Ok(State { h: (0..n).map(one).collect(), c: vec![] })
}

/// Gates in order: input, output, forget, cell.
fn lstm_step(cell: &Cell, x: &[f64], state: &State) -> Result<State, Fault> {
    let n = cell.hidden;
    let (zx, zh) = (cell.input_part(x)?, cell.state_part(&state.h)?);
    let peep = |p: usize, i: usize, c: f64| cell.peepholes.as_ref().map_or(0.0, |w| w[p * n + i] * c);
    let sum = |g: usize, i: usize| zx[g * n + i] + zh[g * n + i];
    let [f, g, h] = [cell.activations[0], cell.activations[1], cell.activations[2]];
    let mut next = State { h: vec![0.0; n], c: vec![0.0; n] };
    for i in 0..n {
        let old = state.c[i];
        let input = f.at(cell.clipped(sum(0, i) + peep(0, i, old)));
        let forget = match cell.input_forget {
            true => 1.0 - input,
            false => f.at(cell.clipped(sum(2, i) + peep(2, i, old))),
        };
        next.c[i] = forget * old + input * g.at(cell.clipped(sum(3, i)));
        let output = f.at(cell.clipped(sum(1, i) + peep(1, i, next.c[i])));
        next.h[i] = output * h.at(next.c[i]);
    }
    Ok(next)
}

/// Sizes of the call, and where things lie in its tensors.
struct Plan {
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    directions: usize,
    reverse_first: bool,
    /// The batch comes before time and directions.
    batch_first: bool,
    lengths: Vec<usize>,
}

impl Plan {
    fn of(call: &Call<'_>) -> Result<Plan, Fault> {
        let x = call.tensor(0)?;
        let &[first, second, inputs] = x.dims() else {
            return Err(invalid!("an input of rank 3 is needed, not {:?}", x.dims()));
        };
        let batch_first = call.flag("layout")?;
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let direction = call.text("direction")?;
        let r = call.tensor(2)?;
        let &[directions, _, hidden] = r.dims() else {
            return Err(invalid!("recurrence weights of rank 3 are needed, not {:?}", r.dims()));
        };
        ensure!(
            directions == if direction == "bidirectional" { 2 } else { 1 },
            "{direction}, with weights for {directions} directions"
        );
        let lengths = match call.whole_opt(4)? {
            Some(lengths) => layout::sizes(&lengths)?,
            None => vec![steps; batch],
        };
        ensure!(
            lengths.len() == batch && lengths.iter().all(|&l| l <= steps),
            "sequence lengths {lengths:?} of {batch}×{steps}"
        );
        Ok(Plan {
            steps,
            batch,
            inputs,
            hidden,
            directions,
            reverse_first: direction == "reverse",
            batch_first,
            lengths,
        })
    }

    /// The cells of all directions, of weights `[directions, gates * hidden, ...]`.
    fn cells(
        &self,
        call: &Call<'_>,
        [w, r]: [Vec<f64>; 2],
        gates: usize,
        defaults: &[&str],
    ) -> Result<Vec<Cell>, Fault> {
        let activations = activations(call, defaults, self.directions)?;
        let rows = gates * self.hidden;
        let bias = call.floats_opt(3)?.unwrap_or_else(|| vec![0.0; self.directions * 2 * rows]);
        let fits = [(w.len(), rows * self.inputs), (r.len(), rows * self.hidden), (bias.len(), 2 * rows)]
            .iter()
            .all(|&(got, each)| got == self.directions * each);
        ensure!(
            fits,
            "weights of shapes {:?} and {:?} do not fit",
            call.tensor(1)?.dims(),
            call.tensor(2)?.dims()
        );
        let peepholes = call.floats_opt(7)?;
        let peephole_len = 3 * self.hidden;
        ensure!(
            peepholes.as_ref().is_none_or(|p| p.len() == self.directions * peephole_len),
            "peepholes do not fit"
        );
        let part = |all: &[f64], d: usize, len: usize| all[d * len..(d + 1) * len].to_vec();
        let one = |d: usize| {
            Ok(Cell {
                w: transposed(&part(&w, d, rows * self.inputs), rows, self.inputs),
                r: transposed(&part(&r, d, rows * self.hidden), rows, self.hidden),
                w_bias: part(&bias, 2 * d, rows),
                r_bias: part(&bias, 2 * d + 1, rows),
                peepholes: peepholes.as_ref().map(|p| part(p, d, peephole_len)),
                activations: activations[d * defaults.len()..(d + 1) * defaults.len()].to_vec(),
                clip: call.float_opt("clip")?.unwrap_or(f64::INFINITY).abs(),
                inputs: self.inputs,
                hidden: self.hidden,
                gates,
                linear_before_reset: call.flag("linear_before_reset")?,
                input_forget: call.flag("input_forget")?,
            })
        };
        (0..self.directions).map(one).collect()
    }

    /// Where the state of a direction and sequence lies in `[directions, batch, hidden]`.
    fn state_at(&self, d: usize, b: usize) -> std::ops::Range<usize> {
        let row = if self.batch_first { b * self.directions + d } else { d * self.batch + b };
        row * self.hidden..(row + 1) * self.hidden
    }

    /// Where an output lies in `[steps, directions, batch, hidden]`.
    fn output_at(&self, t: usize, d: usize, b: usize) -> std::ops::Range<usize> {
        let row = match self.batch_first {
            true => (b * self.steps + t) * self.directions + d,
            false => (t * self.directions + d) * self.batch + b,
        };
        row * self.hidden..(row + 1) * self.hidden
    }

    fn initial(&self, call: &Call<'_>, i: usize) -> Result<Vec<f64>, Fault> {
        let len = layout::count(&[self.directions, self.batch, self.hidden])?;
        let state = call.floats_opt(i)?.unwrap_or_else(|| vec![0.0; len]);
        ensure!(state.len() == len, "an initial state of shape {:?}", call.tensor(i)?.dims());
        Ok(state)
    }
}

/// Walks all sequences in all directions. Outputs: every hidden state, the last ones, the last cells.
fn run(call: &Call<'_>, gates: usize, defaults: &[&str], step: Step) -> Outputs {
    let plan = Plan::of(call)?;
    let cells = plan.cells(call, [call.floats(1)?, call.floats(2)?], gates, defaults)?;
    walk(call, &plan, &cells, &call.floats(0)?, step, &|states| states.to_vec())
}

/// `seen` is what cells see of the states of the whole batch.
fn walk(
    call: &Call<'_>,
    plan: &Plan,
    cells: &[Cell],
    x: &[f64],
    step: Step,
    seen: &dyn Fn(&[State]) -> Vec<State>,
) -> Outputs {
    let (mut h, mut c) = (plan.initial(call, 5)?, plan.initial(call, 6)?);
    let mut y = numbers::filled(0.0, &[plan.steps, plan.directions, plan.batch, plan.hidden])?;
    for (d, cell) in cells.iter().enumerate() {
        let at = |b: usize| plan.state_at(d, b);
        let mut states: Vec<State> =
            (0..plan.batch).map(|b| State { h: h[at(b)].to_vec(), c: c[at(b)].to_vec() }).collect();
        for i in 0..plan.steps {
            let before = seen(&states);
            for b in 0..plan.batch {
                let length = plan.lengths[b];
                if i >= length {
                    continue;
                }
                let reversed = d == 1 || plan.reverse_first;
                let t = if reversed { length - 1 - i } else { i };
                let row = if plan.batch_first { b * plan.steps + t } else { t * plan.batch + b };
                states[b] = step(cell, &x[row * plan.inputs..(row + 1) * plan.inputs], &before[b])?;
                y[plan.output_at(t, d, b)].copy_from_slice(&states[b].h);
            }
        }
        for (b, state) in states.iter().enumerate() {
            h[at(b)].copy_from_slice(&state.h);
            if !state.c.is_empty() {
                c[at(b)].copy_from_slice(&state.c);
            }
        }
    }
    let tensor = call.tensor(0)?;
    let (s, d, b, n) = (plan.steps, plan.directions, plan.batch, plan.hidden);
    let (y_dims, state_dims) =
        if plan.batch_first { ([b, s, d, n], [b, d, n]) } else { ([s, d, b, n], [d, b, n]) };
    let make = |dims: &[usize], values: &[f64]| -> Result<Datum, Fault> {
        let tensor: Tensor = from_floats(tensor.dtype(), dims, values)?;
        Ok(tensor.into())
    };
    Ok(vec![make(&y_dims, &y)?, make(&state_dims, &h)?, make(&state_dims, &c)?])
}

fn rnn(call: &Call<'_>) -> Outputs {
    run(call, 1, &["tanh"], rnn_step)
}

fn gru(call: &Call<'_>) -> Outputs {
    run(call, 3, &["sigmoid", "tanh"], gru_step)
}

fn lstm(call: &Call<'_>) -> Outputs {
    run(call, 4, &["sigmoid", "tanh", "tanh"], lstm_step)
}

/// Numbers as eight bits would hold them that cover their range.
fn through_bytes(values: &[f64]) -> Vec<f64> {
    let singles: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    let (scale, zero) = dynamic_parameters(&singles);
    let code = |x: f32| ((x / scale).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) - f32::from(zero);
    singles.into_iter().map(|x| f64::from(code(x)) * f64::from(scale)).collect()
}

/// An LSTM whose weights `[directions, ..., gates * hidden]` are quantised, each direction or column with a scale and
/// zero point of its own, and whose input and hidden states are quantised on the way.
fn dynamic_quantize_lstm(call: &Call<'_>) -> Outputs {
    let r = call.tensor(2)?;
    let &[_, hidden, columns] = r.dims() else {
        return Err(invalid!("recurrence weights of rank 3 are needed, not {:?}", r.dims()));
    };
    let plan = Plan { hidden, ..Plan::of(call)? };
    ensure!(hidden.checked_mul(4) == Some(columns), "{columns} columns for a hidden size of {hidden}");
    let weights = |i: usize, scale: usize| -> Result<Vec<f64>, Fault> {
        let (tensor, scales, zeros) = (call.tensor(i)?, call.floats(scale)?, call.floats(scale + 1)?);
        let &[directions, rows, _] = tensor.dims() else {
            return Err(invalid!("weights of shape {:?}", tensor.dims()));
        };
        let own = |list: &[f64]| list.len() == directions || list.len() == directions * columns;
        ensure!(own(&scales) && own(&zeros), "{} scales and {} zero points", scales.len(), zeros.len());
        ensure!(tensor.len() == directions * rows * columns, "weights of shape {:?}", tensor.dims());
        let mut values = numbers::floats(tensor)?;
        let of = |list: &[f64], d: usize, column: usize| {
            if list.len() == directions { list[d] } else { list[d * columns + column] }
        };
        for (at, x) in values.iter_mut().enumerate() {
            let (d, column) = (at / (rows * columns).max(1), at % columns);
            *x = (*x - of(&zeros, d, column)) * of(&scales, d, column);
        }
        let each = (rows * columns).max(1);
        Ok(values.chunks(each).flat_map(|matrix| transposed(matrix, rows, columns)).collect())
    };
    let defaults = ["sigmoid", "tanh", "tanh"];
    let cells = plan.cells(call, [weights(1, 8)?, weights(2, 10)?], 4, &defaults)?;
    let seen = |states: &[State]| {
        let all: Vec<f64> = states.iter().flat_map(|state| state.h.iter().copied()).collect();
        let rows = through_bytes(&all);
        let rows = rows.chunks(hidden.max(1)).map(<[f64]>::to_vec);
        states.iter().zip(rows).map(|(state, h)| State { h, c: state.c.clone() }).collect()
    };
    walk(call, &plan, &cells, &through_bytes(&call.floats(0)?), lstm_step, &seen)
}
