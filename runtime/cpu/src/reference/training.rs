//! Steps of optimisers: Adagrad, Adam, Momentum.

use byoc_graph::Datum;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure};
use super::layout;
use super::numbers::from_floats;
use super::registry::{Entry, training};

pub(super) const OPS: &[Entry] =
    &[training("Adagrad", 1, adagrad), training("Adam", 1, adam), training("Momentum", 1, momentum)];

/// Runs `update` on every element of every optimised tensor. Inputs are the learning rate, the step, and then
/// all tensors, all gradients and all of each state; outputs all tensors and all of each state. `update` gets
/// an element, its gradient with that of the norm, and its states, and gives the new element and states.
fn step<const S: usize>(call: &Call<'_>, update: impl Fn(f64, f64, [f64; S]) -> (f64, [f64; S])) -> Outputs {
    let each = 2 + S;
    let n = call.inputs.len().saturating_sub(2) / each;
    ensure!(
        n > 0 && call.inputs.len() == 2 + n * each,
        "{} inputs do not make up whole sets",
        call.inputs.len()
    );
    let norm = call.float("norm_coefficient")?;
    let mut results: Vec<Vec<Datum>> = vec![Vec::with_capacity(n); 1 + S];
    for i in 0..n {
        let tensor = call.tensor(2 + i)?;
        let (x, g) = (call.floats(2 + i)?, call.floats(2 + n + i)?);
        let states = (0..S).map(|s| call.floats(2 + (2 + s) * n + i)).collect::<Result<Vec<_>, Fault>>()?;
        let fits = g.len() == x.len() && states.iter().all(|s| s.len() == x.len());
        ensure!(fits, "tensor {i} differs in size from its gradient or state");
        layout::count(tensor.dims())?;
        let mut new: Vec<Vec<f64>> = vec![Vec::with_capacity(x.len()); 1 + S];
        for at in 0..x.len() {
            let (element, state) =
                update(x[at], norm * x[at] + g[at], std::array::from_fn(|s| states[s][at]));
            new[0].push(element);
            state.iter().zip(&mut new[1..]).for_each(|(s, new)| new.push(*s));
        }
        for (result, values) in results.iter_mut().zip(new) {
            result.push(from_floats(tensor.dtype(), tensor.dims(), &values)?.into());
        }
    }
    Ok(results.concat())
}

fn adagrad(call: &Call<'_>) -> Outputs {
    let rate = call.float_scalar(0)? / (1.0 + call.float_scalar(1)? * call.float("decay_factor")?);
    let epsilon = call.float("epsilon")?;
    step(call, |x, g, [h]| {
        let h = h + g * g;
        (x - rate * g / (h.sqrt() + epsilon), [h])
    })
}

fn adam(call: &Call<'_>) -> Outputs {
    let (alpha, beta, epsilon) = (call.float("alpha")?, call.float("beta")?, call.float("epsilon")?);
    let (mut rate, t) = (call.float_scalar(0)?, call.float_scalar(1)?);
    if t > 0.0 {
        rate *= (1.0 - beta.powf(t)).sqrt() / (1.0 - alpha.powf(t));
    }
    let shrink = 1.0 - call.float("norm_coefficient_post")?;
    step(call, |x, g, [v, h]| {
        let (v, h) = (alpha * v + (1.0 - alpha) * g, beta * h + (1.0 - beta) * g * g);
        (shrink * (x - rate * v / (h.sqrt() + epsilon)), [v, h])
    })
}

fn momentum(call: &Call<'_>) -> Outputs {
    let (rate, alpha) = (call.float_scalar(0)?, call.float("alpha")?);
    // The first gradient counts in full.
    let beta = if call.float_scalar(1)? > 0.0 { call.float("beta")? } else { 1.0 };
    let nesterov = call.text("mode")? == "nesterov";
    step(call, |x, g, [v]| {
        let v = alpha * v + beta * g;
        (x - rate * if nesterov { g + alpha * v } else { v }, [v])
    })
}
