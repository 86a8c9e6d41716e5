//! Resize and Upsample. Interpolation is separable: each axis has, for each place of the output, the places
//! of the input that it mixes, with their weights.

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::complex::{Part, by_parts};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes};
use super::movement::take;
use super::numbers::{self, from_floats_any};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[onnx("Resize", 10, resize), onnx("Upsample", 7, upsample)];

/// How one axis is resized.
struct Axis {
    from: usize,
    to: usize,
    scale: f64,
    roi: (f64, f64),
}

struct Style<'a> {
    mode: &'a str,
    coordinates: &'a str,
    nearest: &'a str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f64,
}

/// Places of the input with their weights.
type Taps = Vec<(usize, f64)>;

/// What one place of the output mixes; `None` where it lies outside and is extrapolated.
type Mix = Option<Taps>;

/// What an image of some dimensions becomes.
pub(crate) struct Plan<'a> {
    axes: Vec<Axis>,
    style: Style<'a>,
    /// For each axis, what each place of the output mixes.
    mixes: Vec<Vec<Mix>>,
}

impl Axis {
    /// Where a place of the output lies in the input.
    fn source(&self, place: usize, style: &Style<'_>) -> Result<f64, Fault> {
        let (x, last) = (place as f64, self.from as f64 - 1.0);
        let exact = self.scale * self.from as f64;
        Ok(match style.coordinates {
            "half_pixel" => (x + 0.5) / self.scale - 0.5,
            "half_pixel_symmetric" => {
                let centre = self.from as f64 / 2.0;
                centre * (1.0 - self.to as f64 / exact) + (x + 0.5) / self.scale - 0.5
            }
            "pytorch_half_pixel" if self.to > 1 => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" => 0.0,
            "align_corners" if self.to > 1 => x * last / (exact - 1.0),
            "align_corners" => 0.0,
            "asymmetric" => x / self.scale,
            "tf_half_pixel_for_nn" => (x + 0.5) / self.scale,
            "tf_crop_and_resize" if self.to > 1 => {
                let (start, end) = self.roi;
                start * last + x * (end - start) * last / (self.to as f64 - 1.0)
            }
            "tf_crop_and_resize" => 0.5 * (self.roi.0 + self.roi.1) * last,
            other => {
                let why = format!("is `{other}`, which is not known");
                return Err(Fault::Attribute { name: "coordinate_transformation_mode".into(), why });
            }
        })
    }

    fn clamped(&self, at: f64) -> usize {
        at.clamp(0.0, self.from as f64 - 1.0) as usize
    }

    fn mix(&self, place: usize, style: &Style<'_>) -> Result<Mix, Fault> {
        let x = self.source(place, style)?;
        let outside = x < 0.0 || x > self.from as f64 - 1.0;
        if style.coordinates == "tf_crop_and_resize" && outside {
            return Ok(None);
        }
        if style.mode == "nearest" {
            let at = match style.nearest {
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                other => {
                    let why = format!("is `{other}`, which is not known");
                    return Err(Fault::Attribute { name: "nearest_mode".into(), why });
                }
            };
            return Ok(Some(vec![(self.clamped(at), 1.0)]));
        }
        Ok(Some(self.filtered(x, style)))
    }

    /// Taps of the linear or cubic filter around `x`, widened for antialiasing where the axis shrinks.
    fn filtered(&self, x: f64, style: &Style<'_>) -> Vec<(usize, f64)> {
        let cubic = style.mode == "cubic";
        let (a, squeeze) = (style.cubic, if style.antialias { self.scale.min(1.0) } else { 1.0 });
        let weight = |distance: f64| {
            let d = distance.abs() * squeeze;
            match (cubic, d) {
                (false, d) => (1.0 - d).max(0.0),
                (true, d) if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                (true, d) if d < 2.0 => ((d - 5.0) * d + 8.0) * a * d - 4.0 * a,
                _ => 0.0,
            }
        };
        // On an element itself, that one and its left neighbour are looked at.
        let base = x.ceil() - 1.0;
        let reach = ((if cubic { 2.0 } else { 1.0 }) / squeeze).ceil().min(self.from as f64 + 2.0);
        let taps = (0..2 * reach as i64).map(|i| base + 1.0 - reach + i as f64);
        let inside = |at: f64| (0.0..self.from as f64).contains(&at);
        let taps = taps.filter(|&at| !style.exclude_outside || inside(at));
        let mut taps: Vec<(usize, f64)> = taps.map(|at| (self.clamped(at), weight(at - x))).collect();
        if style.exclude_outside || style.antialias {
            let sum: f64 = taps.iter().map(|(_, w)| w).sum();
            taps.iter_mut().for_each(|(_, w)| *w /= sum);
        }
        taps
    }
}

impl<'a> Plan<'a> {
    fn new(dims: &[usize], axes: Vec<Axis>, style: Style<'a>) -> Result<Plan<'a>, Fault> {
        ensure!(dims.iter().all(|&d| d > 0), "an empty tensor cannot be resized");
        let to: Vec<usize> = axes.iter().map(|a| a.to).collect();
        layout::count(&to)?;
        let mixes = axes
            .iter()
            .map(|axis| (0..axis.to).map(|place| axis.mix(place, &style)).collect())
            .collect::<Result<_, Fault>>()?;
        Ok(Plan { axes, style, mixes })
    }

    /// What each place along the last two axes mixes, if the others stay as they are and nothing lies outside.
    pub(crate) fn of_planes(self) -> Option<[Vec<Taps>; 2]> {
        let outer = self.axes.len().checked_sub(2)?;
        let mut taps = self.axes.iter().zip(&self.mixes).map(|(axis, mixes)| {
            let stays = self.style.mode != "nearest" && self.leaves(axis);
            if stays { Some(identity(axis.to)) } else { mixes.iter().cloned().collect::<Option<Vec<_>>>() }
        });
        let axes = self.axes.iter().take(outer);
        let outside_stays = axes.zip(taps.by_ref()).all(|(axis, taps)| taps == Some(identity(axis.from)));
        if !outside_stays {
            return None;
        }
        Some([taps.next()??, taps.next()??])
    }

    /// Whether interpolation leaves an axis as it is.
    fn leaves(&self, axis: &Axis) -> bool {
        axis.from == axis.to && axis.scale == 1.0 && self.style.coordinates != "tf_crop_and_resize"
    }

    fn run(&self, tensor: &Tensor) -> Outputs {
        let extrapolates = self.mixes.iter().flatten().any(Option::is_none);
        if self.style.mode == "nearest" && !extrapolates {
            let dims: Vec<usize> = self.axes.iter().map(|a| a.to).collect();
            return Ok(vec![nearest(tensor, &dims, &self.mixes)?.into()]);
        }
        let mixed = by_parts(tensor, |part, which| {
            let outside = if which == Part::Real { self.style.extrapolation } else { 0.0 };
            self.mix(part, outside)
        })?;
        Ok(vec![mixed.into()])
    }

    /// Numbers mixed along each axis in turn; `outside` is what those are that lie beyond the tensor.
    fn mix(&self, tensor: &Tensor, outside: f64) -> Result<Tensor, Fault> {
        let (mut values, mut shape) = (numbers::floats(tensor)?, tensor.dims().to_vec());
        for (axis, mixes) in self.mixes.iter().enumerate() {
            let same = |(i, mix): (usize, &Mix)| matches!(mix.as_deref(), Some(&[(at, 1.0)]) if at == i);
            if self.leaves(&self.axes[axis])
                || (mixes.len() == shape[axis] && mixes.iter().enumerate().all(same))
            {
                continue;
            }
            let before = Lanes::new(&shape, &[axis])?;
            shape[axis] = self.axes[axis].to;
            let after = Lanes::new(&shape, &[axis])?;
            let mut next = numbers::filled(outside, &shape)?;
            for lane in 0..before.outer {
                let from = before.lane(lane);
                for (&to, mix) in after.lane(lane).iter().zip(mixes) {
                    if let Some(mix) = mix {
                        next[to] = mix.iter().map(|&(at, weight)| values[from[at]] * weight).sum();
                    }
                }
            }
            values = next;
        }
        if self.mixes.iter().flatten().any(Option::is_none) {
            extrapolate(&mut values, &shape, &self.mixes, outside);
        }
        from_floats_any(tensor.dtype(), &shape, &values)
    }
}

/// An axis whose places are taken as they are.
fn identity(len: usize) -> Vec<Taps> {
    (0..len).map(|i| vec![(i, 1.0)]).collect()
}

/// Elements that lie outside along any axis have one value, whatever later axes made of them.
fn extrapolate(values: &mut [f64], dims: &[usize], mixes: &[Vec<Mix>], value: f64) {
    let strides = layout::strides(dims);
    for (i, x) in values.iter_mut().enumerate() {
        if (0..dims.len()).any(|axis| mixes[axis][i / strides[axis] % dims[axis]].is_none()) {
            *x = value;
        }
    }
}

fn nearest(tensor: &Tensor, dims: &[usize], mixes: &[Vec<Mix>]) -> Result<Tensor, Fault> {
    let strides = layout::strides(tensor.dims());
    let mut picks = vec![0usize];
    for (axis, mixes) in mixes.iter().enumerate() {
        let at = |mix: &Mix| mix.as_ref().map_or(0, |m| m[0].0) * strides[axis];
        picks = picks.iter().flat_map(|&base| mixes.iter().map(move |mix| base + at(mix))).collect();
    }
    take(&[tensor], dims, &picks)
}

fn upsample(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    plan_upsample(call, tensor.dims())?.run(tensor)
}

/// What Upsample makes of a tensor of these dimensions.
pub(crate) fn plan_upsample<'a>(call: &Call<'a>, dims: &[usize]) -> Result<Plan<'a>, Fault> {
    let scales = match call.floats_attr("scales")? {
        Some(scales) => scales,
        None => call.floats(1)?,
    };
    let mode = call.text("mode")?;
    Plan::new(dims, scaled_axes(dims, &scales)?, plain(if mode == "bilinear" { "linear" } else { mode }))
}

/// The style that Upsample and the first Resize have.
fn plain(mode: &str) -> Style<'_> {
    Style {
        mode,
        coordinates: "asymmetric",
        nearest: "floor",
        cubic: -0.75,
        exclude_outside: false,
        antialias: false,
        extrapolation: 0.0,
    }
}

fn scaled_axes(dims: &[usize], scales: &[f64]) -> Result<Vec<Axis>, Fault> {
    ensure!(scales.len() == dims.len(), "{} scales for a tensor of rank {}", scales.len(), dims.len());
    let one = |(&from, &scale): (&usize, &f64)| {
        ensure!(scale > 0.0 && scale.is_finite(), "a scale of {scale}");
        let to = (from as f64 * scale).floor();
        ensure!(to >= 1.0 && to < (1u64 << 40) as f64, "a dimension of {from} scaled by {scale}");
        Ok(Axis { from, to: to as usize, scale, roi: (0.0, 1.0) })
    };
    dims.iter().zip(scales).map(one).collect()
}

/// Sizes as asked, or, to keep the aspect, as large as the policy allows.
fn sized_axes(dims: &[usize], chosen: &[usize], sizes: &[usize], policy: &str) -> Result<Vec<Axis>, Fault> {
    ensure!(
        sizes.len() == chosen.len() && !dims.contains(&0),
        "{} sizes for {} axes",
        sizes.len(),
        chosen.len()
    );
    let ratios = chosen.iter().zip(sizes).map(|(&a, &size)| size as f64 / dims[a] as f64);
    let common = match policy {
        "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.fold(0.0, f64::max)),
        _ => None,
    };
    let mut axes: Vec<Axis> =
        dims.iter().map(|&d| Axis { from: d, to: d, scale: 1.0, roi: (0.0, 1.0) }).collect();
    for (&a, &size) in chosen.iter().zip(sizes) {
        let from = dims[a];
        let (to, scale) = match common {
            Some(scale) => ((scale * from as f64 + 0.5).floor() as usize, scale),
            None => (size, size as f64 / from as f64),
        };
        ensure!(to > 0, "a dimension of {from} resized to nothing");
        axes[a] = Axis { from, to, scale, roi: (0.0, 1.0) };
    }
    Ok(axes)
}

fn resize(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    plan_resize(call, tensor.dims())?.run(tensor)
}

/// What Resize makes of a tensor of these dimensions.
pub(crate) fn plan_resize<'a>(call: &Call<'a>, dims: &[usize]) -> Result<Plan<'a>, Fault> {
    let rank = dims.len();
    let mode = call.text("mode")?;
    if call.opset() == 10 {
        return Plan::new(dims, scaled_axes(dims, &call.floats(1)?)?, plain(mode));
    }
    let chosen = match call.ints_opt("axes")? {
        Some(axes) => axes.iter().map(|&a| layout::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let scales = call.floats_opt(2)?.filter(|s| !s.is_empty());
    let sizes = call.whole_opt(3)?.filter(|s| !s.is_empty());
    let mut axes = match (scales, sizes) {
        (Some(given), None) => {
            ensure!(given.len() == chosen.len(), "{} scales for {} axes", given.len(), chosen.len());
            let mut scales = vec![1.0; rank];
            chosen.iter().zip(given).for_each(|(&a, s)| scales[a] = s);
            scaled_axes(dims, &scales)?
        }
        (None, Some(sizes)) => {
            let policy = call.text_opt("keep_aspect_ratio_policy")?.unwrap_or("stretch");
            sized_axes(dims, &chosen, &layout::sizes(&sizes)?, policy)?
        }
        _ => return Err(invalid!("one of scales and sizes is needed")),
    };
    let style = Style {
        mode,
        coordinates: call.text("coordinate_transformation_mode")?,
        nearest: call.text("nearest_mode")?,
        cubic: call.float("cubic_coeff_a")?,
        exclude_outside: call.flag("exclude_outside")?,
        antialias: call.flag("antialias")?,
        extrapolation: call.float("extrapolation_value")?,
    };
    if style.coordinates == "tf_crop_and_resize" {
        let roi = call.floats(1)?;
        ensure!(roi.len() == 2 * chosen.len(), "a region of {} numbers for {} axes", roi.len(), chosen.len());
        chosen.iter().enumerate().for_each(|(i, &a)| axes[a].roi = (roi[i], roi[chosen.len() + i]));
    }
    Plan::new(dims, axes, style)
}
