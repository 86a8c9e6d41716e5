//! Normalisation layers.

use super::Family;
use super::activation::same_as_input;
use crate::infer::call::{Call, Outcome, axis};
use crate::{DType, Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["GroupNormalization", "InstanceNormalization", "MeanVarianceNormalization"], same_as_input),
        (&["BatchNormalization"], batch_normalization),
        (&["LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"], layer_normalization),
    ],
};

fn batch_normalization(call: &mut Call<'_, '_>) -> Outcome {
    let channels = match call.shape_of(0) {
        Some(shape) => shape.get(1).cloned().unwrap_or(Dim::Static(1)),
        None => Dim::Unknown,
    };
    for output in 1..call.outputs.len() {
        call.set_shape(output, [channels.clone()])?;
    }
    call.same_shape(0, 0)
}

fn layer_normalization(call: &mut Call<'_, '_>) -> Outcome {
    // The precision of the statistics, which the signature does not tie to an input.
    if let Some(stash) = call.dtype_attr("stash_type")? {
        for output in 1..call.outputs.len() {
            call.set_dtype(output, stash);
        }
    }
    if call
        .schema
        .is_some_and(|schema| schema.name == "SimplifiedLayerNormalization" || schema.since_version == 1)
        && let Some(dtype) = call.dtype(1)
    {
        call.set_dtype(0, dtype);
    }
    let shape = call.shape(0)?;
    call.set_shape(0, shape.clone())?;
    let from = axis(call.int_or("axis", -1), shape.len())?;
    let statistics: Dims =
        shape.iter().enumerate().map(|(i, d)| if i < from { d.clone() } else { Dim::Static(1) }).collect();
    for output in 1..call.outputs.len() {
        call.set_shape(output, statistics.clone())?;
    }
    Ok(())
}

/// The statistics of ONNX Runtime's skip normalisations are float32.
pub fn skip_normalization(call: &mut Call<'_, '_>) -> Outcome {
    for output in [1, 2] {
        call.set_dtype(output, DType::F32);
    }
    call.same_shape(3, 0)?;
    call.same_shape(0, 0)?;
    let mut statistics = call.shape(0)?;
    if let Some(last) = statistics.last_mut() {
        *last = Dim::Static(1);
    }
    call.set_shape(1, statistics.clone())?;
    call.set_shape(2, statistics)
}
