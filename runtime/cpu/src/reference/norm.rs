//! Normalisation: by batch statistics, along axes, in groups, across neighbouring channels.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure};
use super::layout::{self, Lanes};
use super::numbers::{self, from_floats};
use super::reduce::reduced_dims;
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("BatchNormalization", 1, batch_normalization),
    onnx("GroupNormalization", 18, group_normalization),
    onnx("ImageScaler", 1, image_scaler),
    onnx("InstanceNormalization", 1, instance_normalization),
    onnx("LRN", 1, lrn),
    onnx("LayerNormalization", 1, layer_normalization),
    onnx("LpNormalization", 1, lp_normalization),
    onnx("MeanVarianceNormalization", 1, mean_variance_normalization),
    onnx("RMSNormalization", 23, rms_normalization),
];

/// Mean and variance of some numbers.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n)
}

/// The values less their mean, over their standard deviation.
fn standardised(values: &[f64], epsilon: f64) -> Vec<f64> {
    let (mean, variance) = moments(values);
    let scale = 1.0 / (variance + epsilon).sqrt();
    values.iter().map(|x| (x - mean) * scale).collect()
}

/// An input with one value for each channel.
fn per_channel(call: &Call<'_>, i: usize, channels: usize) -> Result<Vec<f64>, Fault> {
    let values = call.floats(i)?;
    ensure!(values.len() == channels, "input {i} has {} values for {channels} channels", values.len());
    Ok(values)
}

fn channels_of(tensor: &Tensor) -> usize {
    tensor.dims().get(1).copied().unwrap_or(1)
}

/// Applies `f(x, channel)` to every element of `[batch, channels, ...]`.
fn by_channel(tensor: &Tensor, values: &[f64], f: impl Fn(f64, usize) -> f64) -> Result<Datum, Fault> {
    let pixels = layout::count(tensor.dims().get(2..).unwrap_or_default())?.max(1);
    let channels = channels_of(tensor).max(1);
    let scaled: Vec<f64> = values.iter().enumerate().map(|(i, &x)| f(x, i / pixels % channels)).collect();
    Ok(from_floats(tensor.dtype(), tensor.dims(), &scaled)?.into())
}

fn batch_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() >= 1, "an input with channels is needed, not a scalar");
    let channels = channels_of(x);
    let epsilon = call.float("epsilon")?;
    let (scale, bias) = (per_channel(call, 1, channels)?, per_channel(call, 2, channels)?);
    let (mut mean, mut variance) = (per_channel(call, 3, channels)?, per_channel(call, 4, channels)?);
    let values = numbers::floats(x)?;
    let training = match call.opset() {
        14.. => call.flag("training_mode")?,
        7.. => call.wants(1),
        _ => !call.flag("is_test")? && call.wants(1),
    };
    let mut running = vec![];
    if training {
        let others: Vec<usize> = (0..x.rank()).filter(|&a| a != 1).collect();
        let current = Lanes::new(x.dims(), &others)?.reduce(&values, moments);
        let momentum = call.float("momentum")?;
        let mixed = |old: &[f64], new: &dyn Fn(usize) -> f64| -> Vec<f64> {
            old.iter().enumerate().map(|(i, old)| old * momentum + new(i) * (1.0 - momentum)).collect()
        };
        let dtype = call.tensor(3)?.dtype();
        running.push(from_floats(dtype, &[channels], &mixed(&mean, &|i| current[i].0))?.into());
        running.push(from_floats(dtype, &[channels], &mixed(&variance, &|i| current[i].1))?.into());
        (mean, variance) = current.into_iter().unzip();
    }
    let factor: Vec<f64> = (0..channels).map(|c| scale[c] / (variance[c] + epsilon).sqrt()).collect();
    let y = by_channel(x, &values, |x, c| (x - mean[c]) * factor[c] + bias[c])?;
    Ok(std::iter::once(y).chain(running).collect())
}

fn instance_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() >= 2, "an input with channels is needed, not {:?}", x.dims());
    let channels = channels_of(x);
    let epsilon = call.float("epsilon")?;
    let (scale, bias) = (per_channel(call, 1, channels)?, per_channel(call, 2, channels)?);
    let space: Vec<usize> = (2..x.rank()).collect();
    let values =
        Lanes::new(x.dims(), &space)?.map(&numbers::floats(x)?, 0.0, |lane| standardised(lane, epsilon));
    Ok(vec![by_channel(x, &values, |x, c| x * scale[c] + bias[c])?])
}

fn group_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() >= 2, "an input with channels is needed, not {:?}", x.dims());
    let channels = channels_of(x);
    let groups = layout::size(call.int("num_groups")?)?;
    ensure!(groups > 0 && channels.is_multiple_of(groups), "{channels} channels in {groups} groups");
    let epsilon = call.float("epsilon")?;
    let lane = layout::count(&x.dims()[1..])? / groups;
    let values = numbers::floats(x)?;
    let values: Vec<f64> =
        values.chunks(lane.max(1)).flat_map(|group| standardised(group, epsilon)).collect();
    // Before opset 21 there was one scale and bias for each group.
    let of = |c: usize, n: usize| if n == channels { c } else { c / (channels / groups) };
    let (scale, bias) = (call.floats(1)?, call.floats(2)?);
    let fits = [scale.len(), bias.len()].iter().all(|&n| n == channels || n == groups);
    ensure!(fits, "{} scales and {} biases for {channels} channels", scale.len(), bias.len());
    Ok(vec![by_channel(x, &values, |x, c| x * scale[of(c, scale.len())] + bias[of(c, bias.len())])?])
}

/// The axes from `axis` to the last.
fn trailing(call: &Call<'_>, rank: usize) -> Result<Vec<usize>, Fault> {
    Ok((layout::axis(call.int("axis")?, rank)?..rank).collect())
}

/// Multiplies by input 1 and adds input 2, broadcast.
fn scaled(call: &Call<'_>, values: Vec<f64>, dims: &[usize]) -> Result<Vec<f64>, Fault> {
    let mut values = values;
    if let Some(scale) = call.tensor_opt(1)? {
        let scale = layout::expand(numbers::floats(scale)?, scale.dims(), dims)?;
        values.iter_mut().zip(scale).for_each(|(x, s)| *x *= s);
    }
    if let Some(bias) = call.tensor_opt(2)? {
        let bias = layout::expand(numbers::floats(bias)?, bias.dims(), dims)?;
        values.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    Ok(values)
}

fn layer_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let axes = trailing(call, x.rank())?;
    let epsilon = call.float("epsilon")?;
    let lanes = Lanes::new(x.dims(), &axes)?;
    let values = numbers::floats(x)?;
    let y = scaled(call, lanes.map(&values, 0.0, |lane| standardised(lane, epsilon)), x.dims())?;
    let (mean, deviation): (Vec<f64>, Vec<f64>) = lanes
        .reduce(&values, |lane| {
            let (mean, variance) = moments(lane);
            (mean, 1.0 / (variance + epsilon).sqrt())
        })
        .into_iter()
        .unzip();
    let kept = reduced_dims(x.dims(), &axes, true);
    let stash = call.dtype_opt("stash_type")?.unwrap_or(DType::F32);
    // Before the standard had this operator, ONNX Runtime's gave the type of the scale.
    let dtype = if call.opset() < 17 { call.tensor(1)?.dtype() } else { x.dtype() };
    Ok(vec![
        from_floats(dtype, x.dims(), &y)?.into(),
        from_floats(stash, &kept, &mean)?.into(),
        from_floats(stash, &kept, &deviation)?.into(),
    ])
}

/// The values over their root mean square.
pub(super) fn over_root_mean_square(values: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
    values.iter().map(|x| x / (mean + epsilon).sqrt()).collect()
}

fn rms_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let axes = trailing(call, x.rank())?;
    let epsilon = call.float("epsilon")?;
    let values = Lanes::new(x.dims(), &axes)?
        .map(&numbers::floats(x)?, 0.0, |lane| over_root_mean_square(lane, epsilon));
    // What is normalised returns to the input's type before it is scaled.
    let rounded = numbers::floats(&from_floats(x.dtype(), x.dims(), &values)?)?;
    let dtype = call.tensor(1)?.dtype();
    Ok(vec![from_floats(dtype, x.dims(), &scaled(call, rounded, x.dims())?)?.into()])
}

fn lp_normalization(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let axis = layout::axis(call.int("axis")?, x.rank())?;
    let p = call.int("p")?;
    ensure!(p == 1 || p == 2, "a norm of order {p}");
    let norm = |lane: &[f64]| match p {
        1 => lane.iter().map(|x| x.abs()).sum::<f64>(),
        _ => lane.iter().map(|x| x * x).sum::<f64>().sqrt(),
    };
    let values = Lanes::new(x.dims(), &[axis])?.map(&numbers::floats(x)?, 0.0, |lane| {
        let norm = norm(lane);
        lane.iter().map(|x| if norm == 0.0 { 0.0 } else { x / norm }).collect()
    });
    Ok(vec![from_floats(x.dtype(), x.dims(), &values)?.into()])
}

fn mean_variance_normalization(call: &Call<'_>) -> Outputs {
    const EPSILON: f64 = 1e-9;
    let x = call.tensor(0)?;
    let axes = match call.ints_opt("axes")? {
        Some(axes) => axes,
        // Opset 1 chose between these two.
        None if call.opset() < 9 && call.flag("across_channels")? => vec![0, 1, 2, 3],
        None => vec![0, 2, 3],
    };
    let axes = layout::axes(&axes, x.rank())?;
    let values = Lanes::new(x.dims(), &axes)?.map(&numbers::floats(x)?, 0.0, |lane| {
        let (mean, variance) = moments(lane);
        lane.iter().map(|x| (x - mean) / (variance.sqrt() + EPSILON)).collect()
    });
    Ok(vec![from_floats(x.dtype(), x.dims(), &values)?.into()])
}

/// Local response normalisation over neighbouring channels.
fn lrn(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    ensure!(x.rank() >= 2, "an input with channels is needed, not {:?}", x.dims());
    let size = layout::size(call.int("size")?)?;
    ensure!(size > 0, "no neighbours to normalise over");
    let (alpha, beta, bias) = (call.float("alpha")?, call.float("beta")?, call.float("bias")?);
    let (before, behind) = ((size - 1) / 2, size / 2);
    let values = Lanes::new(x.dims(), &[1])?.map(&numbers::floats(x)?, 0.0, |lane| {
        let one = |c: usize| {
            let near = &lane[c.saturating_sub(before)..c.saturating_add(behind + 1).min(lane.len())];
            let squares: f64 = near.iter().map(|x| x * x).sum();
            lane[c] / (bias + alpha / size as f64 * squares).powf(beta)
        };
        (0..lane.len()).map(one).collect()
    });
    Ok(vec![from_floats(x.dtype(), x.dims(), &values)?.into()])
}

fn image_scaler(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let scale = call.float("scale")?;
    let channels = channels_of(x);
    let bias = call.floats_attr("bias")?.unwrap_or_else(|| vec![0.0; channels]);
    ensure!(bias.len() == channels, "{} biases for {channels} channels", bias.len());
    Ok(vec![by_channel(x, &numbers::floats(x)?, |x, c| x * scale + bias[c])?])
}
