//! Reading images at fractional places: GridSample, AffineGrid, RoiAlign, DeformConv.

use byoc_graph::Tensor;
use smallvec::{SmallVec, smallvec};

use super::call::{Call, Outputs};
use super::complex::by_parts;
use super::conv::{add_bias, shapes};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::matmul::product;
use super::numbers::{self, from_floats, from_floats_any};
use super::registry::{Entry, onnx};
use super::window::Window;

pub(super) const OPS: &[Entry] = &[
    onnx("AffineGrid", 20, affine_grid),
    onnx("DeformConv", 19, deform_conv),
    onnx("GridSample", 16, grid_sample),
    onnx("RoiAlign", 10, roi_align),
];

/// Places along one axis and their weights; `None` is outside, where there is zero.
pub(crate) type Taps = SmallVec<[(Option<usize>, f64); 4]>;

/// The weighted sum over the product of the taps of all axes.
fn mixed(image: &[f64], dims: &[usize], taps: &[Taps]) -> f64 {
    let (Some((first, taps)), Some((_, dims))) = (taps.split_first(), dims.split_first()) else {
        return image[0];
    };
    let inner = dims.iter().product::<usize>();
    let part = |&(at, weight): &(Option<usize>, f64)| match at {
        Some(at) if weight != 0.0 => weight * mixed(&image[at * inner..(at + 1) * inner], dims, taps),
        _ => 0.0,
    };
    first.iter().map(part).sum()
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Outside {
    Zero,
    Border,
    Reflect,
}

impl Outside {
    /// As `padding_mode` names it.
    pub(crate) fn of(name: &str) -> Option<Outside> {
        Some(match name {
            "zeros" => Outside::Zero,
            "border" => Outside::Border,
            "reflection" => Outside::Reflect,
            _ => return None,
        })
    }

    fn place(self, at: f64, dim: usize, corners: bool) -> Option<usize> {
        let last = dim as f64 - 1.0;
        if (0.0..=last).contains(&at) {
            return Some(at as usize);
        }
        match self {
            Outside::Zero => None,
            Outside::Border => Some(at.clamp(0.0, last) as usize),
            Outside::Reflect => Some(reflected(at, dim, corners).round().clamp(0.0, last) as usize),
        }
    }
}

/// The borders: the centres of the outer elements, or their edges.
fn borders(dim: usize, corners: bool) -> (f64, f64) {
    if corners { (0.0, dim as f64 - 1.0) } else { (-0.5, dim as f64 - 0.5) }
}

/// Folds a coordinate back between the borders.
fn reflected(x: f64, dim: usize, corners: bool) -> f64 {
    let (low, high) = borders(dim, corners);
    let range = high - low;
    if range <= 0.0 || !x.is_finite() {
        return 0.0;
    }
    let folded = (x - low).rem_euclid(2.0 * range);
    low + folded.min(2.0 * range - folded)
}

/// Where a grid's numbers lie, and what they read there.
pub(crate) struct Sampler<'a> {
    pub mode: &'a str,
    pub outside: Outside,
    pub corners: bool,
}

impl Sampler<'_> {
    /// A normalised coordinate in elements, folded or clamped where it lies beyond a border.
    pub(crate) fn coordinate(&self, x: f64, dim: usize) -> f64 {
        let n = dim as f64;
        let x = if self.corners { (x + 1.0) / 2.0 * (n - 1.0) } else { ((x + 1.0) * n - 1.0) / 2.0 };
        let (low, high) = borders(dim, self.corners);
        match self.outside {
            _ if (low..=high).contains(&x) => x,
            Outside::Zero => x,
            Outside::Border => x.clamp(0.0, n - 1.0),
            Outside::Reflect => reflected(x, dim, self.corners),
        }
    }

    pub(crate) fn taps(&self, x: f64, dim: usize) -> Result<Taps, Fault> {
        let place = |at: f64| self.outside.place(at, dim, self.corners);
        let (base, part) = (x.floor(), x - x.floor());
        Ok(match self.mode {
            "nearest" => smallvec![(place(x.round_ties_even()), 1.0)],
            "linear" | "bilinear" => smallvec![(place(base), 1.0 - part), (place(base + 1.0), part)],
            "cubic" | "bicubic" => {
                let tap = |i: i32| (place(base + f64::from(i)), cubic(f64::from(i) - part));
                (-1..=2).map(tap).collect()
            }
            other => {
                let why = format!("is `{other}`, which is not known");
                return Err(Fault::Attribute { name: "mode".into(), why });
            }
        })
    }
}

/// Keys' kernel with a = -3/4.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    match distance.abs() {
        d if d <= 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
        d if d < 2.0 => ((d - 5.0) * d + 8.0) * A * d - 4.0 * A,
        _ => 0.0,
    }
}

fn grid_sample(call: &Call<'_>) -> Outputs {
    let (x, grid) = (call.tensor(0)?, call.tensor(1)?);
    let (&[batch, _, ref space @ ..], &[grid_batch, ref places @ .., axes]) = (x.dims(), grid.dims()) else {
        return Err(invalid!("an input of {:?} and a grid of {:?}", x.dims(), grid.dims()));
    };
    let fits =
        batch == grid_batch && axes == space.len() && axes > 0 && places.len() == axes && !space.contains(&0);
    ensure!(fits, "an input of {:?} and a grid of {:?}", x.dims(), grid.dims());
    let padding = call.text("padding_mode")?;
    let outside = Outside::of(padding).ok_or_else(|| {
        let why = format!("is `{padding}`, which is not known");
        Fault::Attribute { name: "padding_mode".into(), why }
    })?;
    let sampler = Sampler { mode: call.text("mode")?, outside, corners: call.flag("align_corners")? };
    Ok(vec![by_parts(x, |part, _| sample(part, grid, &sampler))?.into()])
}

/// An image at the places of a grid whose shape fits.
fn sample(x: &Tensor, grid: &Tensor, sampler: &Sampler<'_>) -> Result<Tensor, Fault> {
    let (batch, channels, space) = (x.dims()[0], x.dims()[1], &x.dims()[2..]);
    let (places, axes) = (&grid.dims()[1..grid.rank() - 1], space.len());
    let dims = [&[batch, channels][..], places].concat();
    let mut out = numbers::filled(0.0, &dims)?;
    let (values, grid) = (numbers::floats(x)?, numbers::floats(grid)?);
    let (pixels, count) = (layout::count(space)?, layout::count(places)?);
    for b in 0..batch {
        for place in 0..count {
            let point = &grid[(b * count + place) * axes..][..axes];
            // The grid names the last axis first.
            let along = |a: usize| sampler.taps(sampler.coordinate(point[axes - 1 - a], space[a]), space[a]);
            let taps = (0..axes).map(along).collect::<Result<Vec<_>, _>>()?;
            for c in b * channels..(b + 1) * channels {
                out[c * count + place] = mixed(&values[c * pixels..(c + 1) * pixels], space, &taps);
            }
        }
    }
    from_floats_any(x.dtype(), &dims, &out)
}

fn affine_grid(call: &Call<'_>) -> Outputs {
    let theta = call.tensor(0)?;
    let size = layout::sizes(&call.whole(1)?)?;
    let [batch, _, space @ ..] = &size[..] else {
        return Err(invalid!("a size of {size:?}"));
    };
    let axes = space.len();
    ensure!(
        axes > 0 && theta.dims() == [*batch, axes, axes + 1],
        "theta of {:?} for a size of {size:?}",
        theta.dims()
    );
    let corners = call.flag("align_corners")?;
    let at = |place: usize, dim: usize| match corners {
        true if dim > 1 => -1.0 + 2.0 * place as f64 / (dim as f64 - 1.0),
        true => -1.0,
        false => -1.0 + (2.0 * place as f64 + 1.0) / dim as f64,
    };
    let dims = [&[*batch][..], space, &[axes]].concat();
    let mut out = Vec::with_capacity(layout::count(&dims)?);
    let (theta_values, strides) = (numbers::floats(theta)?, layout::strides(space));
    for matrix in theta_values.chunks(axes * (axes + 1)) {
        for place in 0..layout::count(space)? {
            // Homogeneous coordinates, the last axis first.
            let point: Vec<f64> =
                (0..axes).rev().map(|a| at(place / strides[a] % space[a], space[a])).chain([1.0]).collect();
            out.extend(product(matrix, &point, [axes, axes + 1, 1])?);
        }
    }
    Ok(vec![from_floats(theta.dtype(), &dims, &out)?.into()])
}

/// The four neighbours of a point as offsets and weights; none where it lies more than one element outside.
fn neighbours(y: f64, x: f64, [height, width]: [usize; 2]) -> Vec<(usize, f64)> {
    let outside = |v: f64, dim: usize| v.is_nan() || v < -1.0 || v > dim as f64;
    if outside(y, height) || outside(x, width) {
        return vec![];
    }
    let axis = |v: f64, dim: usize| {
        let v = v.clamp(0.0, dim as f64 - 1.0);
        let low = v as usize;
        (low, (low + 1).min(dim - 1), v - low as f64)
    };
    let ((y0, y1, fy), (x0, x1, fx)) = (axis(y, height), axis(x, width));
    vec![
        (y0 * width + x0, (1.0 - fy) * (1.0 - fx)),
        (y0 * width + x1, (1.0 - fy) * fx),
        (y1 * width + x0, fy * (1.0 - fx)),
        (y1 * width + x1, fy * fx),
    ]
}

fn images(tensor: &Tensor) -> Result<[usize; 4], Fault> {
    match <[usize; 4]>::try_from(tensor.dims()) {
        Ok(dims) if dims[2] > 0 && dims[3] > 0 => Ok(dims),
        _ => Err(invalid!("a batch of images is needed, not {:?}", tensor.dims())),
    }
}

fn roi_align(call: &Call<'_>) -> Outputs {
    let (x, rois) = (call.tensor(0)?, call.tensor(1)?);
    let [batch, channels, height, width] = images(x)?;
    let batches = call.whole(2)?;
    ensure!(
        rois.dims() == [batches.len(), 4],
        "regions of shape {:?} for {} batch indices",
        rois.dims(),
        batches.len()
    );
    let (rows, columns) =
        (layout::size(call.int("output_height")?)?, layout::size(call.int("output_width")?)?);
    let samples = layout::size(call.int("sampling_ratio")?)?;
    let scale = call.float("spatial_scale")?;
    let half =
        call.text_opt("coordinate_transformation_mode")?.unwrap_or("output_half_pixel") == "half_pixel";
    let average = call.text("mode")? == "avg";
    let dims = [batches.len(), channels, rows, columns];
    let mut out = numbers::filled(0.0, &dims)?;
    let (values, rois) = (numbers::floats(x)?, numbers::floats(rois)?);
    for (n, &b) in batches.iter().enumerate() {
        let b = layout::index(b, batch)?;
        let corner: Vec<f64> =
            rois[4 * n..4 * n + 4].iter().map(|v| v * scale - if half { 0.5 } else { 0.0 }).collect();
        let least = if half { f64::NEG_INFINITY } else { 1.0 };
        let extent = [(corner[3] - corner[1]).max(least), (corner[2] - corner[0]).max(least)];
        let bin = [extent[0] / rows as f64, extent[1] / columns as f64];
        let taken = bin.map(|size| if samples > 0 { samples } else { size.ceil().max(0.0) as usize });
        layout::count(&[rows, columns, taken[0], taken[1]])?;
        for cell in 0..rows * columns {
            let origin =
                [corner[1] + (cell / columns) as f64 * bin[0], corner[0] + (cell % columns) as f64 * bin[1]];
            let point =
                |i: usize, axis: usize| origin[axis] + (i as f64 + 0.5) * bin[axis] / taken[axis] as f64;
            let points = (0..taken[0]).flat_map(|i| (0..taken[1]).map(move |j| (i, j)));
            let points: Vec<_> =
                points.map(|(i, j)| neighbours(point(i, 0), point(j, 1), [height, width])).collect();
            for c in 0..channels {
                let image = &values[(b * channels + c) * height * width..][..height * width];
                let terms = |point: &Vec<(usize, f64)>| {
                    point.iter().map(|&(at, w)| image[at] * w).collect::<Vec<f64>>()
                };
                let found = points.iter().map(terms);
                out[(n * channels + c) * rows * columns + cell] = if average {
                    found.map(|t| t.iter().sum::<f64>()).sum::<f64>() / points.len().max(1) as f64
                } else {
                    // The greatest weighted neighbour, as the operator has always been computed.
                    found.flatten().reduce(f64::max).unwrap_or(0.0)
                };
            }
        }
    }
    Ok(vec![from_floats(x.dtype(), &dims, &out)?.into()])
}

/// Convolution whose taps are moved by offsets and weighed by a mask.
fn deform_conv(call: &Call<'_>) -> Outputs {
    let (x, w, offset) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let [batch, channels, height, width] = images(x)?;
    let s = shapes(call, x.dims(), w.dims())?;
    let window = Window::of(call, &s.space, &s.kernel)?;
    let (taps, places) = (layout::count(&s.kernel)?, layout::count(&window.output)?);
    let moved = layout::size(call.int("offset_group")?)?;
    ensure!(moved > 0 && channels.is_multiple_of(moved), "{channels} channels in {moved} groups of offsets");
    let offsets = numbers::floats(offset)?;
    ensure!(
        offsets.len() == layout::count(&[batch, moved, taps, 2, places])?,
        "offsets of shape {:?}",
        offset.dims()
    );
    let mask = call.floats_opt(4)?;
    ensure!(
        mask.as_ref().is_none_or(|m| m.len() * 2 == offsets.len()),
        "a mask that does not fit the offsets"
    );
    let (values, filters) = (numbers::floats(x)?, numbers::floats(w)?);
    let dims = [&[batch, s.features][..], &window.output].concat();
    let mut out = Vec::with_capacity(layout::count(&dims)?);
    let (per_group, features, pixels) = (channels / s.groups, s.features / s.groups, height * width);
    for b in 0..batch {
        let mut columns = numbers::filled(0.0, &[channels, taps, places])?;
        for row in 0..moved * taps {
            let (tap, base) = (row % taps, b * moved * taps + row);
            for place in 0..places {
                let moved_by = |i: usize| offsets[(base * 2 + i) * places + place];
                let y =
                    window.coordinate(0, place / window.output[1], tap / s.kernel[1]) as f64 + moved_by(0);
                let x =
                    window.coordinate(1, place % window.output[1], tap % s.kernel[1]) as f64 + moved_by(1);
                let weight = mask.as_ref().map_or(1.0, |m| m[base * places + place]);
                let axis = |v: f64, dim: usize| -> Taps {
                    let place = |at: f64| Outside::Zero.place(at, dim, true);
                    smallvec![
                        (place(v.floor()), 1.0 - (v - v.floor())),
                        (place(v.floor() + 1.0), v - v.floor())
                    ]
                };
                let at = [axis(y, height), axis(x, width)];
                let share = channels / moved;
                for c in row / taps * share..(row / taps + 1) * share {
                    let image = &values[(b * channels + c) * pixels..][..pixels];
                    columns[(c * taps + tap) * places + place] = weight * mixed(image, &s.space, &at);
                }
            }
        }
        for group in 0..s.groups {
            let depth = per_group * taps;
            let filters = &filters[group * features * depth..][..features * depth];
            let columns = &columns[group * depth * places..][..depth * places];
            out.extend(product(filters, columns, [features, depth, places])?);
        }
    }
    add_bias(&mut out, &dims, call.floats_opt(3)?)?;
    Ok(vec![from_floats(x.dtype(), &dims, &out)?.into()])
}
