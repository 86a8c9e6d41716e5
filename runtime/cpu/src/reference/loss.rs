//! Losses of classification.

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes};
use super::numbers::{self, from_floats};
use super::reduce::log_softmax_lane;
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("NegativeLogLikelihoodLoss", 12, negative_log_likelihood),
    onnx("SoftmaxCrossEntropyLoss", 12, softmax_cross_entropy),
];

/// The loss from log-probabilities `[batch, classes, ...]`, targets at input 1 and weights at input 2.
fn loss(call: &Call<'_>, dtype: DType, dims: &[usize], scores: &[f64]) -> Result<Tensor, Fault> {
    let &[batch, classes, ref space @ ..] = dims else {
        return Err(invalid!("scores of shape {dims:?} have no classes"));
    };
    let targets = call.tensor(1)?;
    let expected = [&[batch][..], space].concat();
    ensure!(targets.dims() == expected, "targets {:?} for scores {dims:?}", targets.dims());
    let weights = call.floats_opt(2)?;
    ensure!(weights.as_ref().is_none_or(|w| w.len() == classes), "weights for another number of classes");
    let (ignored, inner) = (call.int_opt("ignore_index")?, layout::count(space)?);
    let (mut losses, mut total) = (Vec::with_capacity(targets.len()), 0.0);
    for (i, target) in numbers::whole(targets)?.into_iter().enumerate() {
        if Some(target) == ignored {
            losses.push(0.0);
            continue;
        }
        let class = layout::index(target, classes)?;
        let weight = weights.as_ref().map_or(1.0, |w| w[class]);
        losses.push(-scores[(i / inner * classes + class) * inner + i % inner] * weight);
        total += weight;
    }
    let sum: f64 = losses.iter().sum();
    match call.text("reduction")? {
        "none" => from_floats(dtype, &expected, &losses),
        "sum" => from_floats(dtype, &[], &[sum]),
        "mean" => from_floats(dtype, &[], &[sum / total]),
        other => {
            let why = format!("is `{other}`, which is not known");
            Err(Fault::Attribute { name: "reduction".into(), why })
        }
    }
}

fn negative_log_likelihood(call: &Call<'_>) -> Outputs {
    let scores = call.tensor(0)?;
    Ok(vec![loss(call, scores.dtype(), scores.dims(), &numbers::floats(scores)?)?.into()])
}

fn softmax_cross_entropy(call: &Call<'_>) -> Outputs {
    let scores = call.tensor(0)?;
    ensure!(scores.rank() >= 2, "scores of shape {:?} have no classes", scores.dims());
    let logarithms = Lanes::new(scores.dims(), &[1])?.map(&numbers::floats(scores)?, 0.0, log_softmax_lane);
    let loss = loss(call, scores.dtype(), scores.dims(), &logarithms)?;
    Ok(vec![loss.into(), from_floats(scores.dtype(), scores.dims(), &logarithms)?.into()])
}
