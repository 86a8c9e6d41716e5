//! Signal processing: DFT, STFT, MelWeightMatrix.

use std::f64::consts::{LN_10, TAU};

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes};
use super::numbers::{self, from_floats, from_floats_any};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] =
    &[onnx("DFT", 17, dft), onnx("MelWeightMatrix", 17, mel_weight_matrix), onnx("STFT", 17, stft)];

type Complex = (f64, f64);

/// The discrete Fourier transform by its definition, the first `wanted` terms of it.
fn transform(signal: &[Complex], wanted: usize, inverse: bool) -> Vec<Complex> {
    let n = signal.len();
    let sign = if inverse { 1.0 } else { -1.0 };
    let roots: Vec<Complex> =
        (0..n).map(|i| (sign * TAU * i as f64 / n as f64).sin_cos()).map(|(s, c)| (c, s)).collect();
    let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
    let term = |k: usize| {
        let (mut sum, mut at) = ((0.0, 0.0), 0);
        for &(re, im) in signal {
            let (c, s) = roots[at];
            sum = (sum.0 + re * c - im * s, sum.1 + re * s + im * c);
            at = (at + k) % n;
        }
        (sum.0 * scale, sum.1 * scale)
    };
    (0..wanted).map(term).collect()
}

/// Elements as complex numbers: the last axis holds one or two parts.
fn complex(tensor: &Tensor) -> Result<(Vec<Complex>, Vec<usize>), Fault> {
    let values = numbers::floats(tensor)?;
    match tensor.dims() {
        [dims @ .., 1] => Ok((values.into_iter().map(|re| (re, 0.0)).collect(), dims.to_vec())),
        [dims @ .., 2] => Ok((values.chunks(2).map(|c| (c[0], c[1])).collect(), dims.to_vec())),
        dims => Err(invalid!("the last axis of {dims:?} does not hold real and imaginary parts")),
    }
}

/// The terms that tell all others of a real signal's transform.
fn half(n: usize) -> usize {
    n / 2 + 1
}

fn dft(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (values, dims) = complex(tensor)?;
    let axis = match call.opset() {
        ..20 => call.int("axis")?,
        _ if call.datum_opt(2).is_some() => call.whole_scalar(2)?,
        _ => -2,
    };
    let axis = layout::axis(axis, tensor.rank())?;
    ensure!(axis < dims.len(), "the axis of real and imaginary parts cannot be transformed");
    let (inverse, onesided) = (call.flag("inverse")?, call.flag("onesided")?);
    // A one-sided spectrum comes from a signal of twice its length, less the ends.
    let to_real = inverse && onesided;
    let natural = if to_real { 2 * dims[axis].saturating_sub(1) } else { dims[axis] };
    let n = match call.datum_opt(1) {
        Some(_) => layout::size(call.whole_scalar(1)?)?,
        None => natural,
    };
    ensure!(n > 0, "a transform of no elements");
    layout::count(&[n])?;
    let wanted = if onesided && !inverse { half(n) } else { n };
    let mut to = dims.clone();
    to[axis] = wanted;
    let (before, after) = (Lanes::new(&dims, &[axis])?, Lanes::new(&to, &[axis])?);
    let mut out = numbers::filled((0.0, 0.0), &to)?;
    for lane in 0..before.outer {
        let mut signal: Vec<Complex> = before.lane(lane).iter().map(|&at| values[at]).collect();
        signal.resize(if to_real { half(n) } else { n }, (0.0, 0.0));
        if to_real {
            let mirrored: Vec<Complex> = (half(n)..n).map(|k| (signal[n - k].0, -signal[n - k].1)).collect();
            signal.extend(mirrored);
        }
        for (&at, term) in after.lane(lane).iter().zip(transform(&signal, wanted, inverse)) {
            out[at] = term;
        }
    }
    let parts = if to_real { 1 } else { 2 };
    let flat: Vec<f64> = out.iter().flat_map(|&(re, im)| [re, im].into_iter().take(parts)).collect();
    Ok(vec![from_floats(tensor.dtype(), &[&to[..], &[parts]].concat(), &flat)?.into()])
}

fn stft(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (signal, dims) = match tensor.rank() {
        2 => complex(&tensor.reshaped(&[tensor.dims(), &[1]].concat())?)?,
        _ => complex(tensor)?,
    };
    let &[batch, len] = &dims[..] else {
        return Err(invalid!("a signal of shape {:?}", tensor.dims()));
    };
    let step = layout::size(call.whole_scalar(1)?)?;
    let window = call.floats_opt(2)?;
    let frame = match (call.datum_opt(3), &window) {
        (Some(_), _) => layout::size(call.whole_scalar(3)?)?,
        (None, Some(window)) => window.len(),
        (None, None) => return Err(invalid!("one of window and frame length is needed")),
    };
    ensure!(step > 0 && frame > 0 && frame <= len, "frames of {frame} every {step} in a signal of {len}");
    ensure!(window.as_ref().is_none_or(|w| w.len() <= frame), "a window longer than its frame");
    // A shorter window stands in the middle of its frame.
    let weight = |i: usize| match &window {
        None => 1.0,
        Some(w) => i.checked_sub((frame - w.len()) / 2).and_then(|i| w.get(i)).copied().unwrap_or(0.0),
    };
    let frames = (len - frame) / step + 1;
    let bins = if call.flag("onesided")? { half(frame) } else { frame };
    let dims = [batch, frames, bins, 2];
    let mut out = Vec::with_capacity(layout::count(&dims)?);
    for b in 0..batch {
        for start in (0..frames).map(|f| b * len + f * step) {
            let part = signal[start..start + frame].iter().enumerate();
            let part: Vec<Complex> = part.map(|(i, &(re, im))| (re * weight(i), im * weight(i))).collect();
            out.extend(transform(&part, bins, false).into_iter().flat_map(|(re, im)| [re, im]));
        }
    }
    Ok(vec![from_floats(tensor.dtype(), &dims, &out)?.into()])
}

/// Triangles over a spectrum, evenly spaced on the mel scale.
fn mel_weight_matrix(call: &Call<'_>) -> Outputs {
    let bands = layout::size(call.whole_scalar(0)?)?;
    let length = layout::size(call.whole_scalar(1)?)?;
    let rate = call.whole_scalar(2)?;
    ensure!(rate > 0, "a sample rate of {rate}");
    let to_mel = |hertz: f64| 2595.0 * (hertz / 700.0).ln_1p() / LN_10;
    let (low, high) = (to_mel(call.float_scalar(3)?), to_mel(call.float_scalar(4)?));
    let bins = half(length);
    let dims = [bins, bands];
    let mut out = numbers::filled(0.0, &dims)?;
    let step = (high - low) / (bands as f64 + 2.0);
    let edge = |i: usize| {
        let hertz = 700.0 * ((low + i as f64 * step) / 2595.0 * LN_10).exp_m1();
        ((length as f64 + 1.0) * hertz / rate as f64).floor()
    };
    for band in 0..bands {
        let (left, centre, right) = (edge(band), edge(band + 1), edge(band + 2));
        for bin in 0..bins {
            let x = bin as f64;
            let rising =
                if centre == left { f64::from(u8::from(x == centre)) } else { (x - left) / (centre - left) };
            if x >= left && x <= centre {
                out[bin * bands + band] = rising;
            }
            if x >= centre && x < right {
                out[bin * bands + band] = (right - x) / (right - centre);
            }
        }
    }
    let dtype = call.dtype_opt("output_datatype")?.unwrap_or(DType::F32);
    Ok(vec![from_floats_any(dtype, &dims, &out)?.into()])
}
