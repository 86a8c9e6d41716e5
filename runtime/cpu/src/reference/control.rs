//! Control flow: If, Loop, Scan.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::movement::take;
use super::numbers::{self, from_whole};
use super::registry::{Entry, onnx};
use super::slice_concat::{concatenated, part_along};

pub(super) const OPS: &[Entry] =
    &[onnx("If", 1, branch), onnx("Loop", 1, repeat), onnx("Scan", 8, scan_batches), onnx("Scan", 9, scan)];

fn truth(datum: &Datum) -> Result<bool, Fault> {
    let tensor = datum.as_tensor().ok_or_else(|| invalid!("a condition is a {}", datum.kind()))?;
    match numbers::bools(tensor)?[..] {
        [value] => Ok(value),
        _ => Err(invalid!("a condition of shape {:?}", tensor.dims())),
    }
}

fn branch(call: &Call<'_>) -> Outputs {
    let name = if truth(call.datum(0)?)? { "then_branch" } else { "else_branch" };
    call.bodies.run(call.body(name)?, vec![])
}

/// Tensors that a body made, one each round.
struct Collected {
    rounds: Vec<Tensor>,
}

impl Collected {
    fn push(&mut self, datum: Datum) -> Result<(), Fault> {
        match datum {
            Datum::Tensor(tensor) => self.rounds.push(tensor),
            other => return Err(invalid!("a body collects a {}, where tensors are needed", other.kind())),
        }
        Ok(())
    }

    /// All rounds in one tensor, along a new axis.
    fn stacked(&self, axis: i64, missing: impl Fn() -> Result<Tensor, Fault>) -> Result<Tensor, Fault> {
        let Some(first) = self.rounds.first() else { return missing() };
        let axis = layout::axis(axis, first.rank() + 1)?;
        let mut dims = first.dims().to_vec();
        dims.insert(axis, 1);
        let wide: Vec<Tensor> = self.rounds.iter().map(|t| t.reshaped(&dims)).collect::<Result<_, _>>()?;
        concatenated(&wide.iter().collect::<Vec<_>>(), axis as i64)
    }
}

/// What a collected output is where no round took place: nothing, of the type that the body declares.
fn none_collected(body: &byoc_graph::Graph, output: usize) -> Result<Tensor, Fault> {
    let ty = body.outputs().get(output).and_then(|&v| body.value(v).ty.as_ref());
    let dtype = ty.and_then(|t| t.dtype()).unwrap_or(DType::F32);
    let known = |d: &byoc_graph::Dim| d.value().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let inner: Vec<usize> =
        ty.and_then(|t| t.shape()).map(|s| s.iter().map(known).collect()).unwrap_or_default();
    let dims = [&[0][..], &inner].concat();
    take(&[&super::movement::zero(dtype)?], &dims, &[])
}

fn repeat(call: &Call<'_>) -> Outputs {
    let body = call.body("body")?;
    let rounds = match call.tensor_opt(0)? {
        Some(_) => call.whole_scalar(0)?,
        None => i64::MAX,
    };
    let mut going = match call.datum_opt(1) {
        Some(condition) => truth(condition)?,
        None => true,
    };
    let carried = call.inputs.len().saturating_sub(2);
    let mut state: Vec<Datum> =
        (0..carried).map(|i| Ok(call.datum(i + 2)?.clone())).collect::<Result<_, Fault>>()?;
    let scanned = body.outputs().len().checked_sub(carried + 1);
    let scanned =
        scanned.ok_or_else(|| invalid!("the body has too few outputs for {carried} carried values"))?;
    let mut collected: Vec<Collected> = (0..scanned).map(|_| Collected { rounds: vec![] }).collect();
    // Some bodies of old models take the round as a list of one.
    let round_type = body.inputs().first().and_then(|&v| body.value(v).ty.as_ref());
    let round_dims = vec![1; round_type.and_then(|t| t.shape()).map_or(0, |s| s.len())];
    let mut round = 0i64;
    while going && round < rounds {
        let mut inputs =
            vec![from_whole(&round_dims, vec![round])?, Tensor::from_bools(&[], vec![true])?.into()];
        inputs.append(&mut state);
        let mut outputs = call.bodies.run(body, inputs)?.into_iter();
        going = truth(&outputs.next().ok_or_else(|| invalid!("the body has no condition"))?)?;
        state.extend(outputs.by_ref().take(carried));
        for (collected, datum) in collected.iter_mut().zip(outputs) {
            collected.push(datum)?;
        }
        round += 1;
    }
    for (i, collected) in collected.iter().enumerate() {
        state.push(collected.stacked(0, || none_collected(body, carried + 1 + i))?.into());
    }
    Ok(state)
}

/// Axes and directions of a Scan's inputs or outputs; zeros where the attribute is missing.
fn list(call: &Call<'_>, name: &str, n: usize) -> Result<Vec<i64>, Fault> {
    let values = call.ints_opt(name)?.unwrap_or_else(|| vec![0; n]);
    ensure!(values.len() == n, "attribute `{name}` has {} entries for {n} values", values.len());
    Ok(values)
}

fn scan(call: &Call<'_>) -> Outputs {
    let inputs: Vec<Datum> =
        (0..call.inputs.len()).map(|i| Ok(call.datum(i)?.clone())).collect::<Result<_, Fault>>()?;
    let n = layout::size(call.int("num_scan_inputs")?)?;
    let states =
        inputs.len().checked_sub(n).ok_or_else(|| invalid!("{n} scan inputs of {}", inputs.len()))?;
    let outputs = call.body("body")?.outputs().len().checked_sub(states);
    let outputs = outputs.ok_or_else(|| invalid!("the body has too few outputs for {states} states"))?;
    let plan = Plan {
        states,
        in_axes: list(call, "scan_input_axes", n)?,
        in_reversed: list(call, "scan_input_directions", n)?,
        out_axes: list(call, "scan_output_axes", outputs)?,
        out_reversed: list(call, "scan_output_directions", outputs)?,
    };
    plan.run(call, inputs)
}

struct Plan {
    states: usize,
    in_axes: Vec<i64>,
    in_reversed: Vec<i64>,
    out_axes: Vec<i64>,
    out_reversed: Vec<i64>,
}

impl Plan {
    /// States first, then what is scanned.
    fn run(&self, call: &Call<'_>, mut inputs: Vec<Datum>) -> Outputs {
        let body = call.body("body")?;
        let scanned: Vec<Tensor> = inputs
            .split_off(self.states)
            .into_iter()
            .map(|d| d.as_tensor().cloned().ok_or_else(|| invalid!("a {} cannot be scanned", d.kind())))
            .collect::<Result<_, Fault>>()?;
        let axes: Vec<usize> = scanned
            .iter()
            .zip(&self.in_axes)
            .map(|(t, &a)| layout::axis(a, t.rank()))
            .collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = scanned.iter().zip(&axes).map(|(t, &a)| t.dims()[a]).collect();
        let length = *lengths.first().ok_or_else(|| invalid!("nothing to scan"))?;
        ensure!(lengths.iter().all(|&l| l == length), "scanned inputs have lengths {lengths:?}");
        let mut state = inputs;
        let mut collected: Vec<Collected> =
            self.out_axes.iter().map(|_| Collected { rounds: vec![] }).collect();
        for round in 0..length {
            let mut inputs = std::mem::take(&mut state);
            for (i, tensor) in scanned.iter().enumerate() {
                let at = if self.in_reversed[i] != 0 { length - 1 - round } else { round };
                let mut dims = tensor.dims().to_vec();
                dims.remove(axes[i]);
                inputs.push(part_along(tensor, axes[i], at, 1)?.reshaped(&dims)?.into());
            }
            let mut outputs = call.bodies.run(body, inputs)?.into_iter();
            state.extend(outputs.by_ref().take(self.states));
            for (collected, datum) in collected.iter_mut().zip(outputs) {
                collected.push(datum)?;
            }
        }
        for (i, mut collected) in collected.into_iter().enumerate() {
            if self.out_reversed[i] != 0 {
                collected.rounds.reverse();
            }
            let missing = || none_collected(body, self.states + i);
            state.push(collected.stacked(self.out_axes[i], missing)?.into());
        }
        Ok(state)
    }
}

/// Scan of opset 8: the first input gives lengths, and axis 0 of all others is a batch.
fn scan_batches(call: &Call<'_>) -> Outputs {
    let inputs: Vec<&Tensor> = (1..call.inputs.len()).map(|i| call.tensor(i)).collect::<Result<_, _>>()?;
    let n = layout::size(call.int("num_scan_inputs")?)?;
    let states =
        inputs.len().checked_sub(n).ok_or_else(|| invalid!("{n} scan inputs of {}", inputs.len()))?;
    let batch = inputs.first().and_then(|t| t.dims().first()).copied().ok_or(Fault::Missing(1))?;
    ensure!(inputs.iter().all(|t| t.dims().first() == Some(&batch)), "inputs differ in their batch");
    ensure!(call.tensor_opt(0)?.is_none(), "sequences of different lengths are not known");
    let outputs = call.body("body")?.outputs().len().saturating_sub(states);
    let plan = Plan {
        states,
        in_axes: vec![0; n],
        in_reversed: list(call, "directions", n)?,
        out_axes: vec![0; outputs],
        out_reversed: vec![0; outputs],
    };
    let mut results: Vec<Collected> = (0..states + outputs).map(|_| Collected { rounds: vec![] }).collect();
    for b in 0..batch {
        let one = |t: &&Tensor| Ok(part_along(t, 0, b, 1)?.reshaped(&t.dims()[1..])?.into());
        let inputs: Vec<Datum> = inputs.iter().map(one).collect::<Result<_, Fault>>()?;
        for (result, datum) in results.iter_mut().zip(plan.run(call, inputs)?) {
            result.push(datum)?;
        }
    }
    let body = call.body("body")?;
    let stack = |(i, r): (usize, &Collected)| Ok(r.stacked(0, || none_collected(body, i))?.into());
    results.iter().enumerate().map(stack).collect()
}
