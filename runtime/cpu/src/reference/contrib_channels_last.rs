//! Operators that ONNX Runtime gives images with their channels last, and what its optimiser of diffusion models makes.

use byoc_graph::{Datum, Tensor};

use super::call::{Call, Kernel, Outputs};
use super::contrib_fused::fused_conv;
use super::conv::conv;
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes};
use super::norm::moments;
use super::numbers::{self, from_floats};
use super::pool::max_pool;
use super::qlinear::qlinear_conv;
use super::registry::{Entry, contrib};
use super::shape::permuted;
use super::special::{gelu, sigmoid};

pub(super) const OPS: &[Entry] = &[
    contrib("BiasSplitGelu", bias_split_gelu),
    contrib("GroupNorm", group_norm),
    contrib("NhwcConv", nhwc_conv),
    contrib("NhwcFusedConv", nhwc_fused_conv),
    contrib("NhwcMaxPool", nhwc_max_pool),
    contrib("QLinearConv", quantised_conv),
    contrib("SkipGroupNorm", skip_group_norm),
];

/// Runs a kernel of images with their channels first on such whose channels are last. `images` are the inputs that
/// are images, as the first output is.
pub(super) fn channels_last(call: &Call<'_>, images: &[usize], kernel: Kernel) -> Outputs {
    let turned = |tensor: &Tensor, back: bool| -> Result<Datum, Fault> {
        let rank = tensor.rank();
        ensure!(rank > 2, "an image of shape {:?}", tensor.dims());
        let order: Vec<usize> = match back {
            true => [0].into_iter().chain(2..rank).chain([1]).collect(),
            false => [0, rank - 1].into_iter().chain(1..rank - 1).collect(),
        };
        Ok(permuted(tensor, &order)?.into())
    };
    let mut held: Vec<(usize, Datum)> = Vec::new();
    for &i in images {
        if let Some(tensor) = call.tensor_opt(i)? {
            held.push((i, turned(tensor, false)?));
        }
    }
    let mut inputs = call.inputs.to_vec();
    held.iter().for_each(|(i, datum)| inputs[*i] = Some(datum));
    let mut outputs = kernel(&Call { node: call.node, inputs: &inputs, bodies: call.bodies })?;
    outputs.truncate(1);
    let first =
        outputs.first().and_then(Datum::as_tensor).ok_or_else(|| invalid!("a result that is no tensor"))?;
    Ok(vec![turned(first, true)?])
}

fn nhwc_conv(call: &Call<'_>) -> Outputs {
    channels_last(call, &[0], conv)
}

fn nhwc_fused_conv(call: &Call<'_>) -> Outputs {
    channels_last(call, &[0, 3], fused_conv)
}

fn nhwc_max_pool(call: &Call<'_>) -> Outputs {
    channels_last(call, &[0], max_pool)
}

fn quantised_conv(call: &Call<'_>) -> Outputs {
    match call.flag("channels_last")? {
        true => channels_last(call, &[0], qlinear_conv),
        false => qlinear_conv(call),
    }
}

/// Each group of channels of an image normalised, then perhaps multiplied by its sigmoid.
fn grouped(call: &Call<'_>, dims: &[usize], values: &[f64]) -> Result<Tensor, Fault> {
    let dtype = call.tensor(0)?.dtype();
    let last = call.int_opt("channels_last")?.unwrap_or(1) != 0;
    let at = if last { dims.len() - 1 } else { 1 };
    let (groups, channels) = (layout::size(call.int("groups")?)?, dims[at]);
    ensure!(groups > 0 && channels.is_multiple_of(groups), "{channels} channels in {groups} groups");
    let (gamma, beta) = (call.floats(1)?, call.floats(2)?);
    ensure!(gamma.len() == channels && beta.len() == channels, "scales and shifts for {channels} channels");
    // The axis of channels in two: groups, and the channels of each.
    let mut split = dims.to_vec();
    split.splice(at..=at, [groups, channels / groups]);
    let lane: Vec<usize> = (1..split.len()).filter(|&axis| axis != at).collect();
    let epsilon = call.float_opt("epsilon")?.unwrap_or(1e-5);
    let mut y = Lanes::new(&split, &lane)?.map(values, 0.0, |lane| {
        let (mean, variance) = moments(lane);
        lane.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect()
    });
    let inner = layout::count(&dims[at + 1..])?.max(1);
    let gated = call.flag("activation")?;
    for (i, y) in y.iter_mut().enumerate() {
        let channel = i / inner % channels;
        *y = *y * gamma[channel] + beta[channel];
        *y *= if gated { sigmoid(*y) } else { 1.0 };
    }
    from_floats(dtype, dims, &y)
}

fn group_norm(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() > 2, "an image of shape {:?}", x.dims());
    Ok(vec![grouped(call, x.dims(), &numbers::floats(x)?)?.into()])
}

fn skip_group_norm(call: &Call<'_>) -> Outputs {
    let (x, skip) = (call.tensor(0)?, call.tensor(3)?);
    let last = call.int_opt("channels_last")?.unwrap_or(1) != 0;
    ensure!(x.rank() == 4, "an image of shape {:?}", x.dims());
    let channels = x.dims()[if last { 3 } else { 1 }];
    // One value for each channel of an image may be given as a matrix.
    let place = |dims: &[usize]| match (dims, last) {
        (&[n, c], true) => vec![n, 1, 1, c],
        (&[n, c], false) => vec![n, c, 1, 1],
        (dims, _) => dims.to_vec(),
    };
    let mut sum = numbers::floats(x)?;
    let added = layout::expand(numbers::floats(skip)?, &place(skip.dims()), x.dims())?;
    sum.iter_mut().zip(added).for_each(|(x, s)| *x += s);
    if let Some(bias) = call.floats_opt(4)? {
        ensure!(bias.len() == channels, "{} biases for {channels} channels", bias.len());
        let dims = if last { vec![channels] } else { vec![channels, 1, 1] };
        let bias = layout::expand(bias, &dims, x.dims())?;
        sum.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    let y = grouped(call, x.dims(), &sum)?;
    Ok(vec![y.into(), from_floats(x.dtype(), x.dims(), &sum)?.into()])
}

/// The left half of each row, with a bias, times Gelu of the right half.
fn bias_split_gelu(call: &Call<'_>) -> Outputs {
    let (x, bias) = (call.tensor(0)?, call.floats(1)?);
    let width = bias.len();
    ensure!(
        x.dims().last() == Some(&width) && width > 0 && width.is_multiple_of(2),
        "{width} biases for rows of {:?}",
        x.dims()
    );
    let values = numbers::floats(x)?;
    let half = width / 2;
    let row = |row: &[f64]| -> Vec<f64> {
        let at = |i: usize| row[i] + bias[i];
        (0..half).map(|i| at(i) * gelu(at(half + i))).collect()
    };
    let y: Vec<f64> = values.chunks(width).flat_map(row).collect();
    let mut dims = x.dims().to_vec();
    *dims.last_mut().expect("a rank of one or more") = half;
    Ok(vec![from_floats(x.dtype(), &dims, &y)?.into()])
}
