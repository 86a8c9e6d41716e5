//! Pooling, over the windows of `window.rs`.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::elementwise_binary::maximum;
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::movement::{take, zero};
use super::numbers::{self, from_floats};
use super::registry::{Entry, onnx};
use super::window::{Taps, Window, explicit_pads, steps};

pub(super) const OPS: &[Entry] = &[
    onnx("AveragePool", 1, average_pool),
    onnx("GlobalAveragePool", 1, global_pool),
    onnx("GlobalLpPool", 1, global_pool),
    onnx("GlobalMaxPool", 1, global_pool),
    onnx("LpPool", 1, lp_pool),
    onnx("MaxPool", 1, max_pool),
    onnx("MaxRoiPool", 1, max_roi_pool),
    onnx("MaxUnpool", 9, max_unpool),
];

/// The input seen as planes: its channels, batch by batch, each of these spatial dimensions.
struct Planes<'a> {
    tensor: &'a Tensor,
    outer: [usize; 2],
    space: &'a [usize],
}

fn planes<'a>(call: &Call<'a>) -> Result<Planes<'a>, Fault> {
    let tensor = call.tensor(0)?;
    match tensor.dims() {
        &[batch, channels, ref space @ ..] => Ok(Planes { tensor, outer: [batch, channels], space }),
        dims => Err(invalid!("a batch of images is needed, not {dims:?}")),
    }
}

fn kernel_shape(call: &Call<'_>) -> Result<Vec<usize>, Fault> {
    layout::sizes(&call.ints("kernel_shape")?)
}

/// Makes one value of what each window sees of each plane.
fn pooled(planes: &Planes<'_>, window: &Window, f: impl Fn(&Taps, usize, &[f64]) -> f64) -> Outputs {
    let taps = window.taps()?;
    let dims = [&planes.outer[..], &window.output].concat();
    let mut out = Vec::with_capacity(layout::count(&dims)?);
    let (values, pixels) = (numbers::floats(planes.tensor)?, layout::count(planes.space)?);
    for plane in values.chunks(pixels.max(1)) {
        out.extend((0..taps.places).map(|place| f(&taps, place, plane)));
    }
    Ok(vec![numbers::from_floats_any(planes.tensor.dtype(), &dims, &out)?.into()])
}

pub(super) fn average_pool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let window = Window::of(call, planes.space, &kernel_shape(call)?)?;
    let with_padding = call.flag("count_include_pad")?;
    let counts = if with_padding { padded_counts(&window)? } else { vec![] };
    pooled(&planes, &window, |taps, place, plane| {
        let inside = taps.at(place).flatten();
        let (sum, n) = inside.fold((0.0, 0usize), |(sum, n), at| (sum + plane[at], n + 1));
        sum / if with_padding { counts[place] } else { n } as f64
    })
}

/// How many taps lie in the padded input at each place: `ceil_mode` lets the last ones reach beyond.
fn padded_counts(window: &Window) -> Result<Vec<usize>, Fault> {
    let mut counts = vec![1usize; 1];
    for axis in 0..window.input.len() {
        let end = window.input[axis] as i64 + window.pads[axis].1;
        let along = |place: usize| {
            (0..window.kernel[axis]).filter(|&tap| window.coordinate(axis, place, tap) < end).count()
        };
        let along: Vec<usize> = (0..window.output[axis]).map(along).collect();
        counts = counts.iter().flat_map(|&n| along.iter().map(move |&k| n * k)).collect();
    }
    Ok(counts)
}

fn lp_pool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let window = Window::of(call, planes.space, &kernel_shape(call)?)?;
    let p = norm_power(call)?;
    pooled(&planes, &window, |taps, place, plane| lp_norm(taps.at(place).flatten().map(|at| plane[at]), p))
}

/// Attribute `p`, a float in opset 1 and an integer since.
fn norm_power(call: &Call<'_>) -> Result<f64, Fault> {
    match call.attr("p").and_then(|a| a.as_float()) {
        Some(p) => Ok(p.into()),
        None => Ok(call.int_opt("p")?.unwrap_or(2) as f64),
    }
}

fn lp_norm(values: impl Iterator<Item = f64>, p: f64) -> f64 {
    values.map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p)
}

fn global_pool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let (pixels, values) = (layout::count(planes.space)?, numbers::floats(planes.tensor)?);
    ensure!(pixels > 0, "planes of shape {:?} are empty", planes.space);
    let p = norm_power(call)?;
    let f = |plane: &[f64]| match &*call.node.op.name {
        "GlobalAveragePool" => plane.iter().sum::<f64>() / pixels as f64,
        "GlobalMaxPool" => plane.iter().copied().fold(f64::NEG_INFINITY, maximum),
        _ => lp_norm(plane.iter().copied(), p),
    };
    let found: Vec<f64> = values.chunks(pixels).map(f).collect();
    let dims = [&planes.outer[..], &vec![1; planes.space.len()]].concat();
    Ok(vec![from_floats(planes.tensor.dtype(), &dims, &found)?.into()])
}

/// The greatest element of each window, and where it lies in the whole input.
pub(super) fn max_pool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let window = Window::of(call, planes.space, &kernel_shape(call)?)?;
    let taps = window.taps()?;
    let dims = [&planes.outer[..], &window.output].concat();
    let mut picks = Vec::with_capacity(layout::count(&dims)?);
    let (values, pixels) = (numbers::floats(planes.tensor)?, layout::count(planes.space)?);
    for (i, plane) in values.chunks(pixels.max(1)).enumerate() {
        for place in 0..taps.places {
            let greatest = taps.at(place).flatten().reduce(|best, at| {
                let better = plane[at] > plane[best] || plane[at].is_nan() && !plane[best].is_nan();
                if better { at } else { best }
            });
            let greatest = greatest.ok_or_else(|| invalid!("a window sees nothing but padding"))?;
            picks.push(i * pixels + greatest);
        }
    }
    let indices =
        if call.flag("storage_order")? { column_major(&picks, planes.space) } else { picks.clone() };
    let indices: Vec<i64> = indices.into_iter().map(|i| i as i64).collect();
    Ok(vec![take(&[planes.tensor], &dims, &picks)?.into(), Tensor::from_vec(&dims, indices)?.into()])
}

/// Offsets as they would be if the spatial axes were stored the other way round.
fn column_major(offsets: &[usize], space: &[usize]) -> Vec<usize> {
    let pixels: usize = space.iter().product::<usize>().max(1);
    let turn = |&at: &usize| {
        let (plane, mut rest) = (at / pixels, at % pixels);
        let mut stride = pixels;
        let mut turned = 0;
        for &dim in space.iter().rev() {
            stride /= dim;
            turned += rest % dim * stride;
            rest /= dim;
        }
        plane * pixels + turned
    };
    offsets.iter().map(turn).collect()
}

fn max_unpool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let rank = planes.space.len();
    let kernel = kernel_shape(call)?;
    ensure!(
        kernel.len() == rank && kernel.iter().all(|&k| k < 1 << 31),
        "a kernel of {kernel:?} for {rank} spatial axes"
    );
    let (strides, pads) = (steps(call, "strides", rank)?, explicit_pads(call, rank)?);
    let inferred = |axis: usize| {
        let (before, behind) = pads[axis];
        let full = (planes.space[axis] as i64 - 1) * strides[axis] as i64 + kernel[axis] as i64;
        layout::size(full - before - behind)
    };
    let space = (0..rank).map(inferred).collect::<Result<Vec<_>, _>>()?;
    let natural = [&planes.outer[..], &space].concat();
    let dims = match call.whole_opt(2)? {
        Some(wanted) => layout::sizes(&wanted)?,
        None => natural.clone(),
    };
    // Indices count in the inferred shape; a larger output leaves its rest empty.
    let total = layout::count(&dims)?;
    layout::count(&natural)?;
    ensure!(dims.len() == natural.len(), "an output of {dims:?} for an input of rank {}", natural.len());
    let (from, to) = (layout::strides(&natural), layout::strides(&dims));
    let mut picks = vec![planes.tensor.len(); total];
    for (i, index) in call.whole(1)?.into_iter().enumerate().take(planes.tensor.len()) {
        let index = layout::index(index, layout::count(&natural)?)?;
        let at = (0..dims.len()).map(|a| index / from[a].max(1) % natural[a] * to[a]).sum::<usize>();
        *picks.get_mut(at).ok_or_else(|| invalid!("index {index} lies outside {dims:?}"))? = i;
    }
    Ok(vec![take(&[planes.tensor, &zero(planes.tensor.dtype())?], &dims, &picks)?.into()])
}

/// The greatest element of each cell of a grid over each region; zero where a cell is empty. A region is the index of
/// its image and the first and last column and row, which are rounded.
fn max_roi_pool(call: &Call<'_>) -> Outputs {
    let planes = planes(call)?;
    let (&[height, width], &[rows, columns]) =
        (planes.space, &layout::sizes(&call.ints("pooled_shape")?)?[..])
    else {
        return Err(invalid!("planes of {:?}, where two spatial axes are needed", planes.space));
    };
    let (rois, scale) = (call.floats(1)?, call.float("spatial_scale")?);
    ensure!(call.tensor(1)?.dims().get(1) == Some(&5), "regions of shape {:?}", call.tensor(1)?.dims());
    let [batch, channels] = planes.outer;
    let dims = [rois.len() / 5, channels, rows, columns];
    let (mut out, values) = (Vec::with_capacity(layout::count(&dims)?), numbers::floats(planes.tensor)?);
    for roi in rois.chunks(5) {
        let image = layout::index(roi[0] as i64, batch)?;
        let edge = |i: usize| (roi[i] * scale).round();
        // Cells of one axis: where each begins and ends within the plane.
        let cells = |first: f64, last: f64, count: usize, size: usize| -> Vec<std::ops::Range<usize>> {
            let step = (last - first + 1.0).max(1.0) / count as f64;
            let place = |x: f64| (x + first).clamp(0.0, size as f64) as usize;
            (0..count)
                .map(|i| place((i as f64 * step).floor())..place(((i + 1) as f64 * step).ceil()))
                .collect()
        };
        let down = cells(edge(2), edge(4), rows, height);
        let across = cells(edge(1), edge(3), columns, width);
        for c in image * channels..(image + 1) * channels {
            let plane = &values[c * height * width..(c + 1) * height * width];
            for (ys, xs) in down.iter().flat_map(|ys| across.iter().map(move |xs| (ys, xs))) {
                let seen = ys.clone().flat_map(|y| &plane[y * width..][xs.clone()]);
                out.push(seen.copied().reduce(maximum).unwrap_or(0.0));
            }
        }
    }
    Ok(vec![from_floats(planes.tensor.dtype(), &dims, &out)?.into()])
}
