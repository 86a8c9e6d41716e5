//! Elements chosen by index: Gather and Scatter in all their forms.

use byoc_graph::{DType, Tensor};

use super::call::{Call, Outputs};
use super::elementwise_binary::{maximum, minimum};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes, strides};
use super::movement::take;
use super::numbers::{self, Numbers};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("Compress", 9, compress),
    onnx("Gather", 1, gather),
    onnx("GatherElements", 11, gather_elements),
    onnx("GatherND", 11, gather_nd),
    onnx("NonZero", 9, non_zero),
    onnx("ReverseSequence", 10, reverse_sequence),
    onnx("Scatter", 9, scatter_elements),
    onnx("ScatterElements", 11, scatter_elements),
    onnx("ScatterND", 11, scatter_nd),
    onnx("TensorScatter", 24, tensor_scatter),
    onnx("Unique", 11, unique),
];

fn gather(call: &Call<'_>) -> Outputs {
    let (data, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = layout::axis(call.int("axis")?, data.rank())?;
    let dim = data.dims()[axis];
    let chosen: Vec<usize> =
        numbers::whole(indices)?.iter().map(|&i| layout::index(i, dim)).collect::<Result<_, _>>()?;
    Ok(vec![gathered(data, axis, &chosen, indices.dims())?.into()])
}

/// The slices of `data` at `chosen` places of an axis, which becomes `as_dims`.
pub(super) fn gathered(
    data: &Tensor,
    axis: usize,
    chosen: &[usize],
    as_dims: &[usize],
) -> Result<Tensor, Fault> {
    let (front, back) = (&data.dims()[..axis], &data.dims()[axis + 1..]);
    let dims: Vec<usize> = [front, as_dims, back].concat();
    let mut picks = Vec::with_capacity(layout::count(&dims)?);
    let (rows, inner) = (layout::count(front)?, layout::count(back)?);
    for row in 0..rows {
        for &i in chosen {
            let start = (row * data.dims()[axis] + i) * inner;
            picks.extend(start..start + inner);
        }
    }
    take(&[data], &dims, &picks)
}

/// For each element of `indices`, where in `data` it points: its own place, but along `axis` what it says.
fn element_offsets(data: &Tensor, indices: &Tensor, axis: usize) -> Result<Vec<usize>, Fault> {
    let dims = indices.dims();
    let fits = dims.len() == data.rank()
        && dims.iter().zip(data.dims()).enumerate().all(|(a, (i, d))| a == axis || i <= d);
    ensure!(fits, "indices of shape {dims:?} do not fit data of shape {:?}", data.dims());
    let mut own: Vec<isize> = strides(data.dims()).iter().map(|&s| s as isize).collect();
    let stride = own[axis] as usize;
    own[axis] = 0;
    let bases = layout::offsets(dims, &own, 0)?;
    let dim = data.dims()[axis];
    let whole = numbers::whole(indices)?;
    bases.into_iter().zip(whole).map(|(base, i)| Ok(base + layout::index(i, dim)? * stride)).collect()
}

fn gather_elements(call: &Call<'_>) -> Outputs {
    let (data, indices) = (call.tensor(0)?, call.tensor(1)?);
    let axis = layout::axis(call.int("axis")?, data.rank())?;
    let picks = element_offsets(data, indices, axis)?;
    Ok(vec![take(&[data], indices.dims(), &picks)?.into()])
}

/// For each row of an `ND` index, where in `data` the slice begins that it names.
struct Slices {
    starts: Vec<usize>,
    /// Elements of a slice, and its shape.
    len: usize,
    dims: Vec<usize>,
}

fn slices(data: &Tensor, indices: &Tensor, batch: usize) -> Result<Slices, Fault> {
    let (&depth, front) = indices.dims().split_last().ok_or_else(|| invalid!("indices are a scalar"))?;
    ensure!(batch <= front.len() && batch + depth <= data.rank(), "indices reach beyond the data's rank");
    ensure!(front[..batch] == data.dims()[..batch], "batches of data and indices differ");
    let own = strides(data.dims());
    let dims = data.dims()[batch + depth..].to_vec();
    let batches = layout::count(&front[..batch])?;
    let rows = layout::count(front)?;
    let batch_len = layout::count(&data.dims()[batch..])?;
    let whole = numbers::whole(indices)?;
    let batch_rows = rows.checked_div(batches).unwrap_or(0).max(1);
    let start = |row: usize| {
        let base = row / batch_rows * batch_len;
        let index = &whole[row * depth..(row + 1) * depth];
        index
            .iter()
            .enumerate()
            .try_fold(base, |at, (k, &i)| Ok(at + layout::index(i, data.dims()[batch + k])? * own[batch + k]))
    };
    Ok(Slices {
        starts: (0..rows).map(start).collect::<Result<_, Fault>>()?,
        len: layout::count(&dims)?,
        dims,
    })
}

pub(super) fn gather_nd(call: &Call<'_>) -> Outputs {
    let (data, indices) = (call.tensor(0)?, call.tensor(1)?);
    let batch = layout::size(call.int_opt("batch_dims")?.unwrap_or(0))?;
    let slices = slices(data, indices, batch)?;
    let front = &indices.dims()[..indices.rank() - 1];
    let dims: Vec<usize> = [front, &slices.dims].concat();
    layout::count(&dims)?;
    let picks: Vec<usize> = slices.starts.iter().flat_map(|&s| s..s + slices.len).collect();
    Ok(vec![take(&[data], &dims, &picks)?.into()])
}

/// Puts each element of `updates` at its place in `data`, or combines it with what is there.
fn scattered(call: &Call<'_>, data: &Tensor, updates: &Tensor, places: &[usize]) -> Result<Tensor, Fault> {
    let how = call.text_opt("reduction")?.unwrap_or("none");
    if how == "none" {
        let mut picks: Vec<usize> = (0..data.len()).collect();
        places.iter().enumerate().for_each(|(i, &at)| picks[at] = data.len() + i);
        return take(&[data, updates], data.dims(), &picks);
    }
    let float: fn(f64, f64) -> f64 = match how {
        "add" => |a, b| a + b,
        "mul" => |a, b| a * b,
        "max" => maximum,
        "min" => minimum,
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "reduction".into(), why });
        }
    };
    let int: fn(i128, i128) -> i128 = match how {
        "add" => i128::wrapping_add,
        "mul" => i128::wrapping_mul,
        "max" => Ord::max,
        _ => Ord::min,
    };
    let result = match (numbers::numbers(data)?, numbers::numbers(updates)?) {
        (Numbers::Floats(mut values), Numbers::Floats(updates)) => {
            places.iter().zip(updates).for_each(|(&at, x)| values[at] = float(values[at], x));
            Numbers::Floats(values)
        }
        (Numbers::Ints(mut values), Numbers::Ints(updates)) => {
            places.iter().zip(updates).for_each(|(&at, x)| values[at] = int(values[at], x));
            Numbers::Ints(values)
        }
        _ => return Err(invalid!("data and updates differ in type")),
    };
    numbers::from_numbers(data.dtype(), data.dims(), &result)
}

fn scatter_elements(call: &Call<'_>) -> Outputs {
    let (data, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    ensure!(indices.dims() == updates.dims(), "indices {:?}, updates {:?}", indices.dims(), updates.dims());
    let axis = layout::axis(call.int("axis")?, data.rank())?;
    let places = element_offsets(data, indices, axis)?;
    Ok(vec![scattered(call, data, updates, &places)?.into()])
}

fn scatter_nd(call: &Call<'_>) -> Outputs {
    let (data, indices, updates) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let slices = slices(data, indices, 0)?;
    let places: Vec<usize> = slices.starts.iter().flat_map(|&s| s..s + slices.len).collect();
    ensure!(places.len() == updates.len(), "{} updates for {} places", updates.len(), places.len());
    Ok(vec![scattered(call, data, updates, &places)?.into()])
}

/// Writes `update` into a cache at each batch's write index, along one axis.
fn tensor_scatter(call: &Call<'_>) -> Outputs {
    let (cache, update) = (call.tensor(0)?, call.tensor(1)?);
    let rank = cache.rank();
    let axis = layout::axis(call.int("axis")?, rank)?;
    ensure!(axis > 0, "the batch axis cannot be written along");
    let fits = update.rank() == rank
        && (0..rank).all(|a| {
            update.dims()[a] == cache.dims()[a] || (a == axis && update.dims()[a] <= cache.dims()[a])
        });
    ensure!(fits, "an update of shape {:?} does not fit a cache of {:?}", update.dims(), cache.dims());
    let starts = call.whole_opt(2)?.unwrap_or_else(|| vec![0; cache.dims()[0]]);
    ensure!(
        starts.len() == cache.dims()[0],
        "{} write indices for {} batches",
        starts.len(),
        cache.dims()[0]
    );
    let circular = call.text("mode")? == "circular";
    let (target, source) = (Lanes::new(cache.dims(), &[axis])?, Lanes::new(update.dims(), &[axis])?);
    let per_batch = target.outer / cache.dims()[0].max(1);
    let mut picks: Vec<usize> = (0..cache.len()).collect();
    for lane in 0..target.outer {
        let start = layout::size(starts[lane / per_batch.max(1)])?;
        for (i, &from) in source.lane(lane).iter().enumerate() {
            let at = start.saturating_add(i);
            let at = if circular { at % target.len.max(1) } else { at };
            ensure!(at < target.len, "write index {start} leads beyond the cache");
            picks[target.lane(lane)[at]] = cache.len() + from;
        }
    }
    Ok(vec![take(&[cache, update], cache.dims(), &picks)?.into()])
}

fn compress(call: &Call<'_>) -> Outputs {
    let data = call.tensor(0)?;
    let condition = numbers::bools(call.tensor(1)?)?;
    let (data, axis) = match call.int_opt("axis")? {
        Some(axis) => (data.clone(), layout::axis(axis, data.rank())?),
        None => (data.reshaped(&[data.len()])?, 0),
    };
    let chosen: Vec<usize> = (0..condition.len().min(data.dims()[axis])).filter(|&i| condition[i]).collect();
    Ok(vec![gathered(&data, axis, &chosen, &[chosen.len()])?.into()])
}

/// Whether a number, its bytes the lowest first, is neither zero.
fn is_set(bytes: &[u8]) -> bool {
    bytes.split_last().is_some_and(|(last, others)| last & 0x7f != 0 || others.iter().any(|&byte| byte != 0))
}

fn non_zero(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let set: Vec<bool> = match (tensor.dtype(), tensor.strings()) {
        (_, Some(strings)) => strings.iter().map(|s| !s.is_empty()).collect(),
        // Of either part any bit but the sign.
        (DType::C64, _) => tensor.bytes().chunks_exact(8).map(|z| z.chunks_exact(4).any(is_set)).collect(),
        (DType::C128, _) => tensor.bytes().chunks_exact(16).map(|z| z.chunks_exact(8).any(is_set)).collect(),
        _ => numbers::floats(tensor)?.into_iter().map(|x| x != 0.0).collect(),
    };
    let found: Vec<usize> = (0..set.len()).filter(|&i| set[i]).collect();
    let own = strides(tensor.dims());
    let coordinate = |axis: usize| {
        let dim = tensor.dims()[axis];
        let stride = own[axis];
        found.iter().map(move |&i| (i / stride % dim) as i64)
    };
    let indices: Vec<i64> = match tensor.rank() {
        0 => vec![],
        rank => (0..rank).flat_map(coordinate).collect(),
    };
    Ok(vec![numbers::from_whole(&[tensor.rank(), found.len()], indices)?])
}

fn reverse_sequence(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let batch = layout::axis(call.int("batch_axis")?, tensor.rank())?;
    let time = layout::axis(call.int("time_axis")?, tensor.rank())?;
    ensure!(batch != time, "batch and time are the same axis");
    let lengths = layout::sizes(&call.whole(1)?)?;
    ensure!(
        lengths.len() == tensor.dims()[batch],
        "{} lengths for {} sequences",
        lengths.len(),
        tensor.dims()[batch]
    );
    let own = strides(tensor.dims());
    let pick = |i: usize| {
        let (b, t) = (i / own[batch] % tensor.dims()[batch], i / own[time] % tensor.dims()[time]);
        let from = if t < lengths[b] { lengths[b] - 1 - t } else { t };
        i - t * own[time] + from * own[time]
    };
    let picks: Vec<usize> = (0..tensor.len()).map(pick).collect();
    Ok(vec![take(&[tensor], tensor.dims(), &picks)?.into()])
}

/// Distinct slices along an axis (or elements), with where they first stand, who they are, how often.
fn unique(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let (flat, axis) = match call.int_opt("axis")? {
        Some(axis) => (tensor.clone(), layout::axis(axis, tensor.rank())?),
        None => (tensor.reshaped(&[tensor.len()])?, 0),
    };
    let others: Vec<usize> = (0..flat.rank()).filter(|&a| a != axis).collect();
    let lanes = Lanes::new(flat.dims(), &others)?;
    let compare = comparison(&flat)?;
    let by_slice = |&a: &usize, &b: &usize| {
        let pairs = lanes.lane(a).iter().zip(lanes.lane(b));
        pairs.map(|(&x, &y)| compare(x, y)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    let mut order: Vec<usize> = (0..lanes.outer).collect();
    order.sort_by(by_slice);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match groups.last_mut() {
            Some(group) if by_slice(&group[0], &i).is_eq() => group.push(i),
            _ => groups.push(vec![i]),
        }
    }
    if call.int("sorted")? == 0 {
        groups.sort_by_key(|group| group[0]);
    }
    let firsts: Vec<usize> = groups.iter().map(|g| g[0]).collect();
    let mut inverse = vec![0; lanes.outer];
    for (which, group) in groups.iter().enumerate() {
        group.iter().for_each(|&i| inverse[i] = which as i64);
    }
    Ok(vec![
        gathered(&flat, axis, &firsts, &[firsts.len()])?.into(),
        numbers::whole_vector(firsts.iter().map(|&i| i as i64).collect())?,
        numbers::whole_vector(inverse)?,
        numbers::whole_vector(groups.iter().map(|g| g.len() as i64).collect())?,
    ])
}

/// Both zeros are one value; what is not a number comes last.
fn by_value(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

type Comparison<'a> = Box<dyn Fn(usize, usize) -> std::cmp::Ordering + 'a>;

fn comparison(tensor: &Tensor) -> Result<Comparison<'_>, Fault> {
    if tensor.dtype() == DType::Str {
        let strings = numbers::strings(tensor)?;
        return Ok(Box::new(|a, b| strings[a].cmp(&strings[b])));
    }
    Ok(match numbers::numbers(tensor)? {
        Numbers::Floats(values) => Box::new(move |a, b| by_value(values[a], values[b])),
        Numbers::Ints(values) => Box::new(move |a, b| values[a].cmp(&values[b])),
    })
}
