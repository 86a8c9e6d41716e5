//! Operators that keep the elements and change how they are laid out, and those that ask for a shape.

use smallvec::SmallVec;

use super::Family;
use super::arithmetic::broadcast_shapes;
use crate::infer::call::{Call, Outcome, Stop, axes, axis, invalid};
use crate::infer::content::{Content, Scalar};
use crate::{Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Shape"], shape),
        (&["Size"], size),
        (&["Reshape"], reshape),
        (&["Flatten"], flatten),
        (&["Squeeze"], squeeze),
        (&["Unsqueeze"], unsqueeze),
        (&["Transpose"], transpose),
        (&["Expand"], expand),
        (&["Tile"], tile),
        (&["DepthToSpace"], depth_to_space),
        (&["SpaceToDepth"], space_to_depth),
    ],
};

pub fn product<'d>(dims: impl IntoIterator<Item = &'d Dim>) -> Dim {
    dims.into_iter().fold(Dim::Static(1), |product, dim| product.mul(dim))
}

/// Unknown dimensions of a rank that is known.
pub fn unknown_dims(rank: usize) -> Result<Dims, Stop> {
    // No tensor has so many dimensions; the number comes from the model.
    if rank > 1024 {
        return invalid(format!("a rank of {rank} is too much"));
    }
    Ok(std::iter::repeat_n(Dim::Unknown, rank).collect())
}

fn shape(call: &mut Call<'_, '_>) -> Outcome {
    let Some(dims) = call.shape_of(0).cloned() else { return call.set_shape(0, [Dim::Unknown]) };
    let rank = dims.len() as i64;
    let bound = |value: i64| (if value < 0 { value.saturating_add(rank) } else { value }).clamp(0, rank);
    let start = bound(call.int_or("start", 0));
    let end = bound(call.int_or("end", rank)).max(start);
    let picked = dims[start as usize..end as usize].iter().cloned();
    call.set_shape(0, [Dim::Static(end - start)])?;
    call.set_content(0, Content::vector(picked))
}

fn size(call: &mut Call<'_, '_>) -> Outcome {
    call.set_shape(0, [])?;
    let count = product(call.shape(0)?.iter());
    call.set_content(0, Some(Content::scalar(Scalar::Int(count))))
}

fn reshape(call: &mut Call<'_, '_>) -> Outcome {
    let wanted: Dims = match call.ints("shape") {
        Some(list) => list.iter().map(|&n| Dim::Static(n)).collect(),
        None => match call.dims_in(1) {
            Ok(dims) => dims,
            Err(stop) => {
                let dims = unknown_dims(call.length(1)?)?;
                call.set_shape(0, dims)?;
                return Err(stop);
            }
        },
    };
    let input = call.shape_of(0).cloned();
    let dims = reshaped(input.as_ref(), &wanted, call.flag("allowzero"))?;
    call.set_shape(0, dims)?;
    reshape_content(call)
}

/// The shape that a Reshape to `wanted` gives: 0 copies, -1 takes what is left.
fn reshaped(input: Option<&Dims>, wanted: &[Dim], allow_zero: bool) -> Result<Dims, Stop> {
    let mut dims = Dims::with_capacity(wanted.len());
    let mut copied: SmallVec<[usize; 4]> = SmallVec::new();
    let mut open = None;
    for (i, dim) in wanted.iter().enumerate() {
        dims.push(match dim {
            Dim::Static(0) if !allow_zero => match input {
                Some(input) if i >= input.len() => {
                    return invalid(format!(
                        "dimension {i} of the new shape copies one that the input lacks"
                    ));
                }
                Some(input) => {
                    copied.push(i);
                    input[i].clone()
                }
                None => Dim::Unknown,
            },
            Dim::Static(-1) if open.replace(i).is_some() => {
                return invalid("two dimensions of the new shape are -1");
            }
            Dim::Static(-1) => Dim::Unknown,
            Dim::Static(n) if *n < 0 => return invalid(format!("the new shape has a dimension of {n}")),
            // It may be -1 or 0 when it comes to run, if nothing says otherwise.
            Dim::Symbolic(expr) if !expr.is_nonnegative() => Dim::Unknown,
            other => other.clone(),
        });
    }
    let Some(input) = input else { return Ok(dims) };
    if let Some(open) = open {
        dims[open] = rest(input, &dims, open, &copied)?;
    } else if let Some(only) = lone_unknown(wanted) {
        // With every other dimension known, the last follows from the number of elements, be it given
        // as itself or as -1.
        if let Ok(dim) = rest(input, &dims, only, &copied)
            && dim.is_known()
        {
            dims[only] = dim;
        }
    }
    check_count(input, &dims)?;
    Ok(dims)
}

fn lone_unknown(dims: &[Dim]) -> Option<usize> {
    let mut unknown = dims.iter().enumerate().filter(|(_, dim)| !dim.is_known() || !dim.is_nonnegative());
    let (only, _) = unknown.next()?;
    unknown.next().is_none().then_some(only)
}

/// What is left for one dimension once the others have taken their part of the input's elements.
fn rest(input: &Dims, dims: &Dims, open: usize, copied: &[usize]) -> Result<Dim, Stop> {
    // Dimensions that occur on both sides fall out, unless they are 0; a copied one even where unknown.
    let mut left: SmallVec<[Option<&Dim>; 4]> = input.iter().map(Some).collect();
    let mut right: SmallVec<[&Dim; 4]> = SmallVec::new();
    for (i, dim) in dims.iter().enumerate().filter(|&(i, _)| i != open) {
        let same = match copied.contains(&i) {
            true => Some(i).filter(|&i| left[i].is_some()),
            false if dim.is_known() => left.iter().position(|l| *l == Some(dim)),
            false => None,
        };
        match same {
            Some(same) if *dim != Dim::Static(0) => left[same] = None,
            _ => right.push(dim),
        }
    }
    let left = left.into_iter().flatten();
    let (total, taken) = (product(left), product(right));
    if let (Dim::Static(total), Dim::Static(taken)) = (&total, &taken) {
        return match total.checked_rem(*taken) {
            Some(0) => Ok(Dim::Static(total / taken)),
            None if *total == 0 => Ok(Dim::Unknown),
            _ => invalid(format!("{total} elements do not divide into groups of {taken}")),
        };
    }
    if taken == Dim::Static(0) {
        return Ok(Dim::Unknown);
    }
    Ok(total.div_exact(&taken).unwrap_or_else(|| total.floor_div(&taken)))
}

fn check_count(input: &Dims, dims: &Dims) -> Outcome {
    match (product(input), product(dims)) {
        (Dim::Static(from), Dim::Static(to)) if from != to => {
            invalid(format!("{from} elements cannot become {to}"))
        }
        _ => Ok(()),
    }
}

/// Follows the elements into the output's shape.
fn reshape_content(call: &mut Call<'_, '_>) -> Outcome {
    let dims = call.static_shape_out(0);
    let content = dims.and_then(|dims| call.content(0)?.reshaped(&dims));
    call.set_content(0, content)
}

fn flatten(call: &mut Call<'_, '_>) -> Outcome {
    let Some(shape) = call.shape_of(0).cloned() else {
        return call.set_shape(0, [Dim::Unknown, Dim::Unknown]);
    };
    let (given, rank) = (call.int_or("axis", 1), shape.len() as i64);
    if given < -rank || given > rank {
        return invalid(format!("axis {given} is outside of rank {rank}"));
    }
    let at = (if given < 0 { given + rank } else { given }) as usize;
    call.set_shape(0, [product(&shape[..at]), product(&shape[at..])])?;
    reshape_content(call)
}

/// Axes from the attribute of old versions or the input of new ones; `None` where neither is there.
fn given_axes(call: &Call<'_, '_>) -> Result<Option<Vec<i64>>, Stop> {
    match call.ints("axes") {
        Some(list) => Ok(Some(list.into_owned())),
        None if call.has(1) => call.ints_in(1).map(Some),
        None => Ok(None),
    }
}

fn squeeze(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let dropped: SmallVec<[usize; 4]> = match given_axes(call) {
        // Whether an empty list means none or all differs between implementations.
        Ok(Some(list)) if list.is_empty() && shape.iter().any(|d| d.value().is_none_or(|n| n == 1)) => {
            return Err(Stop::Unknown);
        }
        Ok(Some(list)) => axes(&list, shape.len())?,
        Ok(None) if shape.iter().all(Dim::is_static) => {
            (0..shape.len()).filter(|&i| shape[i] == Dim::Static(1)).collect()
        }
        // Any dimension that is not known may be 1.
        Ok(None) => return Err(Stop::Unknown),
        Err(stop) => {
            let left = shape.len().saturating_sub(call.length(1)?);
            call.set_shape(0, unknown_dims(left)?)?;
            return Err(stop);
        }
    };
    for &i in &dropped {
        if shape[i].value().is_some_and(|n| n != 1) {
            return invalid(format!("axis {i} is {}, and only 1 can be squeezed out", shape[i]));
        }
    }
    let kept = shape.iter().enumerate().filter(|(i, _)| !dropped.contains(i)).map(|(_, dim)| dim.clone());
    call.set_shape(0, kept)?;
    reshape_content(call)
}

fn unsqueeze(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let list = match given_axes(call) {
        Ok(Some(list)) => list,
        Ok(None) => return invalid("no axes are given"),
        Err(stop) => {
            let rank = shape.len().saturating_add(call.length(1)?);
            call.set_shape(0, unknown_dims(rank)?)?;
            return Err(stop);
        }
    };
    let rank = shape.len() + list.len();
    let added = axes(&list, rank)?;
    let mut rest = shape.iter();
    let dims: Option<Dims> = (0..rank)
        .map(|i| if added.contains(&i) { Some(Dim::Static(1)) } else { rest.next().cloned() })
        .collect();
    call.set_shape(0, dims.ok_or(Stop::Unknown)?)?;
    reshape_content(call)
}

fn transpose(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let order: SmallVec<[usize; 4]> = match call.ints("perm") {
        Some(list) if list.len() != shape.len() => {
            return invalid(format!("`perm` has {} axes for a rank of {}", list.len(), shape.len()));
        }
        Some(list) => axes(&list, shape.len())?,
        None => (0..shape.len()).rev().collect(),
    };
    call.set_shape(0, order.iter().map(|&i| shape[i].clone()))?;
    let content = call.content(0).zip(call.static_shape_out(0)).and_then(|(content, dims)| {
        Content::build(&dims, |index| {
            let mut source: SmallVec<[usize; 4]> = SmallVec::from_elem(0, order.len());
            for (&from, &i) in order.iter().zip(index) {
                source[from] = i;
            }
            content.at(&source).cloned()
        })
    });
    call.set_content(0, content)
}

fn expand(call: &mut Call<'_, '_>) -> Outcome {
    let input = call.shape(0)?;
    let wanted: Dims = match call.dims_in(1) {
        // What may be negative is no dimension.
        Ok(dims) => dims.into_iter().map(|d| if d.is_nonnegative() { d } else { Dim::Unknown }).collect(),
        Err(_) => unknown_dims(call.length(1)?)?,
    };
    call.set_shape(0, broadcast_shapes([&input, &wanted])?)?;
    let dims = call.static_shape_out(0);
    let content = call
        .content(0)
        .zip(dims)
        .and_then(|(content, dims)| Content::broadcast(&dims, &[content], |operands| operands[0].clone()));
    call.set_content(0, content)
}

fn tile(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    if call.since() < 6 {
        let (tiles, at) = (call.dim_in(1)?, axis(call.int_in(2)?, shape.len())?);
        let tiled =
            shape.iter().enumerate().map(|(i, dim)| if i == at { dim.mul(&tiles) } else { dim.clone() });
        return call.set_shape(0, tiled.collect::<Dims>());
    }
    let Ok(repeats) = call.dims_in(1) else {
        return call.set_shape(0, unknown_dims(shape.len())?);
    };
    if repeats.len() != shape.len() {
        return invalid(format!("{} repeats for a rank of {}", repeats.len(), shape.len()));
    }
    call.set_shape(0, shape.iter().zip(&repeats).map(|(dim, by)| dim.mul(by)))?;
    let dims = call.static_shape_out(0);
    let content = call.content(0).zip(dims).and_then(|(content, dims)| {
        Content::build(&dims, |index| {
            let wrap = index.iter().zip(content.dims()).map(|(&i, &n)| i.checked_rem(n));
            content.at(&wrap.collect::<Option<SmallVec<[usize; 4]>>>()?).cloned()
        })
    });
    call.set_content(0, content)
}

fn block(call: &Call<'_, '_>) -> Result<Dim, Stop> {
    match call.int("blocksize") {
        Some(n) if n > 0 => Ok(Dim::Static(n)),
        _ => invalid("`blocksize` has to be 1 or more"),
    }
}

fn depth_to_space(call: &mut Call<'_, '_>) -> Outcome {
    let block = block(call)?;
    let [n, c, h, w] = four(call)?;
    call.set_shape(0, [n, c.floor_div(&block.mul(&block)), h.mul(&block), w.mul(&block)])
}

fn space_to_depth(call: &mut Call<'_, '_>) -> Outcome {
    let block = block(call)?;
    let [n, c, h, w] = four(call)?;
    call.set_shape(0, [n, c.mul(&block).mul(&block), h.floor_div(&block), w.floor_div(&block)])
}

fn four(call: &Call<'_, '_>) -> Result<[Dim; 4], Stop> {
    let shape = call.shape_of_rank(0, 4)?;
    let [n, c, h, w] = &shape[..] else { return Err(Stop::Unknown) };
    Ok([n.clone(), c.clone(), h.clone(), w.clone()])
}
