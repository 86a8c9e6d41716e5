//! Random tensors. The same node and seed always give the same numbers, and those of ONNX's reference where that
//! draws one number for one element.

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure};
use super::layout::{self, Lanes};
use super::mersenne::RandomState;
use super::numbers::{self, from_floats, from_floats_any};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("Bernoulli", 15, bernoulli),
    onnx("Multinomial", 7, multinomial),
    onnx("RandomNormal", 1, random),
    onnx("RandomNormalLike", 1, random),
    onnx("RandomUniform", 1, random),
    onnx("RandomUniformLike", 1, random),
];

/// Numbers seeded by the attribute, else by the node's name, so that nodes differ and runs do not.
fn generator(call: &Call<'_>) -> Result<RandomState, Fault> {
    let name = || call.node.label.bytes().fold(0u64, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    let seed = match call.attr("seed") {
        Some(byoc_graph::Attr::Int(seed)) => Some(*seed as u64),
        _ => call.float_opt("seed")?.map(|seed| match seed {
            // Seeds are floats by an accident of the standard; whole ones are meant as integers.
            whole if whole.fract() == 0.0 && (0.0..4_294_967_296.0).contains(&whole) => whole as u64,
            other => other.to_bits(),
        }),
    };
    let seed = seed.unwrap_or_else(name);
    Ok(RandomState::new((seed ^ (seed >> 32)) as u32))
}

fn random(call: &Call<'_>) -> Outputs {
    let name = &*call.node.op.name;
    let (dims, dtype) = if name.ends_with("Like") {
        let like = call.tensor(0)?;
        (like.dims().to_vec(), call.dtype_opt("dtype")?.unwrap_or(like.dtype()))
    } else {
        (layout::sizes(&call.ints("shape")?)?, call.dtype_opt("dtype")?.unwrap_or(DType::F32))
    };
    let n = layout::count(&dims)?;
    let mut state = generator(call)?;
    let values: Vec<f64> = if name.starts_with("RandomNormal") {
        let (mean, scale) = (call.float("mean")?, call.float("scale")?);
        (0..n).map(|_| mean + scale * state.normal()).collect()
    } else {
        let (low, high) = (call.float("low")?, call.float("high")?);
        (0..n).map(|_| low + (high - low) * state.unit()).collect()
    };
    Ok(vec![from_floats(dtype, &dims, &values)?.into()])
}

fn bernoulli(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let mut state = generator(call)?;
    let drawn = |p: f64| f64::from(u8::from(state.unit() < p));
    let values: Vec<f64> = numbers::floats(tensor)?.into_iter().map(drawn).collect();
    let dtype = call.dtype_opt("dtype")?.unwrap_or(tensor.dtype());
    let result = match dtype {
        DType::Bool => Tensor::from_bools(tensor.dims(), values.iter().map(|&x| x != 0.0).collect())?,
        _ => from_floats_any(dtype, tensor.dims(), &values)?,
    };
    Ok(vec![result.into()])
}

/// Draws classes from unnormalised log-probabilities, `sample_size` for each row.
fn multinomial(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    ensure!(tensor.rank() == 2 && tensor.dims()[1] > 0, "log-probabilities of shape {:?}", tensor.dims());
    let samples = layout::size(call.int("sample_size")?)?;
    let dims = [tensor.dims()[0], samples];
    layout::count(&dims)?;
    let mut state = generator(call)?;
    let rows =
        Lanes::new(tensor.dims(), &[1])?.reduce(&numbers::floats(tensor)?, super::reduce::softmax_lane);
    let mut draw = |row: &[f64]| {
        let (target, mut sum) = (state.unit(), 0.0);
        let reached = row.iter().position(|p| {
            sum += p;
            target < sum
        });
        reached.unwrap_or(row.len() - 1) as f64
    };
    let values: Vec<f64> =
        rows.iter().flat_map(|row| (0..samples).map(|_| draw(row)).collect::<Vec<_>>()).collect();
    let dtype = call.dtype_opt("dtype")?.unwrap_or(DType::I32);
    Ok(vec![from_floats_any(dtype, &dims, &values)?.into()])
}

/// Dropout in training: drops elements with probability `ratio`, and scales up the rest.
pub(super) fn dropout(call: &Call<'_>, tensor: &Tensor, ratio: f64) -> Outputs {
    ensure!((0.0..1.0).contains(&ratio), "a ratio of {ratio}");
    let mut state = generator(call)?;
    let mask: Vec<bool> = (0..layout::count(tensor.dims())?).map(|_| state.unit() >= ratio).collect();
    let kept = numbers::floats(tensor)?;
    let values: Vec<f64> =
        kept.iter().zip(&mask).map(|(x, &keep)| if keep { x / (1.0 - ratio) } else { 0.0 }).collect();
    let y = from_floats(tensor.dtype(), tensor.dims(), &values)?;
    Ok(vec![y.into(), Tensor::from_bools(tensor.dims(), mask)?.into()])
}
