//! Shapes: asking for them, and giving the same elements another one.

use byoc_graph::{Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, offsets, strides};
use super::movement::take;
use super::numbers::{from_whole, whole_vector};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("DepthToSpace", 1, depth_to_space),
    onnx("Dropout", 1, dropout),
    onnx("Expand", 8, expand),
    onnx("Flatten", 1, flatten),
    onnx("Identity", 1, identity),
    onnx("Reshape", 1, reshape),
    onnx("Shape", 1, shape),
    onnx("Size", 1, size),
    onnx("SpaceToDepth", 1, space_to_depth),
    onnx("Squeeze", 1, squeeze),
    onnx("Tile", 6, tile),
    onnx("Transpose", 1, transpose),
    onnx("Unsqueeze", 1, unsqueeze),
];

fn one(tensor: Tensor) -> Outputs {
    Ok(vec![tensor.into()])
}

fn identity(call: &Call<'_>) -> Outputs {
    Ok(vec![call.datum(0)?.clone()])
}

/// In inference the input, and a mask that keeps everything.
fn dropout(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let training = call.tensor_opt(2)?.is_some() && call.whole_scalar(2)? != 0;
    let ratio = if call.tensor_opt(1)?.is_some() { call.float_scalar(1)? } else { 0.5 };
    if training && ratio != 0.0 {
        return super::random::dropout(call, tensor, ratio);
    }
    let mask = if call.opset() < 10 {
        // The mask had the type of the data.
        let ones = vec![1.0; layout::count(tensor.dims())?];
        super::numbers::from_floats(tensor.dtype(), tensor.dims(), &ones)?
    } else {
        Tensor::from_bools(tensor.dims(), vec![true; layout::count(tensor.dims())?])?
    };
    Ok(vec![tensor.clone().into(), mask.into()])
}

fn shape(call: &Call<'_>) -> Outputs {
    let dims = call.tensor(0)?.dims();
    let rank = dims.len() as i64;
    let bound = |name: &str, missing: i64| -> Result<usize, Fault> {
        let at = call.int_opt(name)?.unwrap_or(missing);
        Ok((if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize)
    };
    let (start, end) = (bound("start", 0)?, bound("end", rank)?);
    let part = dims.get(start..end).unwrap_or_default();
    Ok(vec![whole_vector(part.iter().map(|&d| d as i64).collect())?])
}

fn size(call: &Call<'_>) -> Outputs {
    Ok(vec![from_whole(&[], vec![call.tensor(0)?.len() as i64])?])
}

fn reshape(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let wanted = if call.opset() < 5 { call.ints("shape")? } else { call.whole(1)? };
    one(tensor.reshaped(&resolve(tensor.dims(), &wanted, call.flag("allowzero")?)?)?)
}

/// The dimensions that a Reshape asks for: 0 copies one of the input, -1 is what is left.
fn resolve(from: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>, Fault> {
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, &dim) in wanted.iter().enumerate() {
        dims.push(match dim {
            -1 => {
                ensure!(open.replace(i).is_none(), "two dimensions of {wanted:?} are left open");
                1
            }
            0 if !allow_zero => {
                *from.get(i).ok_or_else(|| invalid!("no dimension {i} of {from:?} to copy"))?
            }
            dim => layout::size(dim)?,
        });
    }
    if let Some(open) = open {
        let (all, given) = (layout::count(from)?, layout::count(&dims)?);
        ensure!(given != 0 && all.is_multiple_of(given), "{from:?} cannot be reshaped to {wanted:?}");
        dims[open] = all / given;
    }
    ensure!(layout::count(from)? == layout::count(&dims)?, "{from:?} cannot be reshaped to {wanted:?}");
    Ok(dims)
}

fn flatten(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (axis, rank) = (call.int("axis")?, tensor.rank());
    let at = if axis == rank as i64 { rank } else { layout::axis(axis, rank)? };
    let (front, back) = tensor.dims().split_at(at);
    one(tensor.reshaped(&[layout::count(front)?, layout::count(back)?])?)
}

/// Axes from an input, or from the attribute of earlier opsets.
pub(super) fn axes_of(call: &Call<'_>) -> Result<Option<Vec<i64>>, Fault> {
    match call.whole_opt(1)? {
        Some(axes) => Ok(Some(axes)),
        None => call.ints_opt("axes"),
    }
}

fn squeeze(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let dims = tensor.dims();
    let axes = match axes_of(call)? {
        Some(axes) => layout::axes(&axes, dims.len())?,
        None => (0..dims.len()).filter(|&a| dims[a] == 1).collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&a| dims[a] != 1) {
        return Err(invalid!("axis {axis} of {dims:?} cannot be squeezed"));
    }
    let kept: Vec<usize> = (0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect();
    one(tensor.reshaped(&kept)?)
}

fn unsqueeze(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let axes = axes_of(call)?.ok_or_else(|| invalid!("no axes to put in"))?;
    let axes = layout::axes(&axes, tensor.rank() + axes.len())?;
    let mut dims = tensor.dims().to_vec();
    axes.iter().for_each(|&axis| dims.insert(axis, 1));
    one(tensor.reshaped(&dims)?)
}

fn expand(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let wanted = layout::sizes(&call.whole(1)?)?;
    let dims = layout::broadcast([tensor.dims(), &wanted])?;
    one(take(&[tensor], &dims, &layout::broadcast_offsets(tensor.dims(), &dims)?)?)
}

/// A tensor with its axes in another order.
pub(super) fn permuted(tensor: &Tensor, order: &[usize]) -> Result<Tensor, Fault> {
    let own = strides(tensor.dims());
    let dims: Vec<usize> = order.iter().map(|&a| tensor.dims()[a]).collect();
    let steps: Vec<isize> = order.iter().map(|&a| own[a] as isize).collect();
    take(&[tensor], &dims, &offsets(&dims, &steps, 0)?)
}

fn transpose(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let rank = tensor.rank();
    let order = match call.ints_opt("perm")? {
        Some(order) => order.iter().map(|&a| layout::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    ensure!(sorted.into_iter().eq(0..rank), "{order:?} is not an order of {rank} axes");
    one(permuted(tensor, &order)?)
}

fn tile(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let repeats = layout::sizes(&call.whole(1)?)?;
    let dims = tensor.dims();
    ensure!(repeats.len() == dims.len(), "{} repeats for a tensor of rank {}", repeats.len(), dims.len());
    // Each axis becomes two: how often it is repeated, and itself.
    let pairs: Vec<usize> = repeats.iter().zip(dims).flat_map(|(&r, &d)| [r, d]).collect();
    let steps: Vec<isize> = strides(dims).iter().flat_map(|&s| [0, s as isize]).collect();
    layout::count(&pairs)?;
    let tiled: Vec<usize> = repeats.iter().zip(dims).map(|(&r, &d)| r.saturating_mul(d)).collect();
    one(take(&[tensor], &tiled, &offsets(&pairs, &steps, 0)?)?)
}

/// The input as `[n, c, h, w]`, and the size of blocks.
fn image_blocks<'a>(call: &Call<'a>) -> Result<(&'a Tensor, [usize; 4], usize), Fault> {
    let tensor = call.tensor(0)?;
    let &[n, c, h, w] = tensor.dims() else {
        return Err(invalid!("an image batch of rank 4 is needed, not {:?}", tensor.dims()));
    };
    let block = layout::size(call.int("blocksize")?)?;
    ensure!(block > 0 && block < 1 << 16, "blocks of size {block}");
    Ok((tensor, [n, c, h, w], block))
}

fn rearranged(tensor: &Tensor, split: &[usize], order: &[usize], dims: &[usize]) -> Outputs {
    one(permuted(&tensor.reshaped(split)?, order)?.reshaped(dims)?)
}

/// Whether the place in a block is the faster part of a channel.
fn columns_first(call: &Call<'_>) -> Result<bool, Fault> {
    match call.text_opt("mode")?.unwrap_or("DCR") {
        "DCR" => Ok(false),
        "CRD" => Ok(true),
        other => {
            let why = format!("is `{other}`, which is not known");
            Err(Fault::Attribute { name: "mode".into(), why })
        }
    }
}

fn depth_to_space(call: &Call<'_>) -> Outputs {
    let (tensor, [n, c, h, w], b) = image_blocks(call)?;
    ensure!(c.is_multiple_of(b * b), "{c} channels do not make blocks of {b}×{b}");
    let depth = c / (b * b);
    let result = [n, depth, h.saturating_mul(b), w.saturating_mul(b)];
    match columns_first(call)? {
        true => rearranged(tensor, &[n, depth, b, b, h, w], &[0, 1, 4, 2, 5, 3], &result),
        false => rearranged(tensor, &[n, b, b, depth, h, w], &[0, 3, 4, 1, 5, 2], &result),
    }
}

fn space_to_depth(call: &Call<'_>) -> Outputs {
    let (tensor, [n, c, h, w], b) = image_blocks(call)?;
    ensure!(h.is_multiple_of(b) && w.is_multiple_of(b), "{h}×{w} is not made of blocks of {b}×{b}");
    let result = [n, c.saturating_mul(b * b), h / b, w / b];
    let order = if columns_first(call)? { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    rearranged(tensor, &[n, c, h / b, b, w / b, b], &order, &result)
}

/// A sequence of these items.
pub(super) fn sequence(items: Vec<Datum>) -> Datum {
    let element = items.first().and_then(|d| d.as_tensor()).map(|t| {
        let ty = byoc_graph::TensorType { dtype: Some(t.dtype()), shape: None };
        byoc_graph::Type::Tensor(ty)
    });
    Datum::Sequence { element, items }
}
