//! Reductions along axes, and what else looks at whole lanes: ArgMax, Softmax, CumSum, TopK, …

use byoc_graph::Tensor;

use super::call::{Call, Outputs};
use super::elementwise_binary::{maximum, minimum};
use super::fault::{Fault, invalid};
use super::layout::{self, Lanes};
use super::movement;
use super::numbers::{self, Numbers, from_floats};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("ReduceL1", 1, reduce),
    onnx("ReduceL2", 1, reduce),
    onnx("ReduceLogSum", 1, reduce),
    onnx("ReduceLogSumExp", 1, reduce),
    onnx("ReduceMax", 1, reduce),
    onnx("ReduceMean", 1, reduce),
    onnx("ReduceMin", 1, reduce),
    onnx("ReduceProd", 1, reduce),
    onnx("ReduceSum", 1, reduce),
    onnx("ReduceSumSquare", 1, reduce),
    onnx("ArgMax", 1, arg_extreme),
    onnx("ArgMin", 1, arg_extreme),
    onnx("Softmax", 1, softmax),
    onnx("LogSoftmax", 1, softmax),
    onnx("Hardmax", 1, softmax),
    onnx("CumSum", 11, cumulate),
    onnx("CumProd", 26, cumulate),
    onnx("TopK", 1, top_k),
];

/// How a lane becomes one value.
struct Reduction {
    name: &'static str,
    float: fn(&[f64]) -> f64,
    int: fn(&[i128]) -> Option<i128>,
}

fn log_sum_exp(lane: &[f64]) -> f64 {
    let greatest = lane.iter().copied().fold(f64::NEG_INFINITY, maximum);
    if greatest.is_infinite() {
        return greatest;
    }
    greatest + lane.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln()
}

/// Towards zero; of nothing, where the standard leaves the mean open, zero.
fn int_mean(lane: &[i128]) -> Option<i128> {
    Some(lane.iter().sum::<i128>().checked_div(lane.len() as i128).unwrap_or(0))
}

#[rustfmt::skip]
const REDUCTIONS: &[Reduction] = &[
    Reduction { name: "ReduceL1", float: |l| l.iter().map(|x| x.abs()).sum(), int: |l| Some(l.iter().map(|x| x.abs()).sum()) },
    Reduction { name: "ReduceL2", float: |l| l.iter().map(|x| x * x).sum::<f64>().sqrt(), int: |l| Some((l.iter().map(|&x| x as f64 * x as f64).sum::<f64>().sqrt()) as i128) },
    Reduction { name: "ReduceLogSum", float: |l| l.iter().sum::<f64>().ln(), int: |l| Some((l.iter().sum::<i128>() as f64).ln() as i128) },
    Reduction { name: "ReduceLogSumExp", float: log_sum_exp, int: |l| Some(log_sum_exp(&l.iter().map(|&x| x as f64).collect::<Vec<_>>()) as i128) },
    Reduction { name: "ReduceMax", float: |l| l.iter().copied().fold(f64::NEG_INFINITY, maximum), int: |l| l.iter().copied().max() },
    Reduction { name: "ReduceMean", float: |l| l.iter().sum::<f64>() / l.len() as f64, int: int_mean },
    Reduction { name: "ReduceMin", float: |l| l.iter().copied().fold(f64::INFINITY, minimum), int: |l| l.iter().copied().min() },
    Reduction { name: "ReduceProd", float: |l| l.iter().product(), int: |l| Some(l.iter().fold(1, |a: i128, &b| a.wrapping_mul(b))) },
    Reduction { name: "ReduceSum", float: |l| l.iter().sum(), int: |l| Some(l.iter().sum()) },
    Reduction { name: "ReduceSumSquare", float: |l| l.iter().map(|x| x * x).sum(), int: |l| Some(l.iter().fold(0, |a: i128, &x| a.wrapping_add(x.wrapping_mul(x)))) },
];

/// The axes to reduce: an attribute in old opsets, an input in new ones; none given means all, or, where
/// `noop_with_empty_axes` says so, none.
fn reduced_axes(call: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>, Fault> {
    let given = match call.whole_opt(1)? {
        Some(axes) => Some(axes),
        None => call.ints_opt("axes")?,
    };
    match given {
        Some(axes) if !axes.is_empty() => Ok(Some(layout::axes(&axes, rank)?)),
        _ if call.flag("noop_with_empty_axes")? => Ok(None),
        _ => Ok(Some((0..rank).collect())),
    }
}

/// What `dims` become once `axes` are reduced.
pub(super) fn reduced_dims(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept =
        dims.iter().enumerate().map(|(a, &d)| if axes.contains(&a) { keep.then_some(1) } else { Some(d) });
    kept.flatten().collect()
}

fn reduce(call: &Call<'_>) -> Outputs {
    let name = &*call.node.op.name;
    let reduction = REDUCTIONS.iter().find(|r| r.name == name).expect("the registry and the table agree");
    let tensor = call.tensor(0)?;
    // Without axes each element is reduced by itself, which still squares, takes logarithms and so on.
    let axes = reduced_axes(call, tensor.rank())?.unwrap_or_default();
    let keep = call.int("keepdims")? != 0;
    let dims = reduced_dims(tensor.dims(), &axes, keep);
    let lanes = Lanes::new(tensor.dims(), &axes)?;
    let result = match numbers::numbers(tensor)? {
        Numbers::Floats(values) => Numbers::Floats(lanes.reduce(&values, reduction.float)),
        // Nothing has the least value as its greatest, and the other way round.
        Numbers::Ints(_) if lanes.len == 0 && matches!(name, "ReduceMax" | "ReduceMin") => {
            let range = numbers::int_range(tensor.dtype()).unwrap_or((0, 1));
            Numbers::Ints(vec![if name == "ReduceMax" { range.0 } else { range.1 }; lanes.outer])
        }
        Numbers::Ints(values) => {
            let values: Option<Vec<i128>> = lanes.reduce(&values, reduction.int).into_iter().collect();
            Numbers::Ints(values.ok_or_else(|| invalid!("an empty set of integers has no {name}"))?)
        }
    };
    Ok(vec![numbers::from_numbers(tensor.dtype(), &dims, &result)?.into()])
}

fn arg_extreme(call: &Call<'_>) -> Outputs {
    fn find<T: PartialOrd + Copy>(lane: &[T], greatest: bool, last: bool) -> i64 {
        let mut best = 0;
        for i in 1..lane.len() {
            let better = if greatest { lane[i] > lane[best] } else { lane[i] < lane[best] };
            if better || (last && lane[i] == lane[best]) {
                best = i;
            }
        }
        best as i64
    }
    let tensor = call.tensor(0)?;
    let axis = layout::axis(call.int("axis")?, tensor.rank())?;
    let (greatest, last) = (&*call.node.op.name == "ArgMax", call.flag("select_last_index")?);
    let lanes = Lanes::new(tensor.dims(), &[axis])?;
    if lanes.len == 0 {
        return Err(invalid!("an empty axis has no extreme"));
    }
    let found = match numbers::numbers(tensor)? {
        Numbers::Floats(values) => lanes.reduce(&values, |lane| find(lane, greatest, last)),
        Numbers::Ints(values) => lanes.reduce(&values, |lane| find(lane, greatest, last)),
    };
    let dims = reduced_dims(tensor.dims(), &[axis], call.int("keepdims")? != 0);
    Ok(vec![numbers::from_whole(&dims, found)?])
}

/// The exponentials of a lane, scaled to sum to one.
pub(super) fn softmax_lane(lane: &[f64]) -> Vec<f64> {
    let greatest = lane.iter().copied().fold(f64::NEG_INFINITY, maximum);
    let powers: Vec<f64> = lane.iter().map(|x| (x - greatest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|x| x / sum).collect()
}

pub(super) fn log_softmax_lane(lane: &[f64]) -> Vec<f64> {
    let sum = log_sum_exp(lane);
    lane.iter().map(|x| x - sum).collect()
}

fn hardmax_lane(lane: &[f64]) -> Vec<f64> {
    let mut best = 0;
    for i in 1..lane.len() {
        if lane[i] > lane[best] {
            best = i;
        }
    }
    (0..lane.len()).map(|i| f64::from(u8::from(i == best))).collect()
}

/// Softmax, LogSoftmax and Hardmax: along one axis, before opset 13 along it and all behind.
fn softmax(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let axis = call.int("axis")?;
    let axes: Vec<usize> = match tensor.rank() {
        0 => vec![],
        rank if call.opset() >= 13 => vec![layout::axis(axis, rank)?],
        // The axis may stand behind the last dimension: each lane is one element then.
        rank if axis == rank as i64 => vec![],
        rank => (layout::axis(axis, rank)?..rank).collect(),
    };
    let f = match &*call.node.op.name {
        "Softmax" => softmax_lane,
        "LogSoftmax" => log_softmax_lane,
        _ => hardmax_lane,
    };
    let values = Lanes::new(tensor.dims(), &axes)?.map(&numbers::floats(tensor)?, 0.0, f);
    Ok(vec![from_floats(tensor.dtype(), tensor.dims(), &values)?.into()])
}

/// CumSum and CumProd.
fn cumulate(call: &Call<'_>) -> Outputs {
    fn run<T: Copy>(lane: &[T], start: T, f: impl Fn(T, T) -> T, exclusive: bool, reverse: bool) -> Vec<T> {
        let mut total = start;
        let mut step = |x: T| {
            let before = total;
            total = f(total, x);
            if exclusive { before } else { total }
        };
        if reverse {
            let mut found: Vec<T> = lane.iter().rev().map(|&x| step(x)).collect();
            found.reverse();
            found
        } else {
            lane.iter().map(|&x| step(x)).collect()
        }
    }
    let tensor = call.tensor(0)?;
    let axis = layout::axis(call.whole_scalar(1)?, tensor.rank())?;
    let (exclusive, reverse) = (call.flag("exclusive")?, call.flag("reverse")?);
    let sums = &*call.node.op.name == "CumSum";
    let lanes = Lanes::new(tensor.dims(), &[axis])?;
    let result = match numbers::numbers(tensor)? {
        Numbers::Floats(values) => Numbers::Floats(lanes.map(&values, 0.0, |lane| match sums {
            true => run(lane, 0.0, |a, b| a + b, exclusive, reverse),
            false => run(lane, 1.0, |a, b| a * b, exclusive, reverse),
        })),
        Numbers::Ints(values) => Numbers::Ints(lanes.map(&values, 0, |lane| match sums {
            true => run(lane, 0, i128::wrapping_add, exclusive, reverse),
            false => run(lane, 1, i128::wrapping_mul, exclusive, reverse),
        })),
    };
    Ok(vec![numbers::from_numbers(tensor.dtype(), tensor.dims(), &result)?.into()])
}

/// The greatest or smallest elements of each lane, ties by index; always sorted, as is allowed.
fn top_k(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let k = if call.opset() < 10 { call.int("k")? } else { call.whole_scalar(1)? };
    let k = layout::size(k)?;
    let axis = layout::axis(call.int("axis")?, tensor.rank())?;
    let greatest = call.int_opt("largest")?.unwrap_or(1) != 0;
    let lanes = Lanes::new(tensor.dims(), &[axis])?;
    if k > lanes.len {
        return Err(invalid!("the first {k} of {} elements are wanted", lanes.len));
    }
    let order = |lane: &[usize], compare: &dyn Fn(usize, usize) -> std::cmp::Ordering| {
        let mut order: Vec<usize> = (0..lane.len()).collect();
        order.sort_by(|&a, &b| {
            let by_value = compare(lane[a], lane[b]);
            if greatest { by_value.reverse() } else { by_value }
        });
        order.truncate(k);
        order
    };
    let orders: Vec<Vec<usize>> = match numbers::numbers(tensor)? {
        Numbers::Floats(v) => lanes.iter().map(|l| order(l, &|a, b| v[a].total_cmp(&v[b]))).collect(),
        Numbers::Ints(v) => lanes.iter().map(|l| order(l, &|a, b| v[a].cmp(&v[b]))).collect(),
    };
    let mut dims = tensor.dims().to_vec();
    dims[axis] = k;
    let found = Lanes::new(&dims, &[axis])?;
    let mut picks = numbers::filled(0usize, &dims)?;
    let mut indices = numbers::filled(0i64, &dims)?;
    for (i, order) in orders.iter().enumerate() {
        for (&at, &best) in found.lane(i).iter().zip(order) {
            picks[at] = lanes.lane(i)[best];
            indices[at] = best as i64;
        }
    }
    let values = movement::take(&[tensor], &dims, &picks)?;
    Ok(vec![values.into(), Tensor::from_vec(&dims, indices)?.into()])
}
