//! Operators that pick, cut, join and search elements.

use smallvec::SmallVec;

use super::Family;
use super::layout::{product, unknown_dims};
use crate::infer::call::{Call, Outcome, Stop, axis, invalid};
use crate::infer::content::{Content, MAX_ELEMENTS, Scalar};
use crate::infer::merge::same_dim;
use crate::{Dim, Dims};

mod slice;

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Gather"], gather),
        (&["GatherElements"], gather_elements),
        (&["GatherND"], gather_nd),
        (&["Slice"], slice::slice),
        (&["DynamicSlice"], slice::dynamic_slice),
        (&["Concat"], concat),
        (&["Split"], split),
        (&["Pad"], pad),
        (&["Compress"], compress),
        (&["NonZero"], non_zero),
        (&["Unique"], unique),
        (&["TopK"], top_k),
        (&["OneHot"], one_hot),
        (&["CenterCropPad"], center_crop_pad),
        (&["Crop"], crop),
    ],
};

fn gather(call: &mut Call<'_, '_>) -> Outcome {
    let (data, indices) = (call.shape(0)?, call.shape(1)?);
    let at = axis(call.int_or("axis", 0), data.len())?;
    call.set_shape(0, data[..at].iter().chain(&indices).chain(&data[at + 1..]).cloned())?;
    let (Some(data), Some(indices), Some(dims)) =
        (call.content(0), call.content(1), call.static_shape_out(0))
    else {
        return Ok(());
    };
    let (length, index_rank) = (data.dims()[at] as i64, indices.dims().len());
    let content = Content::build(&dims, |index| {
        let picked = indices.at(&index[at..at + index_rank])?.dim();
        let Some(picked) = picked.value() else { return Some(Scalar::UNKNOWN) };
        let picked = usize::try_from(if picked < 0 { picked + length } else { picked }).ok()?;
        let source: SmallVec<[usize; 4]> = index[..at]
            .iter()
            .copied()
            .chain([picked])
            .chain(index[at + index_rank..].iter().copied())
            .collect();
        data.at(&source).cloned()
    });
    call.set_content(0, content)
}

fn gather_elements(call: &mut Call<'_, '_>) -> Outcome {
    call.same_shape(0, 1)
}

pub fn gather_nd(call: &mut Call<'_, '_>) -> Outcome {
    let (data, indices) = (call.shape(0)?, call.shape(1)?);
    let batch = usize::try_from(call.int_or("batch_dims", 0)).map_err(|_| Stop::Unknown)?;
    let Some((last, outer)) = indices.split_last() else { return invalid("indices cannot be a scalar") };
    let picked = last.value().and_then(|n| usize::try_from(n).ok()).ok_or(Stop::Unknown)?;
    let Some(inner) = batch.checked_add(picked).and_then(|skip| data.get(skip..)) else {
        return invalid(format!("{picked} indices with {batch} batch axes into a rank of {}", data.len()));
    };
    call.set_shape(0, outer.iter().chain(inner).cloned())
}

fn concat(call: &mut Call<'_, '_>) -> Outcome {
    let given = call.int("axis").unwrap_or(if call.since() < 4 { 1 } else { 0 });
    let mut joined: Option<Dims> = None;
    let mut known_rank = None;
    let mut all_known = true;
    for i in 0..call.inputs.len() {
        let Some(shape) = call.shape_of(i) else {
            all_known = false;
            continue;
        };
        if *known_rank.get_or_insert(shape.len()) != shape.len() {
            return invalid("inputs differ in rank");
        }
        let at = axis(given, shape.len())?;
        joined = Some(match joined {
            None => shape.clone(),
            Some(sum) => join(&sum, shape, at)?,
        });
    }
    let mut dims = joined.ok_or(Stop::Unknown)?;
    if !all_known {
        let at = axis(given, dims.len())?;
        dims[at] = Dim::Unknown;
    }
    call.set_shape(0, dims)?;
    concat_content(call)
}

fn join(a: &Dims, b: &Dims, at: usize) -> Result<Dims, Stop> {
    let mut dims = Dims::new();
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        dims.push(match (i == at, a, b) {
            (true, a, b) => a.add(b),
            (false, Dim::Static(a), Dim::Static(b)) if a != b => {
                return invalid(format!("inputs differ in axis {i}: {a} and {b}"));
            }
            (false, a, b) => same_dim(a, b),
        });
    }
    Ok(dims)
}

/// Vectors of which at least one is followed make a vector that is followed in part.
fn concat_content(call: &mut Call<'_, '_>) -> Outcome {
    let mut elements = Vec::new();
    for i in 0..call.inputs.len() {
        match call.content(i) {
            Some(content) if content.dims().len() == 1 => elements.extend_from_slice(content.elements()),
            Some(_) => return Ok(()),
            None => {
                let Ok(length) = call.length(i) else { return Ok(()) };
                if length > MAX_ELEMENTS {
                    return Ok(());
                }
                elements.extend(std::iter::repeat_n(Scalar::UNKNOWN, length));
            }
        }
    }
    call.set_content(0, Content::new(&[elements.len()], elements))
}

fn split(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let at = axis(call.int_or("axis", 0), shape.len())?;
    let count = call.outputs.len();
    let given = match call.ints("split") {
        Some(list) => Some(list.iter().map(|&n| Dim::Static(n)).collect::<Dims>()),
        None if call.has(1) => Some(call.dims_in(1).unwrap_or_else(|_| vec![Dim::Unknown; count].into())),
        None => None,
    };
    let sizes: Dims = match given {
        Some(sizes) if sizes.len() < count => {
            return invalid(format!("{} parts for {count} outputs", sizes.len()));
        }
        Some(sizes) => sizes,
        None => even_parts(&shape[at], count, call.since() >= 18),
    };
    for (output, size) in sizes.iter().enumerate() {
        let mut dims = shape.clone();
        dims[at] = size.clone();
        call.set_shape(output, dims)?;
    }
    split_content(call, &sizes)
}

/// Equal parts; since version 18 the last may be smaller.
fn even_parts(total: &Dim, count: usize, uneven: bool) -> Dims {
    let parts = Dim::Static(count as i64);
    let part = if uneven { total.ceil_div(&parts) } else { total.floor_div(&parts) };
    let mut sizes = Dims::from_elem(part.clone(), count);
    if let Some(last) = sizes.last_mut().filter(|_| uneven) {
        let rest = total.sub(&part.mul(&Dim::Static(count as i64 - 1)));
        if rest.value().is_some_and(|rest| rest < 0) {
            // Where some parts get nothing, the standard does not say which.
            return Dims::from_elem(Dim::Unknown, count);
        }
        *last = rest.larger(&Dim::Static(0));
    }
    sizes
}

fn split_content(call: &mut Call<'_, '_>, sizes: &Dims) -> Outcome {
    let Some(content) = call.content(0).filter(|c| c.dims().len() == 1).cloned() else { return Ok(()) };
    let mut from = 0usize;
    for (output, size) in sizes.iter().enumerate() {
        let Some(length) = size.value().and_then(|n| usize::try_from(n).ok()) else { return Ok(()) };
        let Some(part) = from.checked_add(length).and_then(|to| content.elements().get(from..to)) else {
            return invalid("the parts are longer than the whole");
        };
        call.set_content(output, Content::new(&[length], part.to_vec()))?;
        from += length;
    }
    Ok(())
}

pub fn pad(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let attribute = call.ints("pads").or_else(|| call.ints("paddings"));
    let pads: Dims = match attribute {
        Some(list) => list.iter().map(|&n| Dim::Static(n)).collect(),
        None => match call.dims_in(1) {
            Ok(dims) => dims,
            Err(_) => return call.set_shape(0, unknown_dims(shape.len())?),
        },
    };
    let padded: Vec<usize> = match call.has(3) {
        true => match call.ints_in(3) {
            Ok(list) => list.iter().map(|&a| axis(a, shape.len())).collect::<Result<_, _>>()?,
            Err(_) => return call.set_shape(0, unknown_dims(shape.len())?),
        },
        false => (0..shape.len()).collect(),
    };
    if pads.len() != 2 * padded.len() {
        return invalid(format!("{} pads for {} axes", pads.len(), padded.len()));
    }
    let mut dims = shape;
    for (i, &at) in padded.iter().enumerate() {
        dims[at] = dims[at].add(&pads[i]).add(&pads[i + padded.len()]);
    }
    call.set_shape(0, dims)
}

fn compress(call: &mut Call<'_, '_>) -> Outcome {
    let kept = match call.ints_in(1) {
        Ok(list) => Dim::Static(list.iter().filter(|&&x| x != 0).count() as i64),
        Err(_) => Dim::Unknown,
    };
    let Some(given) = call.int("axis") else { return call.set_shape(0, [kept]) };
    let mut dims = call.shape(0)?;
    let at = axis(given, dims.len())?;
    dims[at] = kept;
    call.set_shape(0, dims)
}

fn non_zero(call: &mut Call<'_, '_>) -> Outcome {
    // How a scalar's only element is addressed differs between implementations.
    let rank = call.shape_of(0).map(|dims| dims.len()).filter(|&rank| rank > 0);
    call.set_shape(0, [rank.map_or(Dim::Unknown, |rank| Dim::Static(rank as i64)), Dim::Unknown])
}

fn unique(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(1, [Dim::Unknown])?;
    call.set_shape(3, [Dim::Unknown])?;
    let Some(given) = call.int("axis") else {
        call.set_shape(0, [Dim::Unknown])?;
        call.set_shape(2, [Dim::Unknown])?;
        let count = product(call.shape(0)?.iter());
        return call.set_shape(2, [count]);
    };
    call.set_shape(2, [Dim::Unknown])?;
    let mut dims = call.shape(0)?;
    let at = axis(given, dims.len())?;
    call.set_shape(2, [dims[at].clone()])?;
    dims[at] = Dim::Unknown;
    call.set_shape(0, dims)
}

fn top_k(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let at = axis(call.int_or("axis", -1), dims.len())?;
    dims[at] = match call.int("k") {
        Some(k) => Dim::Static(k),
        None => call.dim_in(1).ok().filter(Dim::is_nonnegative).unwrap_or(Dim::Unknown),
    };
    call.set_shape(0, dims.clone())?;
    call.set_shape(1, dims)
}

fn one_hot(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let at = axis(call.int_or("axis", -1), dims.len() + 1)?;
    let depth = match call.content(1).and_then(|c| c.elements().first()) {
        Some(depth) => Some(depth.whole()).filter(Dim::is_nonnegative).unwrap_or(Dim::Unknown),
        None => Dim::Unknown,
    };
    dims.insert(at, depth);
    call.set_shape(0, dims)
}

fn center_crop_pad(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let wanted = match call.dims_in(1) {
        Ok(wanted) => wanted,
        Err(_) => return call.set_shape(0, unknown_dims(dims.len())?),
    };
    let list = call.ints("axes").map_or_else(|| (0..dims.len() as i64).collect(), |list| list.into_owned());
    if list.len() != wanted.len() {
        return invalid(format!("{} sizes for {} axes", wanted.len(), list.len()));
    }
    for (&a, size) in list.iter().zip(wanted) {
        let at = axis(a, dims.len())?;
        dims[at] = if size.is_nonnegative() { size } else { Dim::Unknown };
    }
    call.set_shape(0, dims)
}

fn crop(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape_of_rank(0, 4)?;
    let border = call.ints("border").ok_or(Stop::Unknown)?;
    let [left, top, right, bottom] = border[..] else { return invalid("`border` needs four numbers") };
    let scale = call.ints("scale");
    for (at, before, after, i) in [(2, top, bottom, 0), (3, left, right, 1)] {
        dims[at] = match scale.as_ref().and_then(|s| s.get(i)) {
            Some(&size) => Dim::Static(size),
            None => dims[at].sub(&Dim::Static(before)).sub(&Dim::Static(after)),
        };
    }
    call.set_shape(0, dims)
}
