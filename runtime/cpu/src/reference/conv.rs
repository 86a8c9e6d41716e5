//! Convolution: patches as columns (`im2col`), then matrix products, in `f64`.
//!
//! Products of 8-bit integers and their sums are exact in `f64`, so the integer convolutions use it too.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::complex::by_parts;
use super::elementwise_unary::map_floats;
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::matmul::{product, transposed};
use super::movement::{fill, zero};
use super::numbers::{self, from_floats};
use super::registry::{Entry, onnx};
use super::slice_concat::{concatenated, part_along};
use super::special::sigmoid;
use super::window::{Taps, Window, explicit_pads, steps};

pub(super) const OPS: &[Entry] = &[
    onnx("CausalConvWithState", 27, causal_conv),
    onnx("Col2Im", 18, col2im),
    onnx("Conv", 1, conv),
    onnx("ConvTranspose", 1, conv_transpose),
];

/// Columns that are laid out at a time hold about this many elements.
const COLUMN_ELEMENTS: usize = 1 << 22;

/// Sizes of a convolution: images `[batch, channels, ...]` and filters `[features, channels / groups, ...]`.
pub(super) struct Shapes {
    pub batch: usize,
    pub channels: usize,
    pub features: usize,
    pub groups: usize,
    pub space: Vec<usize>,
    pub kernel: Vec<usize>,
}

pub(super) fn shapes(call: &Call<'_>, x: &[usize], w: &[usize]) -> Result<Shapes, Fault> {
    let ([batch, channels, space @ ..], [features, per_group, kernel @ ..]) = (x, w) else {
        return Err(invalid!("an input of {x:?} and filters of {w:?}"));
    };
    if let Some(given) = call.ints_opt("kernel_shape")? {
        ensure!(
            given.iter().map(|&k| k as i128).eq(kernel.iter().map(|&k| k as i128)),
            "kernel_shape {given:?}, but filters of {w:?}"
        );
    }
    let groups = layout::size(call.int_opt("group")?.unwrap_or(1))?;
    let fits =
        groups > 0 && features.is_multiple_of(groups) && per_group.checked_mul(groups) == Some(*channels);
    ensure!(fits, "an input of {x:?} and filters of {w:?} in {groups} groups");
    Ok(Shapes {
        batch: *batch,
        channels: *channels,
        features: *features,
        groups,
        space: space.to_vec(),
        kernel: kernel.to_vec(),
    })
}

/// Correlates images with filters. `outside` gives what the padding holds. Returns the result and its shape.
pub(super) fn correlate(
    x: &[f64],
    w: &[f64],
    s: &Shapes,
    window: &Window,
    outside: f64,
) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let taps = window.taps()?;
    let dims = [&[s.batch, s.features][..], &window.output].concat();
    let mut out = numbers::filled(0.0, &dims)?;
    let (per_group, features) = (s.channels / s.groups, s.features / s.groups);
    let (pixels, depth) = (layout::count(&s.space)?, per_group * taps.taps);
    let step = (COLUMN_ELEMENTS / depth.max(1)).max(1);
    for batch in 0..s.batch {
        for group in 0..s.groups {
            let image = &x[(batch * s.channels + group * per_group) * pixels..][..per_group * pixels];
            let filters = &w[group * features * depth..][..features * depth];
            for start in (0..taps.places).step_by(step) {
                let places = start..(start + step).min(taps.places);
                let n = places.len();
                let columns = columns(image, pixels, per_group, &taps, places, outside);
                let found = product(filters, &columns, [features, depth, n])?;
                for feature in 0..features {
                    let at = (batch * s.features + group * features + feature) * taps.places + start;
                    out[at..at + n].copy_from_slice(&found[feature * n..(feature + 1) * n]);
                }
            }
        }
    }
    Ok((out, dims))
}

/// What the kernel sees at some places: a row for each channel and tap, a column for each place.
fn columns(
    image: &[f64],
    pixels: usize,
    channels: usize,
    taps: &Taps,
    places: std::ops::Range<usize>,
    outside: f64,
) -> Vec<f64> {
    let n = places.len();
    let mut columns = vec![outside; channels * taps.taps * n];
    for (column, place) in places.enumerate() {
        for (tap, offset) in taps.at(place).enumerate() {
            if let Some(offset) = offset {
                for channel in 0..channels {
                    columns[(channel * taps.taps + tap) * n + column] = image[channel * pixels + offset];
                }
            }
        }
    }
    columns
}

/// Adds one value to each channel of `[batch, channels, ...]`.
pub(super) fn add_bias(out: &mut [f64], dims: &[usize], bias: Option<Vec<f64>>) -> Result<(), Fault> {
    let Some(bias) = bias else { return Ok(()) };
    ensure!(bias.len() == dims[1], "{} biases for {} channels", bias.len(), dims[1]);
    let pixels = layout::count(&dims[2..])?;
    if pixels > 0 {
        out.chunks_mut(pixels).zip(bias.iter().cycle()).for_each(|(c, b)| c.iter_mut().for_each(|x| *x += b));
    }
    Ok(())
}

/// The convolution that the call asks for, with its bias, and the shape of the result.
pub(super) fn convolved(call: &Call<'_>) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let shapes = shapes(call, x.dims(), w.dims())?;
    let window = Window::of(call, &shapes.space, &shapes.kernel)?;
    let (mut out, dims) = correlate(&numbers::floats(x)?, &numbers::floats(w)?, &shapes, &window, 0.0)?;
    add_bias(&mut out, &dims, call.floats_opt(2)?)?;
    Ok((out, dims))
}

pub(super) fn conv(call: &Call<'_>) -> Outputs {
    let (out, dims) = convolved(call)?;
    Ok(vec![from_floats(call.tensor(0)?.dtype(), &dims, &out)?.into()])
}

/// The window that slides over the *output* of a transposed convolution; its places are the input's.
fn transposed_window(call: &Call<'_>, input: &[usize], kernel: &[usize]) -> Result<Window, Fault> {
    let rank = input.len();
    ensure!(rank > 0, "no spatial axes");
    let strides = steps(call, "strides", rank)?;
    let dilations = steps(call, "dilations", rank)?;
    let more = call.ints_opt("output_padding")?.unwrap_or_else(|| vec![0; rank]);
    let wanted = call.ints_opt("output_shape")?;
    let wanted = wanted.map(|w| w[w.len().saturating_sub(rank)..].to_vec());
    let auto = call.text_opt("auto_pad")?.unwrap_or("NOTSET");
    let mut pads = explicit_pads(call, rank)?;
    ensure!(more.len() == rank && more.iter().all(|p| (0..1 << 31).contains(p)), "output_padding {more:?}");
    let mut output = Vec::with_capacity(rank);
    for axis in 0..rank {
        let reach = (kernel[axis] as i64 - 1) * dilations[axis] as i64 + 1;
        let full = (input[axis] as i64 - 1) * strides[axis] as i64 + reach + more[axis];
        let size = match (&wanted, auto) {
            (Some(wanted), _) => Some(*wanted.get(axis).ok_or_else(|| invalid!("output_shape {wanted:?}"))?),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(input[axis] as i64 * strides[axis] as i64),
            _ => None,
        };
        if auto == "VALID" {
            pads[axis] = (0, 0);
        }
        if let Some(size) = size {
            let total = (full - size).max(0);
            let (less, rest) = (total / 2, total - total / 2);
            pads[axis] = if auto == "SAME_UPPER" { (less, rest) } else { (rest, less) };
        }
        let (before, behind) = pads[axis];
        output.push(layout::size(size.unwrap_or(full - before - behind))?);
    }
    Ok(Window { input: output, kernel: kernel.to_vec(), strides, dilations, pads, output: input.to_vec() })
}

fn conv_transpose(call: &Call<'_>) -> Outputs {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, channels, ref input @ ..], &[filters, features, ref kernel @ ..]) = (x.dims(), w.dims())
    else {
        return Err(invalid!("an input of {:?} and filters of {:?}", x.dims(), w.dims()));
    };
    let groups = layout::size(call.int("group")?)?;
    let fits =
        groups > 0 && channels.is_multiple_of(groups) && channels == filters && input.len() == kernel.len();
    ensure!(
        fits && kernel.iter().all(|&k| k > 0),
        "an input of {:?} and filters of {:?} in {groups} groups",
        x.dims(),
        w.dims()
    );
    let window = transposed_window(call, input, kernel)?;
    let taps = window.taps()?;
    let dims = [&[batch, features.saturating_mul(groups)][..], &window.input].concat();
    let mut out = numbers::filled(0.0, &dims)?;
    let (x_values, w_values) = (numbers::floats(x)?, numbers::floats(w)?);
    let (per_group, pixels) = (channels / groups, layout::count(&window.input)?);
    let rows = layout::count(&[features, taps.taps])?;
    for batch in 0..batch {
        for group in 0..groups {
            let image =
                &x_values[(batch * channels + group * per_group) * taps.places..][..per_group * taps.places];
            let filters =
                transposed(&w_values[group * per_group * rows..][..per_group * rows], per_group, rows);
            let columns = product(&filters, image, [rows, per_group, taps.places])?;
            let target = &mut out[(batch * groups + group) * features * pixels..][..features * pixels];
            scatter_columns(&columns, &taps, features, pixels, target);
        }
    }
    add_bias(&mut out, &dims, call.floats_opt(2)?)?;
    Ok(vec![from_floats(x.dtype(), &dims, &out)?.into()])
}

/// Adds columns back to where the kernel saw them.
fn scatter_columns(columns: &[f64], taps: &Taps, channels: usize, pixels: usize, image: &mut [f64]) {
    for place in 0..taps.places {
        for (tap, offset) in taps.at(place).enumerate() {
            if let Some(offset) = offset {
                for channel in 0..channels {
                    image[channel * pixels + offset] +=
                        columns[(channel * taps.taps + tap) * taps.places + place];
                }
            }
        }
    }
}

fn col2im(call: &Call<'_>) -> Outputs {
    let tensor: &Tensor = call.tensor(0)?;
    let (image, block) = (layout::sizes(&call.whole(1)?)?, layout::sizes(&call.whole(2)?)?);
    let window = Window::of(call, &image, &block)?;
    let taps = window.taps()?;
    let &[batch, rows, places] = tensor.dims() else {
        return Err(invalid!("columns of rank 3 are needed, not {:?}", tensor.dims()));
    };
    ensure!(
        rows.is_multiple_of(taps.taps) && places == taps.places,
        "columns {:?} are not of blocks {block:?} of an image {image:?}",
        tensor.dims()
    );
    let dims = [&[batch, rows / taps.taps][..], &image].concat();
    Ok(vec![by_parts(tensor, |part, _| add_columns(part, &taps, &dims))?.into()])
}

/// Images of `dims` from the columns that a kernel saw, added up where it saw the same place.
fn add_columns(tensor: &Tensor, taps: &Taps, dims: &[usize]) -> Result<Tensor, Fault> {
    let (batch, channels, pixels) = (dims[0], dims[1], layout::count(&dims[2..])?);
    let (rows, places) = (tensor.dims()[1], taps.places);
    let mut out = numbers::filled(0.0, dims)?;
    let values = numbers::floats(tensor)?;
    for batch in 0..batch {
        let columns = &values[batch * rows * places..][..rows * places];
        let target = &mut out[batch * channels * pixels..][..channels * pixels];
        scatter_columns(columns, taps, channels, pixels, target);
    }
    numbers::from_floats_any(tensor.dtype(), dims, &out)
}

/// Depthwise convolution in time that sees what came before, and hands on what comes next will need.
fn causal_conv(call: &Call<'_>) -> Outputs {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, channels, _], &[features, 1, taps]) = (x.dims(), w.dims()) else {
        return Err(invalid!("an input of {:?} and filters of {:?}", x.dims(), w.dims()));
    };
    ensure!(channels == features && taps > 0, "an input of {:?} and filters of {:?}", x.dims(), w.dims());
    let past = match call.tensor_opt(3)? {
        Some(past) => past.clone(),
        None => fill(&zero(x.dtype())?, &[batch, channels, taps - 1])?,
    };
    let padded = concatenated(&[&past, x], 2)?;
    let (filters, values) = (numbers::floats(w)?, numbers::floats(&padded)?);
    let len = padded.dims()[2];
    ensure!(len >= taps, "a past of shape {:?} for {taps} taps", past.dims());
    let bias = call.floats_opt(2)?.unwrap_or_else(|| vec![0.0; channels]);
    ensure!(bias.len() == channels, "{} biases for {channels} channels", bias.len());
    let mut out = Vec::with_capacity(values.len());
    for (row, signal) in values.chunks(len).enumerate() {
        let channel = row % channels;
        let filter = &filters[channel * taps..(channel + 1) * taps];
        let at = |seen: &[f64]| bias[channel] + seen.iter().zip(filter).map(|(x, w)| x * w).sum::<f64>();
        out.extend(signal.windows(taps).map(at));
    }
    let dims = [batch, channels, len + 1 - taps];
    let y = from_floats(x.dtype(), &dims, &out)?;
    let y = match call.text("activation")? {
        "none" => y,
        "silu" | "swish" => map_floats(&y, |x| x * sigmoid(x))?,
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "activation".into(), why });
        }
    };
    Ok(vec![y.into(), part_along(&padded, 2, len + 1 - taps, taps - 1)?.into()])
}
