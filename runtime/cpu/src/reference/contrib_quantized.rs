//! Quantised operators that ONNX Runtime added: dequantise, compute, quantise.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Kernel, Outputs};
use super::contrib_channels_last::channels_last;
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes, broadcast, expand};
use super::matmul::{multiply, transposed};
use super::numbers::{self, from_floats, from_ints, int_range};
use super::pool::average_pool;
use super::quantize::{along, centred, dynamic_parameters, saturated};
use super::reduce::{reduced_dims, softmax_lane};
use super::registry::{Entry, contrib};
use super::special::sigmoid;

pub(super) const OPS: &[Entry] = &[
    contrib("DynamicQuantizeMatMul", dynamic_quantize_matmul),
    contrib("MatMulIntegerToFloat", matmul_integer_to_float),
    contrib("MatMulNBits", matmul_n_bits),
    contrib("QGemm", q_gemm),
    contrib("QLinearAdd", binary),
    contrib("QLinearAveragePool", average),
    contrib("QLinearConcat", concat),
    contrib("QLinearGlobalAveragePool", global_average),
    contrib("QLinearLeakyRelu", unary),
    contrib("QLinearMul", binary),
    contrib("QLinearReduceMean", reduce_mean),
    contrib("QLinearSigmoid", unary),
    contrib("QLinearSoftmax", softmax),
    contrib("QLinearWhere", choose),
];

/// Input `i` as numbers, with its scale and zero point in the inputs behind it.
fn dequantised(call: &Call<'_>, i: usize) -> Result<Vec<f64>, Fault> {
    let scale = call.float_scalar(i + 1)?;
    let mut values = centred(call, i, i + 2, 0)?;
    values.iter_mut().for_each(|x| *x *= scale);
    Ok(values)
}

/// Quantises with the scale at input `scale` and the zero point behind it.
fn quantised(call: &Call<'_>, dtype: DType, dims: &[usize], values: &[f64], scale: usize) -> Outputs {
    let zero = match call.datum_opt(scale + 1) {
        Some(_) => call.float_scalar(scale + 1)?,
        None => 0.0,
    };
    let scale = call.float_scalar(scale)? as f32;
    let range = int_range(dtype).ok_or(Fault::DType { what: "a quantised result", got: dtype })?;
    let one = |&x: &f64| saturated(f64::from((x as f32 / scale).round_ties_even()) + zero, range);
    Ok(vec![from_ints(dtype, dims, &values.iter().map(one).collect::<Vec<_>>())?.into()])
}

fn binary(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(3)?);
    let dims = broadcast([a.dims(), b.dims()])?;
    let sides = expand(dequantised(call, 0)?, a.dims(), &dims)?.into_iter().zip(expand(
        dequantised(call, 3)?,
        b.dims(),
        &dims,
    )?);
    let values: Vec<f64> = match &*call.node.op.name {
        "QLinearAdd" => sides.map(|(a, b)| a + b).collect(),
        _ => sides.map(|(a, b)| a * b).collect(),
    };
    quantised(call, a.dtype(), &dims, &values, 6)
}

fn unary(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let values = dequantised(call, 0)?.into_iter();
    let values: Vec<f64> = match &*call.node.op.name {
        "QLinearSigmoid" => values.map(sigmoid).collect(),
        _ => {
            let alpha = call.float("alpha")?;
            values.map(|x| if x < 0.0 { alpha * x } else { x }).collect()
        }
    };
    quantised(call, x.dtype(), x.dims(), &values, 3)
}

/// A kernel of images with their channels first, on those that the call gives.
fn placed(call: &Call<'_>, kernel: Kernel) -> Outputs {
    if call.flag("channels_last")? { channels_last(call, &[0], kernel) } else { kernel(call) }
}

fn average(call: &Call<'_>) -> Outputs {
    placed(call, average_of_planes)
}

fn global_average(call: &Call<'_>) -> Outputs {
    placed(call, average_of_whole_planes)
}

fn average_of_planes(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let plain: Datum = from_floats(DType::F64, x.dims(), &dequantised(call, 0)?)?.into();
    let pooled = average_pool(&Call { node: call.node, inputs: &[Some(&plain)], bodies: call.bodies })?;
    match pooled.first().and_then(Datum::as_tensor) {
        Some(pooled) => quantised(call, x.dtype(), pooled.dims(), &numbers::floats(pooled)?, 3),
        None => Err(invalid!("pooling made no tensor")),
    }
}

fn average_of_whole_planes(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let space: Vec<usize> = (2..x.rank()).collect();
    let mean = |lane: &[f64]| lane.iter().sum::<f64>() / lane.len() as f64;
    let values = Lanes::new(x.dims(), &space)?.reduce(&dequantised(call, 0)?, mean);
    quantised(call, x.dtype(), &reduced_dims(x.dims(), &space, true), &values, 3)
}

fn reduce_mean(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let axes = layout::axes(&call.ints("axes")?, x.rank())?;
    let mean = |lane: &[f64]| lane.iter().sum::<f64>() / lane.len() as f64;
    let values = Lanes::new(x.dims(), &axes)?.reduce(&dequantised(call, 0)?, mean);
    let keep = call.int_opt("keepdims")?.unwrap_or(1) != 0;
    quantised(call, x.dtype(), &reduced_dims(x.dims(), &axes, keep), &values, 3)
}

/// Where, on quantised values.
fn choose(call: &Call<'_>) -> Outputs {
    let (condition, x, y) = (call.tensor(0)?, call.tensor(1)?, call.tensor(4)?);
    let dims = broadcast([condition.dims(), x.dims(), y.dims()])?;
    let condition = expand(numbers::bools(condition)?, condition.dims(), &dims)?;
    let (a, b) =
        (expand(dequantised(call, 1)?, x.dims(), &dims)?, expand(dequantised(call, 4)?, y.dims(), &dims)?);
    let picked = condition.into_iter().zip(a.into_iter().zip(b)).map(|(c, (a, b))| if c { a } else { b });
    quantised(call, x.dtype(), &dims, &picked.collect::<Vec<f64>>(), 7)
}

fn softmax(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let axis = layout::axis(call.int("axis")?, x.rank())?;
    // As Softmax itself: along one axis since opset 13, along all from it on before.
    let axes: Vec<usize> = if call.int("opset")? >= 13 { vec![axis] } else { (axis..x.rank()).collect() };
    let values = Lanes::new(x.dims(), &axes)?.map(&dequantised(call, 0)?, 0.0, softmax_lane);
    quantised(call, x.dtype(), x.dims(), &values, 3)
}

fn concat(call: &Call<'_>) -> Outputs {
    let parts: Vec<Tensor> = (2..call.inputs.len())
        .step_by(3)
        .map(|i| from_floats(DType::F64, call.tensor(i)?.dims(), &dequantised(call, i)?))
        .collect::<Result<_, _>>()?;
    let joined = super::slice_concat::concatenated(&parts.iter().collect::<Vec<_>>(), call.int("axis")?)?;
    quantised(call, call.tensor(1)?.dtype(), joined.dims(), &numbers::floats(&joined)?, 0)
}

/// Adds a bias along the last axis.
fn add_row(values: &mut [f64], row: Option<Vec<f64>>) -> Result<(), Fault> {
    let Some(row) = row else { return Ok(()) };
    ensure!(
        !row.is_empty() && values.len().is_multiple_of(row.len()),
        "a bias of {} does not fit",
        row.len()
    );
    values.iter_mut().zip(row.iter().cycle()).for_each(|(x, b)| *x += b);
    Ok(())
}

fn dynamic_quantize_matmul(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let values = a.as_slice::<f32>()?;
    let (scale, zero) = dynamic_parameters(&values);
    let quantise = |&x: &f32| {
        let code = ((x / scale).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0);
        f64::from(code) - f64::from(zero)
    };
    let codes: Vec<f64> = values.iter().map(quantise).collect();
    let (mut out, dims) =
        multiply(&codes, a.dims(), &centred(call, 1, 3, b.rank().saturating_sub(1))?, b.dims())?;
    let scales = call.floats(2)?;
    let column = along(&dims, dims.len().saturating_sub(1), &scales)?;
    out.iter_mut().enumerate().for_each(|(i, x)| *x *= f64::from(scale) * scales[column(i)]);
    add_row(&mut out, call.floats_opt(4)?)?;
    Ok(vec![from_floats(DType::F32, &dims, &out)?.into()])
}

fn matmul_integer_to_float(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let left = centred(call, 0, 4, a.rank().saturating_sub(2))?;
    let right = centred(call, 1, 5, b.rank().saturating_sub(1))?;
    let (mut out, dims) = multiply(&left, a.dims(), &right, b.dims())?;
    let (a_scale, b_scale) = (call.floats(2)?, call.floats(3)?);
    let row = along(&dims, dims.len().saturating_sub(2), &a_scale)?;
    let column = along(&dims, dims.len().saturating_sub(1), &b_scale)?;
    out.iter_mut().enumerate().for_each(|(i, x)| *x *= a_scale[row(i)] * b_scale[column(i)]);
    add_row(&mut out, call.floats_opt(6)?)?;
    Ok(vec![from_floats(call.tensor(2)?.dtype(), &dims, &out)?.into()])
}

/// A product of quantised matrices with a 32-bit bias, quantised again where an output scale is given.
fn q_gemm(call: &Call<'_>) -> Outputs {
    let matrix = |i: usize, zero: usize, name: &str| -> Result<(Vec<f64>, [usize; 2]), Fault> {
        let tensor = call.tensor(i)?;
        let &[rows, columns] = tensor.dims() else {
            return Err(invalid!("a matrix is needed, not {:?}", tensor.dims()));
        };
        let turn = call.flag(name)?;
        let values = centred(call, i, zero, if turn { 0 } else { 1 })?;
        Ok(if turn {
            (transposed(&values, rows, columns), [columns, rows])
        } else {
            (values, [rows, columns])
        })
    };
    let ((a, a_dims), (b, b_dims)) = (matrix(0, 2, "transA")?, matrix(3, 5, "transB")?);
    let (mut out, dims) = multiply(&a, &a_dims, &b, &b_dims)?;
    if let Some(c) = call.tensor_opt(6)? {
        let bias = expand(numbers::floats(c)?, c.dims(), &dims)?;
        out.iter_mut().zip(bias).for_each(|(x, c)| *x += c);
    }
    let (alpha, a_scale, b_scale) = (call.float("alpha")?, call.float_scalar(1)?, call.floats(4)?);
    let column = along(&dims, 1, &b_scale)?;
    out.iter_mut().enumerate().for_each(|(i, x)| *x *= alpha * a_scale * b_scale[column(i)]);
    if call.datum_opt(7).is_none() {
        return Ok(vec![from_floats(DType::F32, &dims, &out)?.into()]);
    }
    quantised(call, call.tensor(8)?.dtype(), &dims, &out, 7)
}

/// Weights of a few bits, in blocks along the depth that have a scale and a zero point each.
fn matmul_n_bits(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let (k, n) = (layout::size(call.int("K")?)?, layout::size(call.int("N")?)?);
    let (bits, block) = (layout::size(call.int("bits")?)?, layout::size(call.int("block_size")?)?);
    ensure!(matches!(bits, 2 | 4 | 8) && (16..1 << 20).contains(&block), "{bits} bits in blocks of {block}");
    let blocks = k.div_ceil(block);
    // Which block's scale and zero point each row of weights has, where that is not its own block's.
    let order = call.whole_opt(4)?;
    let known = |&at: &i64| usize::try_from(at).is_ok_and(|at| at < blocks);
    ensure!(
        order.as_ref().is_none_or(|order| order.len() >= k && order.iter().all(known)),
        "an order (`g_idx`) that does not name one of {blocks} blocks for each of {k} rows"
    );
    let (row_bytes, zero_bytes) = (blocks.saturating_mul(block) * bits / 8, (blocks * bits).div_ceil(8));
    let scales = call.floats(2)?;
    let fits =
        Some(b.bytes().len()) == n.checked_mul(row_bytes) && Some(scales.len()) == n.checked_mul(blocks);
    ensure!(fits, "weights of {:?} and {} scales for {n}×{k}", b.dims(), scales.len());
    let code = |bytes: &[u8], i: usize| {
        let per_byte = 8 / bits;
        f64::from(u32::from(bytes[i / per_byte]) >> (i % per_byte * bits) & ((1 << bits) - 1))
    };
    let zeros = call.tensor_opt(3)?;
    let packed = zeros.is_some_and(|z| z.dtype() == DType::U8);
    ensure!(
        !packed || zeros.is_some_and(|z| Some(z.len()) == n.checked_mul(zero_bytes)),
        "zero points do not fit"
    );
    let plain = if packed { None } else { zeros.map(numbers::floats).transpose()? };
    ensure!(plain.as_ref().is_none_or(|z| z.len() == scales.len()), "zero points do not fit");
    let zero = |row: usize, at: usize| match (zeros, &plain) {
        (_, Some(plain)) => plain[row * blocks + at],
        (Some(zeros), None) => code(&zeros.bytes()[row * zero_bytes..], at),
        (None, None) => f64::from(1u32 << (bits - 1)),
    };
    layout::count(&[n, k])?;
    let weight = |row: usize, i: usize| {
        let at = order.as_ref().map_or(i / block, |order| order[i] as usize);
        (code(&b.bytes()[row * row_bytes..], i) - zero(row, at)) * scales[row * blocks + at]
    };
    let weights: Vec<f64> =
        (0..k).flat_map(|i| (0..n).map(move |row| (row, i))).map(|(row, i)| weight(row, i)).collect();
    let (mut out, dims) = multiply(&numbers::floats(a)?, a.dims(), &weights, &[k, n])?;
    add_row(&mut out, call.floats_opt(5)?)?;
    Ok(vec![from_floats(a.dtype(), &dims, &out)?.into()])
}
