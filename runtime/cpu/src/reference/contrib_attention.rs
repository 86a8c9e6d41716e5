//! Attention as ONNX Runtime fuses it: Attention, QAttention, MultiHeadAttention and RotaryEmbedding.
//!
//! Masked scores get a finite value added, not minus infinity: a row that is masked throughout is uniform.

use byoc_graph::Tensor;

use super::attention::{Heads, Turn, heads_of, join_heads, row_probabilities, split_heads};
use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::matmul::multiply;
use super::numbers::{self, from_floats};
use super::quantize::centred;
use super::registry::{Entry, contrib};
use super::shape::permuted;
use super::slice_concat::{concatenated, part_along};

pub(super) const OPS: &[Entry] = &[
    contrib("Attention", attention),
    contrib("MultiHeadAttention", multi_head_attention),
    contrib("QAttention", quantised_attention),
    contrib("RotaryEmbedding", rotary_embedding),
];

/// What is added where a mask is 0, unless the node says otherwise.
const MASKED: f64 = -10_000.0;

/// Refuses inputs and attributes that change the result and are not carried out.
pub(super) fn refuse(call: &Call<'_>, flags: &[&'static str], inputs: &[(usize, &str)]) -> Result<(), Fault> {
    for flag in flags {
        if call.flag(flag)? {
            return Err(Fault::Unsupported(format!("attribute `{flag}`")));
        }
    }
    match inputs.iter().find(|(i, _)| call.datum_opt(*i).is_some()) {
        Some((_, name)) => Err(Fault::Unsupported(format!("input `{name}`"))),
        None => Ok(()),
    }
}

/// Adds a value to the score of a batch, row and column; the heads of a batch share it.
fn add_mask(bias: &mut [f64], heads: &Heads, value: impl Fn(usize, usize, usize) -> f64) {
    for (i, x) in bias.iter_mut().enumerate() {
        let (column, row) = (i % heads.columns, i / heads.columns % heads.rows);
        *x += value(i / heads.columns / heads.rows / heads.queries, row, column);
    }
}

/// What is added to the scores: a bias, and a large negative number where the mask or causality says so.
fn additions(
    call: &Call<'_>,
    heads: &Heads,
    mask: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Vec<f64>, Fault> {
    let dims = heads.score_dims();
    let mut sum = match bias {
        Some(bias) => layout::expand(numbers::floats(bias)?, bias.dims(), &dims)?,
        None => numbers::filled(0.0, &dims)?,
    };
    let masked = call.float_opt("mask_filter_value")?.unwrap_or(MASKED);
    let seen = |sees: bool| if sees { 0.0 } else { masked };
    if let Some(mask) = mask {
        let values = numbers::whole(mask)?;
        let (batch, rows, columns) = (heads.batch, heads.rows, heads.columns);
        match *mask.dims() {
            [n] if n == batch || n == 2 * batch => {
                let start = |b: usize| values.get(batch + b).copied().unwrap_or(0);
                add_mask(&mut sum, heads, |b, _, c| seen((start(b)..values[b]).contains(&(c as i64))));
            }
            [b, c] if (b, c) == (batch, columns) => {
                add_mask(&mut sum, heads, |b, _, c| seen(values[b * columns + c] > 0));
            }
            [b, r, c] if (b, r, c) == (batch, rows, columns) => {
                add_mask(&mut sum, heads, |b, r, c| seen(values[(b * rows + r) * columns + c] > 0));
            }
            ref dims => return Err(Fault::Unsupported(format!("a mask of shape {dims:?}"))),
        }
    }
    if call.flag("unidirectional")? {
        let past = heads.columns.saturating_sub(heads.rows);
        let never = f64::from(f32::MIN);
        add_mask(&mut sum, heads, |_, r, c| if c > past + r { never } else { 0.0 });
    }
    Ok(sum)
}

/// Values weighted by the softmax of scaled and biased scores, `[batch, heads, rows, value size]`, and these scores.
fn attend(
    call: &Call<'_>,
    [q, k, v]: [&Tensor; 3],
    mask: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<(Tensor, Tensor), Fault> {
    let heads = Heads::of(q, k, v)?;
    let scale = match call.float_opt("scale")? {
        Some(scale) if scale != 0.0 => scale,
        _ => 1.0 / (heads.size as f64).sqrt(),
    };
    let mut scores = heads.scores(byoc_graph::DType::F64, q, k, 1.0)?;
    let additions = additions(call, &heads, mask, bias)?;
    scores.iter_mut().zip(additions).for_each(|(x, a)| *x = *x * scale + a);
    let probabilities = row_probabilities(&scores, heads.columns);
    let y = heads.weighted(&probabilities, v)?;
    let y = from_floats(v.dtype(), &[heads.batch, heads.queries, heads.rows, heads.value_size], &y)?;
    Ok((y, from_floats(v.dtype(), &heads.score_dims(), &scores)?))
}

/// Keys and values behind those of the past.
fn behind(past: Option<[&Tensor; 2]>, k: Tensor, v: Tensor) -> Result<(Tensor, Tensor), Fault> {
    match past {
        Some([past_k, past_v]) => Ok((concatenated(&[past_k, &k], 2)?, concatenated(&[past_v, &v], 2)?)),
        None => Ok((k, v)),
    }
}

/// Attention over one input: queries, keys and values are columns of its product with the weights.
struct Projected<'a> {
    values: Vec<f64>,
    dims: Vec<usize>,
    dtype: byoc_graph::DType,
    mask: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
    past: Option<&'a Tensor>,
}

impl Projected<'_> {
    fn run(self, call: &Call<'_>) -> Outputs {
        let heads = call.int("num_heads")?;
        let &[batch, sequence, width] = &self.dims[..] else {
            return Err(invalid!("the input times the weights has shape {:?}", self.dims));
        };
        let sizes = match call.ints_opt("qkv_hidden_sizes")? {
            Some(sizes) if !sizes.is_empty() => layout::sizes(&sizes)?,
            _ => vec![width / 3; 3],
        };
        let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        ensure!(sizes.len() == 3 && total == Some(width), "hidden sizes {sizes:?} of {width} features");
        let all = from_floats(self.dtype, &[batch, sequence, width], &self.values)?;
        let part = |start: usize, len: usize| split_heads(&part_along(&all, 2, start, len)?, Some(heads));
        let q = part(0, sizes[0])?;
        let (k, v) = (part(sizes[0], sizes[1])?, part(sizes[0] + sizes[1], sizes[2])?);
        let halves = self.past.map(halves).transpose()?;
        let (k, v) = behind(halves.as_ref().map(|[k, v]| [k, v]), k, v)?;
        let y = join_heads(&attend(call, [&q, &k, &v], self.mask, self.bias)?.0)?;
        if !call.wants(1) {
            return Ok(vec![y.into()]);
        }
        let stacked = |t: &Tensor| t.reshaped(&[&[1], t.dims()].concat());
        Ok(vec![y.into(), concatenated(&[&stacked(&k)?, &stacked(&v)?], 0)?.into()])
    }
}

/// Keys and values of the past, which lie in one tensor.
fn halves(past: &Tensor) -> Result<[Tensor; 2], Fault> {
    let &[2, batch, heads, sequence, size] = past.dims() else {
        return Err(invalid!("a past of shape {:?}", past.dims()));
    };
    let half = |i: usize| -> Result<Tensor, Fault> {
        Ok(part_along(past, 0, i, 1)?.reshaped(&[batch, heads, sequence, size])?)
    };
    Ok([half(0)?, half(1)?])
}

fn add_bias(values: &mut [f64], bias: Option<Vec<f64>>) -> Result<(), Fault> {
    let Some(bias) = bias else { return Ok(()) };
    ensure!(!bias.is_empty() && values.len().is_multiple_of(bias.len()), "{} biases do not fit", bias.len());
    values.iter_mut().zip(bias.iter().cycle()).for_each(|(x, b)| *x += b);
    Ok(())
}

fn attention(call: &Call<'_>) -> Outputs {
    refuse(call, &["do_rotary", "past_present_share_buffer"], &[(6, "past_sequence_length")])?;
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (mut values, dims) = multiply(&numbers::floats(x)?, x.dims(), &numbers::floats(w)?, w.dims())?;
    add_bias(&mut values, call.floats_opt(2)?)?;
    let (mask, past, bias) = (call.tensor_opt(3)?, call.tensor_opt(4)?, call.tensor_opt(5)?);
    Projected { values, dims, dtype: x.dtype(), mask, bias, past }.run(call)
}

/// Attention whose input and weights are 8-bit integers.
fn quantised_attention(call: &Call<'_>) -> Outputs {
    refuse(call, &["do_rotary", "past_present_share_buffer"], &[])?;
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (mut values, dims) =
        multiply(&centred(call, 0, 6, 0)?, x.dims(), &centred(call, 1, 7, 1)?, w.dims())?;
    let (x_scale, w_scale) = (call.float_scalar(3)?, call.floats(4)?);
    let columns = w_scale.len();
    ensure!(columns == 1 || dims.last() == Some(&columns), "{columns} scales do not fit the weights");
    values.iter_mut().enumerate().for_each(|(i, x)| *x *= x_scale * w_scale[i % columns]);
    add_bias(&mut values, call.floats_opt(2)?)?;
    let (mask, past) = (call.tensor_opt(5)?, call.tensor_opt(8)?);
    Projected { values, dims, dtype: call.tensor(3)?.dtype(), mask, bias: None, past }.run(call)
}

/// `[batch, sequence, heads, parts, size]` as parts, each `[batch, heads, sequence, size]`.
fn unpacked(tensor: &Tensor, parts: usize) -> Result<Vec<Tensor>, Fault> {
    let &[batch, sequence, heads, n, size] = tensor.dims() else {
        return Err(invalid!("packed heads of shape {:?}", tensor.dims()));
    };
    ensure!(n == parts, "{n} packed parts, where there have to be {parts}");
    let part = |i: usize| {
        permuted(&part_along(tensor, 3, i, 1)?.reshaped(&[batch, sequence, heads, size])?, &[0, 2, 1, 3])
    };
    (0..parts).map(part).collect()
}

/// Adds a part of the bias, which is listed by head and feature, to heads.
fn biased(heads: Tensor, bias: Option<&Tensor>, start: usize) -> Result<Tensor, Fault> {
    let Some(bias) = bias else { return Ok(heads) };
    let [_, n, sequence, size] = heads_of(&heads)?;
    let bias = numbers::floats(bias)?;
    let bias = bias.get(start..start + n * size).ok_or_else(|| invalid!("a bias of {}", bias.len()))?;
    let mut values = numbers::floats(&heads)?;
    for (i, x) in values.iter_mut().enumerate() {
        *x += bias[i / size / sequence % n * size + i % size];
    }
    from_floats(heads.dtype(), heads.dims(), &values)
}

fn multi_head_attention(call: &Call<'_>) -> Outputs {
    refuse(call, &[], &[(8, "past_sequence_length"), (9, "cache_indirection")])?;
    let n = Some(call.int("num_heads")?);
    let (query, bias) = (call.tensor(0)?, call.tensor_opt(3)?);
    let (q, k, v) = match (call.tensor_opt(1)?, call.tensor_opt(2)?) {
        (None, _) => {
            let [q, k, v] = <[Tensor; 3]>::try_from(unpacked(query, 3)?).map_err(|_| Fault::Missing(1))?;
            (q, k, v)
        }
        (Some(key), None) => {
            let [k, v] = <[Tensor; 2]>::try_from(unpacked(key, 2)?).map_err(|_| Fault::Missing(2))?;
            (split_heads(query, n)?, k, v)
        }
        (Some(key), Some(value)) => (split_heads(query, n)?, split_heads(key, n)?, split_heads(value, n)?),
    };
    let width = |t: &Tensor| heads_of(t).map(|[_, heads, _, size]| heads * size);
    let (q_width, k_width) = (width(&q)?, width(&k)?);
    let q = biased(q, bias, 0)?;
    // Keys that come as heads have had their bias added before.
    let ready = call.tensor_opt(1)?.is_some_and(|key| key.rank() == 4);
    let kv_bias = bias.filter(|_| !ready);
    let (k, v) = (biased(k, kv_bias, q_width)?, biased(v, kv_bias, q_width + k_width)?);
    let past = match (call.tensor_opt(6)?, call.tensor_opt(7)?) {
        (Some(k), Some(v)) => Some([k, v]),
        _ => None,
    };
    let (k, v) = behind(past, k, v)?;
    let (y, scores) = attend(call, [&q, &k, &v], call.tensor_opt(4)?, call.tensor_opt(5)?)?;
    Ok(vec![join_heads(&y)?.into(), k.into(), v.into(), scores.into()])
}

/// The rows of a table of angles at the given positions.
pub(super) fn angles(table: &Tensor, positions: &[i64]) -> Result<Vec<f64>, Fault> {
    let &[rows, half] = table.dims() else { return Err(invalid!("angles of shape {:?}", table.dims())) };
    let values = numbers::floats(table)?;
    let mut picked = Vec::with_capacity(positions.len().saturating_mul(half));
    for &position in positions {
        let row = usize::try_from(position).ok().filter(|&row| row < rows);
        let row = row.ok_or_else(|| invalid!("position {position} is outside of {rows} rows of angles"))?;
        picked.extend_from_slice(&values[row * half..(row + 1) * half]);
    }
    Ok(picked)
}

fn rotary_embedding(call: &Call<'_>) -> Outputs {
    refuse(call, &["is_packed_batching"], &[])?;
    let (input, cos) = (call.tensor(0)?, call.tensor(2)?);
    let half = cos.dims().last().copied().unwrap_or(0);
    // Without a number of heads, a head is as wide as the rotation.
    let heads = match (call.int_opt("num_heads")?.unwrap_or(0), input.dims()) {
        (0, &[_, _, hidden]) => (hidden / (2 * half).max(1)) as i64,
        (heads, _) => heads,
    };
    let x = split_heads(input, Some(heads))?;
    let dims @ [batch, _, sequence, size] = heads_of(&x)?;
    ensure!(2 * half <= size, "{half} pairs in {size} features");
    let given = call.whole(1)?;
    let positions = match given.len() {
        1 => (0..batch * sequence).map(|i| given[0].saturating_add((i % sequence) as i64)).collect(),
        n if n == batch * sequence => given,
        n => return Err(invalid!("{n} positions for {batch} sequences of {sequence}")),
    };
    let mut values = numbers::floats(&x)?;
    let (cos, sin) = (angles(cos, &positions)?, angles(call.tensor(3)?, &positions)?);
    ensure!(sin.len() == cos.len(), "sines and cosines differ in number");
    Turn { cos: &cos, sin: &sin, half, interleaved: call.flag("interleaved")? }.apply(&mut values, dims);
    let y = from_floats(x.dtype(), x.dims(), &values)?;
    Ok(vec![if input.rank() == 3 { join_heads(&y)? } else { y }.into()])
}
