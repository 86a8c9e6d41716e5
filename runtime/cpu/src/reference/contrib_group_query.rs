//! GroupQueryAttention of ONNX Runtime: causal attention over a cache of keys and values that each sequence of
//! the batch fills to its own length.

use byoc_graph::{DType, Tensor};

use super::attention::{Heads, Turn, heads_of, join_heads, split_heads};
use super::call::{Call, Outputs};
use super::contrib_attention::{angles, refuse};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::numbers::{self, from_floats};
use super::registry::{Entry, contrib};
use super::slice_concat::part_along;

pub(super) const OPS: &[Entry] = &[contrib("GroupQueryAttention", group_query_attention)];

const UNSUPPORTED: &[(usize, &str)] =
    &[(12, "k_scale"), (13, "v_scale"), (14, "q_norm_weight"), (15, "k_norm_weight"), (16, "query_seqlens")];

fn group_query_attention(call: &Call<'_>) -> Outputs {
    refuse(call, &["sliding_window_cache"], UNSUPPORTED)?;
    ensure!(!call.wants(3), "output `output_qk` is not supported");
    let (mut q, mut k, v) = operands(call)?;
    let [batch, _, rows, _] = heads_of(&q)?;
    let total = layout::size(call.whole_scalar(6)?)?;
    let ends = call.whole(5)?;
    ensure!(ends.len() == batch, "{} lengths for {batch} sequences", ends.len());
    // How much of the cache each sequence has filled before: nothing, where this is its beginning.
    let past: Vec<usize> = ends
        .iter()
        .map(|&end| match rows == total {
            true => Ok(0),
            false => {
                let filled = usize::try_from(end).ok().and_then(|end| (end + 1).checked_sub(rows));
                filled.ok_or_else(|| {
                    invalid!("a sequence of {} keys with {rows} new ones", end.saturating_add(1))
                })
            }
        })
        .collect::<Result<_, Fault>>()?;
    if call.flag("do_rotary")? {
        let positions = positions(call, &past, rows)?;
        q = turned(call, &q, &positions)?;
        k = turned(call, &k, &positions)?;
    }
    let keys = cached(call.tensor_opt(3)?, &k, &past, total)?;
    let values = cached(call.tensor_opt(4)?, &v, &past, total)?;
    let y = attend(call, [&q, &keys, &values], &past)?;
    Ok(vec![join_heads(&y)?.into(), keys.into(), values.into()])
}

/// Queries, keys and values as heads; without keys, all three lie in the queries.
fn operands(call: &Call<'_>) -> Result<(Tensor, Tensor, Tensor), Fault> {
    let (n, groups) = (call.int("num_heads")?, call.int("kv_num_heads")?);
    let query = call.tensor(0)?;
    if let (Some(k), Some(v)) = (call.tensor_opt(1)?, call.tensor_opt(2)?) {
        return Ok((
            split_heads(query, Some(n))?,
            split_heads(k, Some(groups))?,
            split_heads(v, Some(groups))?,
        ));
    }
    let all = n.saturating_add(groups.saturating_mul(2));
    let packed = split_heads(query, Some(all))?;
    let (n, groups) = (layout::size(n)?, layout::size(groups)?);
    let part = |start: usize, len: usize| part_along(&packed, 1, start, len);
    Ok((part(0, n)?, part(n, groups)?, part(n + groups, groups)?))
}

fn positions(call: &Call<'_>, past: &[usize], rows: usize) -> Result<Vec<i64>, Fault> {
    if let Some(given) = call.whole_opt(9)? {
        ensure!(given.len() == past.len() * rows, "{} positions for {rows} rows", given.len());
        return Ok(given);
    }
    Ok(past.iter().flat_map(|&past| (0..rows).map(move |row| (past + row) as i64)).collect())
}

fn turned(call: &Call<'_>, heads: &Tensor, positions: &[i64]) -> Result<Tensor, Fault> {
    let dims = heads_of(heads)?;
    let (cos, sin) = (call.tensor(7)?, call.tensor(8)?);
    let half = cos.dims().last().copied().unwrap_or(0);
    ensure!(2 * half <= dims[3] && cos.dims() == sin.dims(), "{half} pairs in {} features", dims[3]);
    let mut values = numbers::floats(heads)?;
    let (cos, sin) = (angles(cos, positions)?, angles(sin, positions)?);
    Turn { cos: &cos, sin: &sin, half, interleaved: call.flag("rotary_interleaved")? }
        .apply(&mut values, dims);
    from_floats(heads.dtype(), heads.dims(), &values)
}

/// The cache with new rows behind what each sequence has filled of it; what nobody has filled is zero.
fn cached(cache: Option<&Tensor>, new: &Tensor, past: &[usize], total: usize) -> Result<Tensor, Fault> {
    let [batch, heads, rows, size] = heads_of(new)?;
    let (old, room) = match cache {
        Some(cache) => {
            let [b, h, room, s] = heads_of(cache)?;
            ensure!((b, h, s) == (batch, heads, size), "a cache of shape {:?}", cache.dims());
            (numbers::floats(cache)?, room)
        }
        None => (vec![], 0),
    };
    let length = room.max(total);
    let new_values = numbers::floats(new)?;
    let mut all = numbers::filled(0.0, &[batch, heads, length, size])?;
    for head in 0..batch * heads {
        let filled = past[head / heads];
        ensure!(filled <= room && filled + rows <= length, "{filled} keys of the past in a cache of {room}");
        let at = head * length * size;
        let before = head * room * size;
        all[at..at + filled * size].copy_from_slice(&old[before..before + filled * size]);
        let (at, from) = (at + filled * size, head * rows * size);
        all[at..at + rows * size].copy_from_slice(&new_values[from..from + rows * size]);
    }
    from_floats(new.dtype(), &[batch, heads, length, size], &all)
}

fn attend(call: &Call<'_>, [q, k, v]: [&Tensor; 3], past: &[usize]) -> Result<Tensor, Fault> {
    let heads = Heads::of(q, k, v)?;
    let scale = match call.float_opt("scale")? {
        Some(scale) if scale != 0.0 => scale,
        _ => 1.0 / (heads.size as f64).sqrt(),
    };
    let cap = call.float_opt("softcap")?.unwrap_or(0.0);
    let window = usize::try_from(call.int("local_window_size")?).ok();
    let causal = call.int("causal")? != 0;
    let bias = match call.tensor_opt(10)? {
        Some(bias) => Some(Bias::of(bias)?),
        None => None,
    };
    let sinks = match (call.floats_opt(11)?, call.int("smooth_softmax")? == 1) {
        (Some(sinks), _) => Some(sinks),
        (None, true) => Some(vec![0.0; heads.queries]),
        (None, false) => None,
    };
    ensure!(sinks.as_ref().is_none_or(|s| s.len() == heads.queries), "sinks for another number of heads");
    let mut scores = heads.scores(DType::F64, q, k, 1.0)?;
    for (at, row) in scores.chunks_mut(heads.columns.max(1)).enumerate() {
        let (s, head, batch) =
            (at % heads.rows, at / heads.rows % heads.queries, at / heads.rows / heads.queries);
        let end = if causal { past[batch] + s + 1 } else { past[batch] + heads.rows };
        let start = window.map_or(0, |window| end.saturating_sub(window));
        for (column, x) in row.iter_mut().enumerate() {
            *x *= scale;
            if cap > 0.0 {
                *x = (*x / cap).tanh() * cap;
            }
            *x = match (start..end).contains(&column) {
                true => *x + bias.as_ref().map_or(0.0, |bias| bias.at([batch, head, s, column])),
                false => f64::NEG_INFINITY,
            };
        }
        softmax(row, sinks.as_ref().map(|sinks| sinks[head]));
    }
    let y = heads.weighted(&scores, v)?;
    from_floats(q.dtype(), &[heads.batch, heads.queries, heads.rows, heads.value_size], &y)
}

/// Softmax in place; a sink takes part in the sum and gets nothing.
fn softmax(row: &mut [f64], sink: Option<f64>) {
    let greatest = row.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - greatest).exp());
    let sum = row.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - greatest).exp());
    row.iter_mut().for_each(|x| *x /= sum);
}

/// An addend of the scores that broadcasts over batch and heads, and may be wider than they are.
struct Bias {
    values: Vec<f64>,
    dims: [usize; 4],
}

impl Bias {
    fn of(tensor: &Tensor) -> Result<Bias, Fault> {
        Ok(Bias { values: numbers::floats(tensor)?, dims: heads_of(tensor)? })
    }

    fn at(&self, index: [usize; 4]) -> f64 {
        let flat = index.iter().zip(self.dims).fold(0, |flat, (&i, d)| flat * d + if d == 1 { 0 } else { i });
        self.values.get(flat).copied().unwrap_or(0.0)
    }
}
