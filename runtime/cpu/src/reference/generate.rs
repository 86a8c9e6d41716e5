//! Tensors out of little: Constant, ConstantOfShape, Range, EyeLike, OneHot, windows of signal processing.

use std::f64::consts::PI;

use byoc_graph::{Attr, DType, SparseTensor, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::movement::{fill, take, zero};
use super::numbers::{self, Numbers, from_floats_any};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[
    onnx("BlackmanWindow", 17, window),
    onnx("Constant", 1, constant),
    onnx("ConstantOfShape", 9, constant_of_shape),
    onnx("EyeLike", 9, eye_like),
    onnx("HammingWindow", 17, window),
    onnx("HannWindow", 17, window),
    onnx("OneHot", 9, one_hot),
    onnx("Range", 11, range),
];

fn constant(call: &Call<'_>) -> Outputs {
    let Some((name, value)) = call.node.attrs.first() else {
        return Err(Fault::Attribute { name: "value".into(), why: "is missing".into() });
    };
    let tensor = match value {
        Attr::Tensor(tensor) => Tensor::clone(tensor),
        Attr::SparseTensor(sparse) => dense(sparse)?,
        Attr::Int(value) => Tensor::scalar(*value),
        Attr::Float(value) => Tensor::scalar(*value),
        Attr::Str(value) => Tensor::from_strings(&[], vec![value.clone()])?,
        Attr::Ints(values) => Tensor::from_vec(&[values.len()], values.clone())?,
        Attr::Floats(values) => Tensor::from_vec(&[values.len()], values.clone())?,
        Attr::Strs(values) => Tensor::from_strings(&[values.len()], values.clone())?,
        _ => return Err(Fault::Attribute { name: name.to_string(), why: "is not a value".into() }),
    };
    Ok(vec![tensor.into()])
}

/// A sparse tensor with its zeros written out.
fn dense(sparse: &SparseTensor) -> Result<Tensor, Fault> {
    let zero_at = sparse.values.len();
    let mut picks = numbers::filled(zero_at, &sparse.dims)?;
    let strides = layout::strides(&sparse.dims);
    let indices = numbers::whole(&sparse.indices)?;
    let per_value = if sparse.indices.rank() > 1 { sparse.dims.len() } else { 1 };
    for (i, index) in indices.chunks(per_value.max(1)).enumerate().take(zero_at) {
        let at = match index {
            &[linear] if per_value == 1 => layout::size(linear)?,
            index => {
                let parts = index.iter().zip(&sparse.dims).zip(&strides);
                parts.map(|((&i, &d), &s)| Ok(layout::index(i, d)? * s)).sum::<Result<usize, Fault>>()?
            }
        };
        *picks.get_mut(at).ok_or_else(|| invalid!("a sparse index lies outside {:?}", sparse.dims))? = i;
    }
    take(&[&sparse.values, &zero(sparse.values.dtype())?], &sparse.dims, &picks)
}

fn constant_of_shape(call: &Call<'_>) -> Outputs {
    let dims = layout::sizes(&call.whole(0)?)?;
    let value = match call.tensor_attr("value")? {
        Some(value) => value.clone(),
        None => Tensor::scalar(0f32),
    };
    Ok(vec![fill(&value.reshaped(&[])?, &dims)?.into()])
}

pub(super) fn range(call: &Call<'_>) -> Outputs {
    let dtype = call.tensor(0)?.dtype();
    let scalar = |i: usize| -> Result<Numbers, Fault> {
        let tensor = call.tensor(i)?;
        ensure!(tensor.len() == 1, "input {i} has {} elements, where one is needed", tensor.len());
        numbers::numbers(tensor)
    };
    // In ONNX Runtime's own domain, the step may be left out.
    let step = match (call.datum_opt(2), scalar(0)?) {
        (Some(_), _) => scalar(2)?,
        (None, Numbers::Floats(_)) => Numbers::Floats(vec![1.0]),
        (None, _) => Numbers::Ints(vec![1]),
    };
    let result = match (scalar(0)?, scalar(1)?, step) {
        (Numbers::Floats(start), Numbers::Floats(limit), Numbers::Floats(delta)) => {
            let (start, delta) = (start[0], delta[0]);
            ensure!(delta != 0.0, "a step of zero leads nowhere");
            let n = ((limit[0] - start) / delta).ceil().max(0.0);
            layout::count(&[n as usize])?;
            Numbers::Floats((0..n as usize).map(|i| start + i as f64 * delta).collect())
        }
        (Numbers::Ints(start), Numbers::Ints(limit), Numbers::Ints(delta)) => {
            let (start, delta) = (start[0], delta[0]);
            ensure!(delta != 0, "a step of zero leads nowhere");
            let span = (limit[0] - start) * delta.signum();
            let n = if span > 0 { (span - 1) / delta.abs() + 1 } else { 0 };
            let n = usize::try_from(n).map_err(|_| invalid!("the range is too long"))?;
            layout::count(&[n])?;
            Numbers::Ints((0..n as i128).map(|i| start + i * delta).collect())
        }
        _ => return Err(invalid!("start, limit and delta differ in type")),
    };
    let n = match &result {
        Numbers::Floats(v) => v.len(),
        Numbers::Ints(v) => v.len(),
    };
    Ok(vec![numbers::from_numbers(dtype, &[n], &result)?.into()])
}

fn eye_like(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let &[rows, columns] = tensor.dims() else {
        return Err(invalid!("a matrix is needed, not {:?}", tensor.dims()));
    };
    let dtype = call.dtype_opt("dtype")?.unwrap_or(tensor.dtype());
    let k = i128::from(call.int("k")?);
    let at = |i: usize| f64::from(u8::from((i % columns) as i128 - (i / columns) as i128 == k));
    let values: Vec<f64> = (0..rows * columns).map(at).collect();
    Ok(vec![from_floats_any(dtype, tensor.dims(), &values)?.into()])
}

fn one_hot(call: &Call<'_>) -> Outputs {
    let indices = call.tensor(0)?;
    let depth = call.float_scalar(1)?;
    ensure!(depth >= 1.0, "a depth of {depth}");
    let values = call.tensor(2)?;
    ensure!(values.len() == 2, "{} values, where off and on are needed", values.len());
    let axis = layout::axis(call.int("axis")?, indices.rank() + 1)?;
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, depth as usize);
    let inner = layout::count(&dims[axis + 1..])?;
    let mut picks = numbers::filled(0usize, &dims)?;
    for (i, index) in numbers::floats(indices)?.into_iter().enumerate() {
        let at = if index < 0.0 { index + depth } else { index };
        // Indices out of range are nowhere hot.
        if at >= 0.0 && at < depth {
            picks[(i / inner * depth as usize + at as usize) * inner + i % inner] = 1;
        }
    }
    Ok(vec![take(&[values], &dims, &picks)?.into()])
}

/// HannWindow, HammingWindow, BlackmanWindow: sums of cosines. One element that is not periodic is 0 / 0.
fn window(call: &Call<'_>) -> Outputs {
    let coefficients: &[f64] = match &*call.node.op.name {
        "HannWindow" => &[0.5, -0.5],
        "HammingWindow" => &[25.0 / 46.0, -21.0 / 46.0],
        _ => &[0.42, -0.5, 0.08],
    };
    let size = layout::size(call.whole_scalar(0)?)?;
    layout::count(&[size])?;
    let period = if call.int("periodic")? != 0 { size } else { size.saturating_sub(1) } as f64;
    let at = |i: usize| {
        let terms = coefficients.iter().enumerate();
        terms.map(|(k, c)| c * (2.0 * PI * k as f64 * i as f64 / period).cos()).sum()
    };
    let values: Vec<f64> = (0..size).map(at).collect();
    let dtype = call.dtype_opt("output_datatype")?.unwrap_or(DType::F32);
    Ok(vec![from_floats_any(dtype, &[size], &values)?.into()])
}
