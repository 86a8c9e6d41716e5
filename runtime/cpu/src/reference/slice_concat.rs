//! Cutting tensors and putting them together: Slice, Split, Concat, Pad, …

use byoc_graph::{Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, offsets, strides};
use super::movement::{take, zero};
use super::numbers;
use super::registry::{Entry, onnx};
use super::shape;

pub(super) const OPS: &[Entry] = &[
    onnx("CenterCropPad", 18, center_crop_pad),
    onnx("Concat", 1, concat),
    onnx("ConcatFromSequence", 11, concat_from_sequence),
    onnx("DynamicSlice", 1, slice),
    onnx("Pad", 1, pad),
    onnx("Slice", 1, slice),
    onnx("Split", 1, split),
    onnx("SplitToSequence", 11, split_to_sequence),
    onnx("Trilu", 14, trilu),
];

/// The part of `tensor` that begins at `start` and takes `dims` elements along each axis.
pub(super) fn part(tensor: &Tensor, start: &[usize], dims: &[usize]) -> Result<Tensor, Fault> {
    let own = strides(tensor.dims());
    let first = start.iter().zip(&own).map(|(&s, &stride)| s * stride).sum();
    let steps: Vec<isize> = own.iter().map(|&s| s as isize).collect();
    take(&[tensor], dims, &offsets(dims, &steps, first)?)
}

/// The part of `tensor` from `start` that takes `len` along one axis.
pub(super) fn part_along(tensor: &Tensor, axis: usize, start: usize, len: usize) -> Result<Tensor, Fault> {
    let (mut starts, mut dims) = (vec![0; tensor.rank()], tensor.dims().to_vec());
    (starts[axis], dims[axis]) = (start, len);
    part(tensor, &starts, &dims)
}

/// Starts, ends, axes and steps of a Slice.
type Cuts = (Vec<i64>, Vec<i64>, Option<Vec<i64>>, Option<Vec<i64>>);

fn cuts(call: &Call<'_>) -> Result<Cuts, Fault> {
    if call.opset() < 10 && &*call.node.op.name == "Slice" {
        return Ok((call.ints("starts")?, call.ints("ends")?, call.ints_opt("axes")?, None));
    }
    Ok((call.whole(1)?, call.whole(2)?, call.whole_opt(3)?, call.whole_opt(4)?))
}

fn slice(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (starts, ends, axes, steps) = cuts(call)?;
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    let fits = [ends.len(), axes.len(), steps.len()].iter().all(|&n| n == starts.len());
    ensure!(fits, "starts, ends, axes and steps differ in number");
    let mut dims = tensor.dims().to_vec();
    let own = strides(&dims);
    let mut jumps: Vec<isize> = own.iter().map(|&s| s as isize).collect();
    let mut first = 0;
    for (i, &axis) in axes.iter().enumerate() {
        let axis = layout::axis(axis, dims.len())?;
        let (start, len) = cut(tensor.dims()[axis], starts[i], ends[i], steps[i])?;
        first += start * own[axis];
        dims[axis] = len;
        // A step beyond the dimension takes one element, whatever it is.
        jumps[axis] = own[axis] as isize * if len > 1 { steps[i] as isize } else { 1 };
    }
    Ok(vec![take(&[tensor], &dims, &offsets(&dims, &jumps, first)?)?.into()])
}

/// Where a slice of a dimension begins, and how many elements it takes.
fn cut(dim: usize, start: i64, end: i64, step: i64) -> Result<(usize, usize), Fault> {
    ensure!(step != 0, "a step of zero leads nowhere");
    let dim = dim as i64;
    let bound =
        |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(dim) } else { at }).clamp(low, high);
    let (start, span) = if step > 0 {
        let start = bound(start, 0, dim);
        (start, bound(end, 0, dim) - start)
    } else {
        let start = bound(start, 0, dim - 1);
        (start, start - bound(end, -1, dim - 1))
    };
    if span <= 0 || dim == 0 {
        return Ok((0, 0));
    }
    Ok((start as usize, (span as u64).div_ceil(step.unsigned_abs()) as usize))
}

/// Tensors laid one behind the other along an axis.
pub(super) fn concatenated(tensors: &[&Tensor], axis: i64) -> Result<Tensor, Fault> {
    let first = tensors.first().ok_or(Fault::Missing(0))?;
    let axis = layout::axis(axis, first.rank())?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    for tensor in tensors {
        let same = |(a, (x, y)): (usize, (&usize, &usize))| a == axis || x == y;
        let fits =
            tensor.rank() == dims.len() && tensor.dims().iter().zip(first.dims()).enumerate().all(same);
        ensure!(fits, "{:?} and {:?} cannot be joined along axis {axis}", first.dims(), tensor.dims());
        dims[axis] += tensor.dims()[axis];
    }
    let mut picks = Vec::with_capacity(layout::count(&dims)?);
    let blocks: Vec<usize> =
        tensors.iter().map(|t| layout::count(&t.dims()[axis..])).collect::<Result<_, _>>()?;
    for row in 0..layout::count(&dims[..axis])? {
        let mut base = 0;
        for (tensor, &block) in tensors.iter().zip(&blocks) {
            picks.extend(base + row * block..base + (row + 1) * block);
            base += tensor.len();
        }
    }
    take(tensors, &dims, &picks)
}

fn concat(call: &Call<'_>) -> Outputs {
    // Opset 1 had a default axis; the schema knows it.
    Ok(vec![concatenated(&call.tensors()?, call.int("axis")?)?.into()])
}

fn sequence_tensors<'a>(call: &Call<'a>, i: usize) -> Result<Vec<&'a Tensor>, Fault> {
    let tensor = |d: &'a Datum| {
        d.as_tensor().ok_or(Fault::Kind { input: i, got: d.kind(), expected: "sequence of tensors" })
    };
    call.sequence(i)?.iter().map(tensor).collect()
}

fn concat_from_sequence(call: &Call<'_>) -> Outputs {
    let tensors = sequence_tensors(call, 0)?;
    let axis = call.int("axis")?;
    if !call.flag("new_axis")? {
        return Ok(vec![concatenated(&tensors, axis)?.into()]);
    }
    let rank = tensors.first().ok_or_else(|| invalid!("an empty sequence cannot be joined"))?.rank();
    let at = layout::axis(axis, rank + 1)?;
    let widen = |t: &&Tensor| {
        ensure!(t.rank() == rank, "the items of the sequence differ in rank");
        let mut dims = t.dims().to_vec();
        dims.insert(at, 1);
        Ok(t.reshaped(&dims)?)
    };
    let wide: Vec<Tensor> = tensors.iter().map(widen).collect::<Result<_, Fault>>()?;
    Ok(vec![concatenated(&wide.iter().collect::<Vec<_>>(), at as i64)?.into()])
}

fn parts(tensor: &Tensor, axis: usize, sizes: &[usize]) -> Result<Vec<Tensor>, Fault> {
    let dim = tensor.dims()[axis];
    let total = sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s));
    ensure!(total == Some(dim), "parts {sizes:?} do not make up a dimension of {dim}");
    let mut start = 0;
    let mut next = |&len: &usize| {
        let found = part_along(tensor, axis, start, len);
        start += len;
        found
    };
    sizes.iter().map(&mut next).collect()
}

/// The sizes of parts of `len` elements each, the last one smaller where that does not come out even.
fn chunk_sizes(dim: usize, len: usize) -> Result<Vec<usize>, Fault> {
    ensure!(len > 0 || dim == 0, "parts of size zero do not make up a dimension of {dim}");
    Ok((0..dim).step_by(len.max(1)).map(|start| len.min(dim - start)).collect())
}

fn split(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let axis = layout::axis(call.int("axis")?, tensor.rank())?;
    let dim = tensor.dims()[axis];
    let given = match call.whole_opt(1)? {
        Some(sizes) => Some(sizes),
        None => call.ints_opt("split")?,
    };
    let sizes = match given {
        Some(sizes) => layout::sizes(&sizes)?,
        None => {
            let n = match call.int_opt("num_outputs")? {
                Some(n) => layout::size(n)?,
                None => call.node.outputs().len(),
            };
            ensure!(n > 0 && n <= call.node.outputs().len().max(1), "a tensor cannot be split in {n}");
            let mut sizes = chunk_sizes(dim, dim.div_ceil(n))?;
            sizes.resize(n, 0);
            sizes
        }
    };
    Ok(parts(tensor, axis, &sizes)?.into_iter().map(Datum::from).collect())
}

fn split_to_sequence(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let axis = layout::axis(call.int("axis")?, tensor.rank())?;
    let dim = tensor.dims()[axis];
    let (sizes, keep) = match call.tensor_opt(1)? {
        None => (vec![1; dim], call.int("keepdims")? != 0),
        Some(split) if split.rank() == 0 => (chunk_sizes(dim, layout::size(call.whole_scalar(1)?)?)?, true),
        Some(_) => (layout::sizes(&call.whole(1)?)?, true),
    };
    let mut kept = tensor.dims().to_vec();
    kept.remove(axis);
    let item = |t: Tensor| Ok(Datum::from(if keep { t } else { t.reshaped(&kept)? }));
    let items = parts(tensor, axis, &sizes)?.into_iter().map(item).collect::<Result<Vec<_>, Fault>>()?;
    Ok(vec![shape::sequence(items)])
}

/// What stands at a place outside the tensor.
#[derive(Clone, Copy)]
enum Edge {
    Constant,
    Repeat,
    Reflect,
    Wrap,
}

impl Edge {
    /// Which element of a dimension stands at `at`; `None` for the constant.
    fn source(self, at: i64, dim: usize) -> Option<usize> {
        let n = dim as i64;
        if (0..n).contains(&at) {
            return Some(at as usize);
        }
        match self {
            Edge::Constant => None,
            Edge::Repeat => Some(at.clamp(0, n - 1) as usize),
            Edge::Wrap => Some(at.rem_euclid(n) as usize),
            Edge::Reflect if n == 1 => Some(0),
            Edge::Reflect => {
                let period = 2 * (n - 1);
                let at = at.rem_euclid(period);
                Some(at.min(period - at) as usize)
            }
        }
    }
}

/// Pads before and behind each axis; negative ones cut.
fn pads(call: &Call<'_>, rank: usize) -> Result<Vec<(i64, i64)>, Fault> {
    let given = match call.opset() {
        _ if call.datum_opt(1).is_some() => call.whole(1)?,
        1 => call.ints("paddings")?,
        ..11 => call.ints("pads")?,
        _ => call.whole(1)?,
    };
    let axes = match call.whole_opt(3)? {
        Some(axes) => axes.iter().map(|&a| layout::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    ensure!(given.len() == 2 * axes.len(), "{} pads for {} axes", given.len(), axes.len());
    let mut pads = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[axis] = (given[i], given[axes.len() + i]);
    }
    Ok(pads)
}

pub(super) fn pad(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let pads = pads(call, tensor.rank())?;
    let edge = match call.text("mode")? {
        "constant" => Edge::Constant,
        "edge" => Edge::Repeat,
        "reflect" => Edge::Reflect,
        "wrap" => Edge::Wrap,
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "mode".into(), why });
        }
    };
    let by_attributes = call.opset() < 11 && call.datum_opt(1).is_none();
    let fill = match (by_attributes, call.tensor_opt(2)?) {
        (true, _) => numbers::from_floats_any(tensor.dtype(), &[], &[call.float("value")?])?,
        (false, Some(value)) if !value.is_empty() => value.clone(),
        _ => zero(tensor.dtype())?,
    };
    Ok(vec![padded(tensor, &pads, edge, &fill)?.into()])
}

fn padded(tensor: &Tensor, pads: &[(i64, i64)], edge: Edge, fill: &Tensor) -> Result<Tensor, Fault> {
    let own = strides(tensor.dims());
    let mut dims = Vec::with_capacity(pads.len());
    // For each axis, where each place of the result comes from.
    let mut sources: Vec<Vec<Option<usize>>> = Vec::with_capacity(pads.len());
    for (axis, &(before, behind)) in pads.iter().enumerate() {
        let dim = tensor.dims()[axis];
        let size = (dim as i64).checked_add(before).and_then(|n| n.checked_add(behind));
        let size = size.ok_or_else(|| invalid!("pads {pads:?} overflow"))?.max(0);
        dims.push(layout::size(size)?);
        layout::count(&dims)?;
        ensure!(
            dim > 0 || size == 0 || matches!(edge, Edge::Constant),
            "an empty axis has no edge to pad with"
        );
        let source = |at: i64| edge.source(at - before, dim).map(|i| i * own[axis]);
        sources.push((0..size).map(source).collect());
    }
    let outside = tensor.len();
    let mut picks = vec![Some(0); 1];
    for source in &sources {
        let next = picks.iter().flat_map(|&base| source.iter().map(move |s| Some(base? + (*s)?)));
        picks = next.collect();
    }
    let picks: Vec<usize> = picks.into_iter().map(|p| p.unwrap_or(outside)).collect();
    take(&[tensor, fill], &dims, &picks)
}

fn center_crop_pad(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let rank = tensor.rank();
    let axes = match call.ints_opt("axes")? {
        Some(axes) => axes.iter().map(|&a| layout::axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let wanted = layout::sizes(&call.whole(1)?)?;
    ensure!(wanted.len() == axes.len(), "{} sizes for {} axes", wanted.len(), axes.len());
    let mut pads = vec![(0, 0); rank];
    for (&axis, &size) in axes.iter().zip(&wanted) {
        let missing = size as i64 - tensor.dims()[axis] as i64;
        // An odd element is padded behind, and cut behind as well.
        let before = missing.div_euclid(2) + i64::from(missing < 0 && missing % 2 != 0);
        pads[axis] = (before, missing - before);
    }
    Ok(vec![padded(tensor, &pads, Edge::Constant, &zero(tensor.dtype())?)?.into()])
}

pub(super) fn trilu(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let &[.., rows, columns] = tensor.dims() else {
        return Err(invalid!("a matrix is needed, not {:?}", tensor.dims()));
    };
    let k = if call.tensor_opt(1)?.is_some() { call.whole_scalar(1)? } else { 0 };
    let upper = call.int("upper")? != 0;
    let outside = tensor.len();
    let pick = |i: usize| {
        let (row, column) = (i / columns % rows, i % columns);
        let beyond = (column as i64 - row as i64).cmp(&k);
        let kept = if upper { beyond.is_ge() } else { beyond.is_le() };
        if kept { i } else { outside }
    };
    let picks: Vec<usize> = (0..outside).map(pick).collect();
    Ok(vec![take(&[tensor, &zero(tensor.dtype())?], tensor.dims(), &picks)?.into()])
}
