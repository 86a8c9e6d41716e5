//! Losses and the optimisers of training.

use super::Family;
use crate::infer::call::{Call, Outcome, Stop, invalid};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[(&["NegativeLogLikelihoodLoss"], loss), (&["SoftmaxCrossEntropyLoss"], cross_entropy)],
};

pub const TRAINING: Family = Family {
    domain: "ai.onnx.preview.training",
    rules: &[
        (&["Adagrad"], adagrad),
        (&["Adam"], adam),
        (&["Momentum"], momentum),
        (&["Gradient"], gradient),
    ],
};

fn loss(call: &mut Call<'_, '_>) -> Outcome {
    if call.text("reduction") == Some("none") { call.same_shape(0, 1) } else { call.set_shape(0, []) }
}

fn cross_entropy(call: &mut Call<'_, '_>) -> Outcome {
    call.outputs.iter_mut().skip(1).for_each(|fact| fact.ty = None);
    if let Some(scores) = call.ty(0).cloned()
        && call.outputs.len() > 1
    {
        call.set_type(1, scores);
    }
    loss(call)
}

/// Inputs are the rate, the step, then groups of tensors; outputs are the groups of input positions
/// given in `kept`, each updated.
fn update(call: &mut Call<'_, '_>, groups: usize, kept: &[usize]) -> Outcome {
    let Some(tensors) = call.inputs.len().checked_sub(2).filter(|n| n % groups == 0) else {
        return invalid("inputs come in groups of equal length");
    };
    let each = tensors / groups;
    for output in 0..call.outputs.len() {
        let (group, member) = (output / each.max(1), output % each.max(1));
        let Some(source) = kept.get(group) else { return invalid("there are too many outputs") };
        if let Some(ty) = call.ty(2 + source * each + member).cloned() {
            call.set_type(output, ty);
        }
    }
    Ok(())
}

fn adagrad(call: &mut Call<'_, '_>) -> Outcome {
    update(call, 3, &[0, 2])
}

fn momentum(call: &mut Call<'_, '_>) -> Outcome {
    update(call, 3, &[0, 2])
}

fn adam(call: &mut Call<'_, '_>) -> Outcome {
    update(call, 4, &[0, 2, 3])
}

fn gradient(call: &mut Call<'_, '_>) -> Outcome {
    // One gradient for each tensor named in `xs`, which are the first inputs.
    let count = call.strings_len("xs").ok_or(Stop::Unknown)?;
    for output in 0..call.outputs.len().min(count) {
        if let Some(ty) = call.ty(output).cloned() {
            call.set_type(output, ty);
        }
    }
    Ok(())
}
