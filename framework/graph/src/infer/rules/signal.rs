//! Fourier transforms and what goes with them.

use super::Family;
use crate::infer::call::{Call, Outcome, axis, invalid};
use crate::{DType, Dim};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["DFT"], dft),
        (&["STFT"], stft),
        (&["BlackmanWindow", "HammingWindow", "HannWindow"], window),
        (&["MelWeightMatrix"], mel_weights),
    ],
};

/// Frequencies that a real signal of `n` samples has.
fn half(n: &Dim) -> Dim {
    n.floor_div(&Dim::Static(2)).add(&Dim::Static(1))
}

/// A size given by an input.
fn size_in(call: &Call<'_, '_>, input: usize) -> Dim {
    call.dim_in(input).ok().filter(Dim::is_nonnegative).unwrap_or(Dim::Unknown)
}

fn dft(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let Some(last) = dims.len().checked_sub(1).filter(|&last| last > 0) else {
        return invalid("a signal needs an axis, and one for its real and imaginary parts");
    };
    let (onesided, inverse) = (call.flag("onesided"), call.flag("inverse"));
    if !onesided && !call.has(1) {
        // Every axis keeps its length, whichever is transformed.
        dims[last] = Dim::Static(2);
        return call.set_shape(0, dims);
    }
    // The axis was an attribute counted from the front first, then became an input.
    let given = match (call.since() < 20, call.has(2)) {
        (true, _) => call.int_or("axis", 1),
        (false, true) => call.int_in(2)?,
        (false, false) => -2,
    };
    let at = axis(given, dims.len())?;
    let signal = match (call.has(1), onesided && inverse) {
        (true, _) => size_in(call, 1),
        (false, true) => dims[at].sub(&Dim::Static(1)).mul(&Dim::Static(2)),
        (false, false) => dims[at].clone(),
    };
    dims[at] = if onesided && !inverse { half(&signal) } else { signal };
    dims[last] = Dim::Static(if onesided && inverse { 1 } else { 2 });
    call.set_shape(0, dims)
}

fn stft(call: &mut Call<'_, '_>) -> Outcome {
    let signal = call.shape_of_rank(0, 3)?;
    let window = call.shape_of(2).and_then(|s| s.first().cloned());
    let frame = match (call.has(3), window) {
        (true, _) => size_in(call, 3),
        (false, Some(window)) => window,
        (false, None) if call.has(2) => Dim::Unknown,
        (false, None) => signal[1].clone(),
    };
    let step = size_in(call, 1);
    let frames = signal[1].sub(&frame).floor_div(&step).add(&Dim::Static(1));
    let bins = if call.int_or("onesided", 1) != 0 { half(&frame) } else { frame };
    call.set_shape(0, [signal[0].clone(), frames, bins, Dim::Static(2)])
}

fn window(call: &mut Call<'_, '_>) -> Outcome {
    if let Some(dtype) = call.dtype_attr("output_datatype")? {
        call.set_dtype(0, dtype);
    }
    call.set_shape(0, [size_in(call, 0)])
}

fn mel_weights(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(0, call.dtype_attr("output_datatype")?.unwrap_or(DType::F32));
    call.set_shape(0, [half(&size_in(call, 1)), size_in(call, 0)])
}
