//! Convolutions and pooling: windows that slide over the spatial axes.

use smallvec::SmallVec;

use super::Family;
use super::layout::unknown_dims;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::{DType, Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Conv", "ConvInteger"], conv),
        (&["QLinearConv"], qlinear_conv),
        (&["DeformConv"], conv),
        (&["ConvTranspose"], conv_transpose),
        (&["AveragePool", "LpPool"], pool),
        (&["MaxPool"], max_pool),
        (&["MaxUnpool"], max_unpool),
        (&["GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"], global_pool),
        (&["Col2Im"], col_to_image),
    ],
};

type Ints = SmallVec<[i64; 4]>;

/// How a window slides along every spatial axis.
pub struct Window {
    kernel: SmallVec<[Dim; 4]>,
    strides: Ints,
    dilations: Ints,
    /// All beginnings, then all ends.
    pads: Ints,
    auto_pad: AutoPad,
    ceil: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum AutoPad {
    Explicit,
    SameUpper,
    SameLower,
    Valid,
}

fn spatial_ints(call: &Call<'_, '_>, name: &str, count: usize, default: i64) -> Result<Ints, Stop> {
    match call.ints(name) {
        Some(list) if list.len() == count => Ok(list.iter().copied().collect()),
        Some(list) if list.is_empty() => Ok(SmallVec::from_elem(default, count)),
        Some(list) => invalid(format!("`{name}` has {} numbers where {count} are needed", list.len())),
        None => Ok(SmallVec::from_elem(default, count)),
    }
}

impl Window {
    /// `kernel` stands in where there is no `kernel_shape`.
    pub fn read(call: &Call<'_, '_>, spatial: usize, kernel: Option<&[Dim]>) -> Result<Window, Stop> {
        let kernel: SmallVec<[Dim; 4]> = match (call.ints("kernel_shape"), kernel) {
            (Some(list), _) if list.len() == spatial => list.iter().map(|&n| Dim::Static(n)).collect(),
            (Some(list), _) if !list.is_empty() => {
                return invalid(format!("`kernel_shape` has {} numbers for {spatial} axes", list.len()));
            }
            (_, Some(kernel)) if kernel.len() == spatial => kernel.iter().cloned().collect(),
            _ => return invalid("the size of the window is not given"),
        };
        let auto_pad = match call.text("auto_pad") {
            None | Some("" | "NOTSET") => AutoPad::Explicit,
            Some("SAME_UPPER") => AutoPad::SameUpper,
            Some("SAME_LOWER") => AutoPad::SameLower,
            Some("VALID") => AutoPad::Valid,
            Some(other) => return invalid(format!("`auto_pad` cannot be {other:?}")),
        };
        let window = Window {
            kernel,
            strides: spatial_ints(call, "strides", spatial, 1)?,
            dilations: spatial_ints(call, "dilations", spatial, 1)?,
            pads: spatial_ints(call, "pads", spatial.saturating_mul(2), 0)?,
            auto_pad,
            ceil: call.flag("ceil_mode"),
        };
        if window.strides.iter().chain(&window.dilations).any(|&n| n < 1) {
            return invalid("strides and dilations have to be 1 or more");
        }
        Ok(window)
    }

    /// Length of the window along an axis, with its holes.
    fn extent(&self, i: usize) -> Dim {
        let one = Dim::Static(1);
        self.kernel[i].sub(&one).mul(&Dim::Static(self.dilations[i])).add(&one)
    }

    fn padding(&self, i: usize) -> Dim {
        Dim::Static(self.pads[i]).add(&Dim::Static(self.pads[i + self.kernel.len()]))
    }

    /// How many places the window takes along axis `i` of length `n`.
    fn places(&self, n: &Dim, i: usize) -> Result<Dim, Stop> {
        let stride = Dim::Static(self.strides[i]);
        match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => return Ok(n.ceil_div(&stride)),
            AutoPad::Valid | AutoPad::Explicit => {}
        }
        let padding = if self.auto_pad == AutoPad::Valid { Dim::Static(0) } else { self.padding(i) };
        let room = n.add(&padding).sub(&self.extent(i));
        if room.value().is_some_and(|r| r < 0) {
            return invalid(format!("a window of {} is longer than axis {} of {n}", self.extent(i), i + 2));
        }
        let steps = if self.ceil { room.ceil_div(&stride) } else { room.floor_div(&stride) };
        let places = steps.add(&Dim::Static(1));
        if !self.ceil || places.value().is_none() {
            // A last window that starts in the padding is dropped, which cannot be told symbolically.
            return Ok(if self.ceil && !self.always_inside(i) { Dim::Unknown } else { places });
        }
        let begin = Dim::Static(self.pads[i]);
        let last_start = steps.mul(&stride).value();
        let reach = n.add(if self.auto_pad == AutoPad::Valid { &Dim::Static(0) } else { &begin }).value();
        Ok(match (last_start, reach) {
            (Some(start), Some(reach)) if start >= reach => steps,
            _ => places,
        })
    }

    /// Whether rounding up can never start a window beyond the input: the last one starts less than a
    /// stride behind the last that fits.
    fn always_inside(&self, i: usize) -> bool {
        let end = if self.auto_pad == AutoPad::Valid { 0 } else { self.pads[i + self.kernel.len()] };
        let needed = self.strides[i].checked_add(end);
        needed.zip(self.extent(i).value()).is_some_and(|(needed, extent)| extent >= needed)
    }

    pub fn output(&self, spatial: &[Dim]) -> Result<Dims, Stop> {
        spatial.iter().enumerate().map(|(i, n)| self.places(n, i)).collect()
    }
}

/// The rank of a convolution's input, its spatial axes counted.
fn spatial_of(shape: &Dims) -> Result<usize, Stop> {
    match shape.len() {
        0..=2 => invalid(format!("a rank of {} leaves no spatial axis", shape.len())),
        rank => Ok(rank - 2),
    }
}

fn conv(call: &mut Call<'_, '_>) -> Outcome {
    conv_of(call, 0, 1)
}

fn qlinear_conv(call: &mut Call<'_, '_>) -> Outcome {
    conv_of(call, 0, 3)
}

/// A convolution of input `x` with the weights at input `w`.
pub fn conv_of(call: &mut Call<'_, '_>, x: usize, w: usize) -> Outcome {
    let Some(weights) = call.shape_of(w).cloned() else {
        let rank = call.rank(x)?;
        let batch = call.shape(x)?.first().cloned();
        let mut dims = unknown_dims(rank)?;
        if let (Some(slot), Some(batch)) = (dims.first_mut(), batch) {
            *slot = batch;
        }
        return call.set_shape(0, dims);
    };
    let Some(shape) = call.shape_of(x).cloned() else {
        let mut dims = unknown_dims(weights.len())?;
        if dims.len() > 1 {
            dims[1] = weights[0].clone();
        }
        return call.set_shape(0, dims);
    };
    let spatial = spatial_of(&shape)?;
    if weights.len() != shape.len() {
        return invalid(format!("weights of rank {} for an input of rank {}", weights.len(), shape.len()));
    }
    let group = call.int_or("group", 1);
    if let (Dim::Static(channels), Dim::Static(each)) = (&shape[1], &weights[1])
        && group > 0
        && each.checked_mul(group) != Some(*channels)
    {
        return invalid(format!(
            "weights for {group} groups of {each} channels, but the input has {channels}"
        ));
    }
    let window = Window::read(call, spatial, Some(&weights[2..]))?;
    let places = window.output(&shape[2..])?;
    call.set_shape(0, [shape[0].clone(), weights[0].clone()].into_iter().chain(places))
}

fn conv_transpose(call: &mut Call<'_, '_>) -> Outcome {
    let (shape, weights) = (call.shape(0)?, call.shape(1)?);
    let spatial = spatial_of(&shape)?;
    if weights.len() != shape.len() {
        return invalid(format!("weights of rank {} for an input of rank {}", weights.len(), shape.len()));
    }
    let window = Window::read(call, spatial, Some(&weights[2..]))?;
    let channels = weights[1].mul(&Dim::Static(call.int_or("group", 1)));
    let grown: Dims = match call.ints("output_shape") {
        Some(list) if list.len() == spatial => list.iter().map(|&n| Dim::Static(n)).collect(),
        // Some writers give batch and channels too.
        Some(list) if list.len() == spatial + 2 => list[2..].iter().map(|&n| Dim::Static(n)).collect(),
        Some(list) if !list.is_empty() => {
            return invalid(format!("`output_shape` has {} numbers for {spatial} axes", list.len()));
        }
        _ => {
            let extra = spatial_ints(call, "output_padding", spatial, 0)?;
            let grow = |(i, n): (usize, &Dim)| {
                let stride = Dim::Static(window.strides[i]);
                match window.auto_pad {
                    AutoPad::SameUpper | AutoPad::SameLower => n.mul(&stride),
                    other => {
                        let spread = n.sub(&Dim::Static(1)).mul(&stride);
                        let full = spread.add(&Dim::Static(extra[i])).add(&window.extent(i));
                        if other == AutoPad::Valid { full } else { full.sub(&window.padding(i)) }
                    }
                }
            };
            shape[2..].iter().enumerate().map(grow).collect()
        }
    };
    call.set_shape(0, [shape[0].clone(), channels].into_iter().chain(grown))
}

fn pool(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let window = Window::read(call, spatial_of(&shape)?, None)?;
    let places = window.output(&shape[2..])?;
    call.set_shape(0, shape[..2].iter().cloned().chain(places))
}

fn max_pool(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(1, DType::I64);
    pool(call)?;
    if let Some(shape) = call.outputs[0].ty.as_ref().and_then(|ty| ty.shape()).cloned() {
        call.set_shape(1, shape)?;
    }
    Ok(())
}

fn max_unpool(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    if call.has(2) {
        let dims = super::fill::shape_from(call, 2).or_else(|_| unknown_dims(shape.len()))?;
        return call.set_shape(0, dims);
    }
    let window = Window::read(call, spatial_of(&shape)?, None)?;
    let grow = |(i, n): (usize, &Dim)| {
        let spread = n.sub(&Dim::Static(1)).mul(&Dim::Static(window.strides[i]));
        spread.add(&window.kernel[i]).sub(&window.padding(i))
    };
    let grown: Dims = shape[2..].iter().enumerate().map(grow).collect();
    call.set_shape(0, shape[..2].iter().cloned().chain(grown))
}

fn global_pool(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let reduced = shape.iter().enumerate().map(|(i, d)| if i < 2 { d.clone() } else { Dim::Static(1) });
    call.set_shape(0, reduced.collect::<Dims>())
}

fn col_to_image(call: &mut Call<'_, '_>) -> Outcome {
    let image = super::fill::shape_from(call, 1)?;
    let (mut batch, mut channels) = (Dim::Unknown, Dim::Unknown);
    if call.shape_of(0).is_some() {
        let shape = call.shape_of_rank(0, 3)?;
        batch = shape[0].clone();
        if let Ok(block) = call.dims_in(2) {
            let block = super::layout::product(block.iter());
            channels = shape[1].div_exact(&block).unwrap_or(Dim::Unknown);
        }
    }
    call.set_shape(0, [batch, channels].into_iter().chain(image))
}
