//! Operators on images and on regions of them.

use super::Family;
use super::layout::unknown_dims;
use crate::infer::call::{Call, Outcome, Stop, axis, invalid};
use crate::{Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Resize"], resize),
        (&["Upsample"], upsample),
        (&["GridSample"], grid_sample),
        (&["AffineGrid"], affine_grid),
        (&["RoiAlign"], roi_align),
        (&["MaxRoiPool"], max_roi_pool),
        (&["NonMaxSuppression"], non_max_suppression),
        (&["ImageDecoder"], image_decoder),
    ],
};

/// A dimension times a scale, rounded down.
fn scaled(dim: &Dim, scale: f64) -> Dim {
    match dim {
        _ if scale == 1.0 => dim.clone(),
        Dim::Static(n) => {
            // The standard multiplies in float32.
            let size = (*n as f32 * scale as f32).floor();
            if (0.0..9.0e15).contains(&size) { Dim::Static(size as i64) } else { Dim::Unknown }
        }
        _ if scale > 0.0 && scale.fract() == 0.0 && scale < 9.0e15 => dim.mul(&Dim::Static(scale as i64)),
        _ if scale > 0.0 && (1.0 / scale).fract() == 0.0 => dim.floor_div(&Dim::Static((1.0 / scale) as i64)),
        _ => Dim::Unknown,
    }
}

fn upsample(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    // Version 1 scales height and width only, by an attribute each.
    if let (Some(height), Some(width)) = (call.float("height_scale"), call.float("width_scale")) {
        let [n, c, h, w] = &shape[..] else { return invalid("an image needs a rank of 4") };
        let (h, w) = (scaled(h, f64::from(height)), scaled(w, f64::from(width)));
        return call.set_shape(0, [n.clone(), c.clone(), h, w]);
    }
    let scales = match call.floats("scales") {
        Some(list) => Ok(list.iter().map(|&x| f64::from(x)).collect()),
        None => call.floats_in(1),
    };
    by_scales(call, &shape, scales)
}

fn by_scales(call: &mut Call<'_, '_>, shape: &Dims, scales: Result<Vec<f64>, Stop>) -> Outcome {
    let Ok(scales) = scales else { return call.set_shape(0, unknown_dims(shape.len())?) };
    if scales.len() != shape.len() {
        return invalid(format!("{} scales for a rank of {}", scales.len(), shape.len()));
    }
    call.set_shape(0, shape.iter().zip(scales).map(|(dim, scale)| scaled(dim, scale)))
}

fn resize(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    if call.since() == 10 {
        let scales = call.floats_in(1);
        return by_scales(call, &shape, scales);
    }
    let axes: Vec<usize> = match call.ints("axes") {
        Some(list) => list.iter().map(|&a| axis(a, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).collect(),
    };
    // Exporters leave scales empty where sizes are given.
    if call.has(3) && call.content(3).is_none_or(|sizes| !sizes.elements().is_empty()) {
        return by_sizes(call, shape, &axes);
    }
    let Ok(scales) = call.floats_in(2) else { return call.set_shape(0, unknown_dims(shape.len())?) };
    if scales.len() != axes.len() {
        return invalid(format!("{} scales for {} axes", scales.len(), axes.len()));
    }
    let region = match call.text("coordinate_transformation_mode") {
        Some("tf_crop_and_resize") => call.floats_in(1).ok(),
        _ => None,
    };
    let cropped = call.text("coordinate_transformation_mode") == Some("tf_crop_and_resize");
    let mut dims = shape.clone();
    for (i, &at) in axes.iter().enumerate() {
        dims[at] = match (&region, cropped) {
            (_, false) => scaled(&shape[at], scales[i]),
            (Some(region), true) if region.len() == 2 * axes.len() => {
                let part = region[i + axes.len()] - region[i];
                shape[at].value().map_or(Dim::Unknown, |n| scaled(&Dim::Static(n), part * scales[i]))
            }
            _ => Dim::Unknown,
        };
    }
    call.set_shape(0, dims)
}

fn by_sizes(call: &mut Call<'_, '_>, shape: Dims, axes: &[usize]) -> Outcome {
    let Ok(sizes) = super::fill::shape_from(call, 3) else {
        return call.set_shape(0, unknown_dims(shape.len())?);
    };
    if sizes.len() != axes.len() {
        return invalid(format!("{} sizes for {} axes", sizes.len(), axes.len()));
    }
    let mut dims = shape.clone();
    let policy = call.text("keep_aspect_ratio_policy").unwrap_or("stretch");
    if policy == "stretch" {
        for (&at, size) in axes.iter().zip(sizes) {
            dims[at] = size;
        }
        return call.set_shape(0, dims);
    }
    // One scale for all axes: the smallest or the largest that any of them asks for.
    let ratio = |(&at, size): (&usize, &Dim)| Some(size.value()? as f64 / shape[at].value()? as f64);
    let ratios: Option<Vec<f64>> = axes.iter().zip(&sizes).map(ratio).collect();
    let pick = if policy == "not_larger" { f64::min } else { f64::max };
    let scale = ratios.and_then(|list| list.into_iter().reduce(pick)).filter(|scale| scale.is_finite());
    for &at in axes {
        let size = scale.zip(shape[at].value()).map(|(scale, n)| (scale * n as f64 + 0.5).floor());
        dims[at] = size.map_or(Dim::Unknown, |size| Dim::Static(size as i64));
    }
    call.set_shape(0, dims)
}

pub fn grid_sample(call: &mut Call<'_, '_>) -> Outcome {
    let (image, grid) = (call.shape(0)?, call.shape(1)?);
    if image.len() != grid.len() || image.len() < 3 {
        return invalid(format!("a grid of rank {} for an image of rank {}", grid.len(), image.len()));
    }
    call.set_shape(0, image[..2].iter().chain(&grid[1..grid.len() - 1]).cloned())
}

fn affine_grid(call: &mut Call<'_, '_>) -> Outcome {
    let size = super::fill::shape_from(call, 1)?;
    let [batch, _, space @ ..] = &size[..] else { return invalid("a size has batch and channels") };
    let axes = Dim::Static(space.len() as i64);
    call.set_shape(0, [batch].into_iter().chain(space).cloned().chain([axes]))
}

fn roi_align(call: &mut Call<'_, '_>) -> Outcome {
    let channels = call.shape_of(0).and_then(|s| s.get(1).cloned()).unwrap_or(Dim::Unknown);
    let regions = [1, 2].iter().find_map(|&i| call.shape_of(i)?.first().filter(|d| d.is_known()).cloned());
    let size = |name: &str| Dim::Static(call.int_or(name, 1));
    let dims = [regions.unwrap_or(Dim::Unknown), channels, size("output_height"), size("output_width")];
    call.set_shape(0, dims)
}

fn max_roi_pool(call: &mut Call<'_, '_>) -> Outcome {
    let channels = call.shape_of(0).and_then(|s| s.get(1).cloned()).unwrap_or(Dim::Unknown);
    let regions = call.shape_of(1).and_then(|s| s.first().cloned()).unwrap_or(Dim::Unknown);
    let pooled = call.ints("pooled_shape").ok_or(Stop::Unknown)?;
    call.set_shape(0, [regions, channels].into_iter().chain(pooled.iter().map(|&n| Dim::Static(n))))
}

fn non_max_suppression(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [Dim::Unknown, Dim::Static(3)])
}

fn image_decoder(call: &mut Call<'_, '_>) -> Outcome {
    let channels = if call.text("pixel_format") == Some("Grayscale") { 1 } else { 3 };
    call.set_shape(0, [Dim::Unknown, Dim::Unknown, Dim::Static(channels)])
}
