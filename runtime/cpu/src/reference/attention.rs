//! Attention, FlexAttention, LinearAttention, RotaryEmbedding and what goes with them.
//!
//! Tensors of heads are `[batch, heads, sequence, size]`. Intermediate results are rounded to the type of the
//! input where the operators' function bodies do so.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::matmul::{product, transposed};
use super::numbers::{self, Numbers, from_floats};
use super::reduce::softmax_lane;
use super::registry::{Entry, onnx, preview};
use super::shape::permuted;
use super::slice_concat::concatenated;

pub(super) const OPS: &[Entry] = &[
    onnx("Attention", 23, attention),
    onnx("LinearAttention", 27, linear_attention),
    onnx("RotaryEmbedding", 23, rotary_embedding),
    preview("FlexAttention", 1, flex_attention),
];

/// Numbers as a type holds them.
pub(super) fn rounded(dtype: DType, values: Vec<f64>) -> Result<Vec<f64>, Fault> {
    if dtype == DType::F64 {
        return Ok(values);
    }
    numbers::floats(&from_floats(dtype, &[values.len()], &values)?)
}

/// `[batch, sequence, heads * size]` as heads; a tensor of heads stays one.
pub(super) fn split_heads(tensor: &Tensor, heads: Option<i64>) -> Result<Tensor, Fault> {
    match (tensor.dims(), heads) {
        ([_, _, _, _], _) => Ok(tensor.clone()),
        (&[batch, sequence, hidden], Some(heads)) => {
            let heads = layout::size(heads)?;
            ensure!(heads > 0 && hidden.is_multiple_of(heads), "{hidden} features in {heads} heads");
            permuted(&tensor.reshaped(&[batch, sequence, heads, hidden / heads])?, &[0, 2, 1, 3])
        }
        (dims, _) => Err(invalid!("heads cannot be told from an input of shape {dims:?}")),
    }
}

/// The inverse of `split_heads` for an input that had three dimensions.
pub(super) fn join_heads(tensor: &Tensor) -> Result<Tensor, Fault> {
    let &[batch, heads, sequence, size] = tensor.dims() else { return Ok(tensor.clone()) };
    Ok(permuted(tensor, &[0, 2, 1, 3])?.reshaped(&[batch, sequence, heads * size])?)
}

pub(super) fn heads_of(tensor: &Tensor) -> Result<[usize; 4], Fault> {
    <[usize; 4]>::try_from(tensor.dims())
        .map_err(|_| invalid!("a tensor of heads has shape {:?}", tensor.dims()))
}

/// Sizes of the heads that meet: queries, keys and values.
pub(super) struct Heads {
    pub batch: usize,
    pub queries: usize,
    pub keys: usize,
    pub rows: usize,
    pub columns: usize,
    pub size: usize,
    pub value_size: usize,
}

impl Heads {
    pub fn of(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Heads, Fault> {
        let [batch, queries, rows, size] = heads_of(q)?;
        let [k_batch, keys, columns, k_size] = heads_of(k)?;
        let [v_batch, v_heads, v_columns, value_size] = heads_of(v)?;
        let fits =
            batch == k_batch && batch == v_batch && keys == v_heads && columns == v_columns && size == k_size;
        let grouped = keys > 0 && queries.is_multiple_of(keys);
        ensure!(
            fits && grouped,
            "queries {:?}, keys {:?} and values {:?} do not go together",
            q.dims(),
            k.dims(),
            v.dims()
        );
        layout::count(&[batch, queries, rows, columns])?;
        Ok(Heads { batch, queries, keys, rows, columns, size, value_size })
    }

    pub fn score_dims(&self) -> [usize; 4] {
        [self.batch, self.queries, self.rows, self.columns]
    }

    /// For each head of queries, itself and the head of keys and values that it shares with its group.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let group = self.queries / self.keys;
        (0..self.batch * self.queries).map(move |i| {
            let (batch, head) = (i / self.queries, i % self.queries);
            (i, batch * self.keys + head / group)
        })
    }

    /// `q·kᵀ`, each side scaled by `scale` and rounded.
    pub fn scores(&self, dtype: DType, q: &Tensor, k: &Tensor, scale: f64) -> Result<Vec<f64>, Fault> {
        let scaled =
            |t: &Tensor| rounded(dtype, numbers::floats(t)?.into_iter().map(|x| x * scale).collect());
        let (q, k) = (scaled(q)?, scaled(k)?);
        let (q_len, k_len) = (self.rows * self.size, self.columns * self.size);
        let mut scores = Vec::with_capacity(layout::count(&self.score_dims())?);
        for (i, j) in self.pairs() {
            let keys = transposed(&k[j * k_len..(j + 1) * k_len], self.columns, self.size);
            scores.extend(product(
                &q[i * q_len..(i + 1) * q_len],
                &keys,
                [self.rows, self.size, self.columns],
            )?);
        }
        rounded(dtype, scores)
    }

    /// Probabilities times values.
    pub fn weighted(&self, probabilities: &[f64], v: &Tensor) -> Result<Vec<f64>, Fault> {
        let v = numbers::floats(v)?;
        let (p_len, v_len) = (self.rows * self.columns, self.columns * self.value_size);
        let mut out =
            Vec::with_capacity(layout::count(&[self.batch, self.queries, self.rows, self.value_size])?);
        for (i, j) in self.pairs() {
            let (p, v) = (&probabilities[i * p_len..(i + 1) * p_len], &v[j * v_len..(j + 1) * v_len]);
            out.extend(product(p, v, [self.rows, self.columns, self.value_size])?);
        }
        Ok(out)
    }
}

/// The softmax of each row, all zero where the row is masked out altogether.
pub(super) fn row_probabilities(scores: &[f64], columns: usize) -> Vec<f64> {
    let row = |row: &[f64]| {
        if row.iter().all(|&x| x == f64::NEG_INFINITY) { vec![0.0; row.len()] } else { softmax_lane(row) }
    };
    scores.chunks(columns.max(1)).flat_map(row).collect()
}

/// Which keys a query may see, beyond what the mask says.
struct Sight {
    causal: bool,
    /// How far to the left and right; negative: without bound.
    left: i64,
    right: i64,
    /// For each batch, how many keys come before the first query, and how many keys count at all.
    offsets: Vec<i64>,
    lengths: Option<Vec<i64>>,
}

impl Sight {
    fn sees(&self, batch: usize, row: usize, column: usize) -> bool {
        let ahead = column as i64 - (row as i64 + self.offsets[batch]);
        (!self.causal || ahead <= 0)
            && (self.left < 0 || -ahead <= self.left)
            && (self.right < 0 || ahead <= self.right)
            && self.lengths.as_ref().is_none_or(|l| (column as i64) < l[batch])
    }
}

/// What is added to the scores: the mask, and minus infinity where a query may not look.
fn bias(call: &Call<'_>, heads: &Heads, sight: &Sight) -> Result<Vec<f64>, Fault> {
    let dims = heads.score_dims();
    let mut bias = match call.tensor_opt(3)? {
        None => numbers::filled(0.0, &dims)?,
        Some(mask) => {
            let mut values = match (numbers::numbers(mask)?, mask.dtype()) {
                (Numbers::Ints(v), DType::Bool) => {
                    v.iter().map(|&x| if x != 0 { 0.0 } else { f64::NEG_INFINITY }).collect()
                }
                (Numbers::Ints(v), _) => v.iter().map(|&x| x as f64).collect(),
                (Numbers::Floats(v), _) => v,
            };
            let mut mask_dims = mask.dims().to_vec();
            // A mask may be shorter than the keys; what is missing is not seen.
            if let Some(last) = mask_dims.last_mut()
                && *last < heads.columns
                && *last > 0
            {
                let missing = heads.columns - *last;
                let padded = values.chunks(*last).flat_map(|row| {
                    row.iter().copied().chain(std::iter::repeat_n(f64::NEG_INFINITY, missing))
                });
                values = padded.collect();
                *last = heads.columns;
            }
            layout::expand(values, &mask_dims, &dims)?
        }
    };
    for (i, x) in bias.iter_mut().enumerate() {
        let (column, row) = (i % heads.columns, i / heads.columns % heads.rows);
        if !sight.sees(i / heads.columns / heads.rows / heads.queries, row, column) {
            *x = f64::NEG_INFINITY;
        }
    }
    Ok(bias)
}

fn attention(call: &Call<'_>) -> Outputs {
    let (q_heads, kv_heads) = (call.int_opt("q_num_heads")?, call.int_opt("kv_num_heads")?);
    let flat = call.tensor(0)?.rank() == 3;
    let q = split_heads(call.tensor(0)?, q_heads)?;
    let mut k = split_heads(call.tensor(1)?, kv_heads)?;
    let mut v = split_heads(call.tensor(2)?, kv_heads)?;
    let mut past = 0;
    if let (Some(past_k), Some(past_v)) = (call.tensor_opt(4)?, call.tensor_opt(5)?) {
        past = heads_of(past_k)?[2] as i64;
        (k, v) = (concatenated(&[past_k, &k], 2)?, concatenated(&[past_v, &v], 2)?);
    }
    let heads = Heads::of(&q, &k, &v)?;
    let dtype = q.dtype();
    let lengths = call.whole_opt(6)?;
    ensure!(lengths.as_ref().is_none_or(|l| l.len() == heads.batch), "lengths for another batch");
    let offsets = match &lengths {
        Some(lengths) if past == 0 => lengths.iter().map(|l| l.saturating_sub(heads.rows as i64)).collect(),
        _ => vec![past; heads.batch],
    };
    let sight = Sight {
        causal: call.flag("is_causal")?,
        left: call.int_opt("left_window_size")?.unwrap_or(-1),
        right: call.int_opt("right_window_size")?.unwrap_or(-1),
        offsets,
        lengths,
    };
    let scale = call.float_opt("scale")?.unwrap_or(1.0 / (heads.size as f64).sqrt());
    let root = rounded(dtype, vec![scale.sqrt()])?[0];
    let raw = heads.scores(dtype, &q, &k, root)?;
    let cap = call.float("softcap")?;
    let capped: Vec<f64> = match cap > 0.0 {
        true => raw.iter().map(|x| (x / cap).tanh() * cap).collect(),
        false => raw.clone(),
    };
    let bias = bias(call, &heads, &sight)?;
    let biased = capped.iter().zip(&bias).map(|(x, b)| if *b == f64::NEG_INFINITY { *b } else { x + b });
    let biased = rounded(dtype, biased.collect())?;
    let probabilities = rounded(dtype, row_probabilities(&biased, heads.columns))?;
    let y_dims = [heads.batch, heads.queries, heads.rows, heads.value_size];
    let y = from_floats(dtype, &y_dims, &heads.weighted(&probabilities, &v)?)?;
    let shown = match call.int("qk_matmul_output_mode")? {
        0 => &raw,
        1 => &capped,
        2 => &biased,
        _ => &probabilities,
    };
    let shown = from_floats(dtype, &heads.score_dims(), shown)?;
    let y = if flat { join_heads(&y)? } else { y };
    Ok(vec![y.into(), k.into(), v.into(), shown.into()])
}

/// Attention whose scores and probabilities pass through graphs of the caller's.
fn flex_attention(call: &Call<'_>) -> Outputs {
    let (q, k, v) = (call.tensor(0)?, call.tensor(1)?, call.tensor(2)?);
    let heads = Heads::of(q, k, v)?;
    let scale = call.float_opt("scale")?.unwrap_or(1.0 / (heads.size as f64).sqrt());
    let root = rounded(q.dtype(), vec![scale.sqrt()])?[0];
    let narrow = matches!(q.dtype(), DType::F16 | DType::BF16);
    let precision = match call.dtype_opt("softmax_precision")? {
        Some(dtype) => dtype,
        None if narrow => DType::F32,
        None => q.dtype(),
    };
    let modified = |name: &str, values: Vec<f64>| -> Result<Vec<f64>, Fault> {
        let values = rounded(precision, values)?;
        if !call.has(name) {
            return Ok(values);
        }
        let tensor = from_floats(precision, &heads.score_dims(), &values)?;
        let outputs = call.bodies.run(call.body(name)?, vec![tensor.into()])?;
        match outputs.first().and_then(Datum::as_tensor) {
            Some(tensor) if tensor.dims() == heads.score_dims() => numbers::floats(tensor),
            _ => Err(invalid!("`{name}` does not make a tensor of {:?}", heads.score_dims())),
        }
    };
    let scores = modified("score_mod", heads.scores(q.dtype(), q, k, root)?)?;
    let probabilities = modified("prob_mod", row_probabilities(&scores, heads.columns))?;
    let y = heads.weighted(&probabilities, v)?;
    let dims = [heads.batch, heads.queries, heads.rows, heads.value_size];
    Ok(vec![from_floats(v.dtype(), &dims, &y)?.into()])
}

/// Attention without softmax: a state of `[size, value_size]` for each head is decayed, written and read at
/// every step.
fn linear_attention(call: &Call<'_>) -> Outputs {
    let (q_heads, kv_heads) = (call.int("q_num_heads")?, call.int("kv_num_heads")?);
    let q = split_heads(call.tensor(0)?, Some(q_heads))?;
    let k = split_heads(call.tensor(1)?, Some(kv_heads))?;
    let v = split_heads(call.tensor(2)?, Some(kv_heads))?;
    let heads = Heads::of(&q, &k, &v)?;
    ensure!(heads.rows == heads.columns, "{} queries and {} keys", heads.rows, heads.columns);
    let (decay, beta) = update_inputs(call, &heads)?;
    let (size, value_size, steps) = (heads.size, heads.value_size, heads.rows);
    let state_dims = [heads.batch, heads.keys, size, value_size];
    let mut state = match call.floats_opt(3)? {
        Some(state) => state,
        None => numbers::filled(0.0, &state_dims)?,
    };
    ensure!(state.len() == layout::count(&state_dims)?, "a past state that is not {state_dims:?}");
    let scale = match call.float("scale")? {
        0.0 => 1.0 / (size as f64).sqrt(),
        scale => scale,
    };
    let (q, k, v) = (numbers::floats(&q)?, numbers::floats(&k)?, numbers::floats(&v)?);
    let mut y = numbers::filled(0.0, &[heads.batch, heads.queries, steps, value_size])?;
    let group = heads.queries / heads.keys;
    for head in 0..heads.batch * heads.keys {
        let state = &mut state[head * size * value_size..(head + 1) * size * value_size];
        for t in 0..steps {
            let at = head * steps + t;
            let key = &k[at * size..(at + 1) * size];
            if let Some(decay) = &decay {
                let rows = state.chunks_mut(value_size.max(1)).zip(&decay[at * size..(at + 1) * size]);
                rows.for_each(|(row, d)| row.iter_mut().for_each(|x| *x *= d.exp()));
            }
            let mut value = v[at * value_size..(at + 1) * value_size].to_vec();
            if let Some(beta) = &beta {
                let known = product(key, state, [1, size, value_size])?;
                value.iter_mut().zip(known).for_each(|(x, known)| *x = beta[at] * (*x - known));
            }
            for (row, k) in state.chunks_mut(value_size.max(1)).zip(key) {
                row.iter_mut().zip(&value).for_each(|(x, v)| *x += k * v);
            }
            for query in 0..group {
                let (batch, kv) = (head / heads.keys, head % heads.keys);
                let at = (batch * heads.queries + kv * group + query) * steps + t;
                let read = product(&q[at * size..(at + 1) * size], state, [1, size, value_size])?;
                let row = y[at * value_size..(at + 1) * value_size].iter_mut();
                row.zip(read).for_each(|(y, x)| *y = scale * x);
            }
        }
    }
    let dtype = call.tensor(0)?.dtype();
    let y = from_floats(dtype, &[heads.batch, heads.queries, steps, value_size], &y)?;
    let state_dtype = call.tensor_opt(3)?.map_or(dtype, Tensor::dtype);
    Ok(vec![join_heads(&y)?.into(), from_floats(state_dtype, &state_dims, &state)?.into()])
}

/// One factor a step, head and feature to decay with, and one a step and head to write with, as the update
/// rule asks for them.
type Updates = (Option<Vec<f64>>, Option<Vec<f64>>);

fn update_inputs(call: &Call<'_>, heads: &Heads) -> Result<Updates, Fault> {
    let rule = call.text("update_rule")?;
    let (gated, delta) = match rule {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => {
            let why = format!("is `{other}`, which is not known");
            return Err(Fault::Attribute { name: "update_rule".into(), why });
        }
    };
    ensure!(gated == call.datum_opt(4).is_some(), "decay does not go with the rule `{rule}`");
    ensure!(delta == call.datum_opt(5).is_some(), "beta does not go with the rule `{rule}`");
    let spread = |i: usize, size: usize| -> Result<Vec<f64>, Fault> {
        let tensor = call.tensor(i)?;
        let &[batch, steps, n] = tensor.dims() else {
            return Err(invalid!("input {i} of shape {:?}", tensor.dims()));
        };
        ensure!(batch == heads.batch && steps == heads.rows, "input {i} of shape {:?}", tensor.dims());
        // One value for all, for each head, or for each feature of each head.
        let split = if n == 1 { 1 } else { heads.keys };
        ensure!(n.is_multiple_of(split), "input {i} of shape {:?}", tensor.dims());
        let by_head = permuted(&tensor.reshaped(&[batch, steps, split, n / split])?, &[0, 2, 1, 3])?;
        layout::expand(numbers::floats(&by_head)?, by_head.dims(), &[batch, heads.keys, steps, size])
    };
    Ok((gated.then(|| spread(4, heads.size)).transpose()?, delta.then(|| spread(5, 1)).transpose()?))
}

/// Rotates pairs of features by angles that grow with the position.
fn rotary_embedding(call: &Call<'_>) -> Outputs {
    let flat = call.tensor(0)?.rank() == 3;
    let x = split_heads(call.tensor(0)?, call.int_opt("num_heads")?)?;
    let [batch, heads, sequence, size] = heads_of(&x)?;
    let width = match layout::size(call.int("rotary_embedding_dim")?)? {
        0 => size,
        width => width,
    };
    ensure!(width <= size && width % 2 == 0, "{width} of {size} features cannot be rotated in pairs");
    let half = width / 2;
    let angles = |i: usize| -> Result<Vec<f64>, Fault> {
        let table = call.tensor(i)?;
        let values = numbers::floats(table)?;
        ensure!(table.dims().last() == Some(&half), "a table of shape {:?} for {half} pairs", table.dims());
        let Some(positions) = call.whole_opt(3)? else {
            return layout::expand(values, table.dims(), &[batch, sequence, half]);
        };
        let positions = layout::expand(positions, call.tensor(3)?.dims(), &[batch, sequence])?;
        let rows = positions.iter().map(|&p| {
            let row = layout::index(p, table.dims()[0])?;
            Ok(values[row * half..(row + 1) * half].to_vec())
        });
        Ok(rows.collect::<Result<Vec<_>, Fault>>()?.concat())
    };
    let mut values = numbers::floats(&x)?;
    let turn = Turn { cos: &angles(1)?, sin: &angles(2)?, half, interleaved: call.flag("interleaved")? };
    turn.apply(&mut values, [batch, heads, sequence, size]);
    let y = from_floats(x.dtype(), x.dims(), &values)?;
    Ok(vec![if flat { join_heads(&y)? } else { y }.into()])
}

/// A rotation of pairs of features, by `half` angles for each batch and position.
pub(super) struct Turn<'a> {
    pub cos: &'a [f64],
    pub sin: &'a [f64],
    pub half: usize,
    pub interleaved: bool,
}

impl Turn<'_> {
    /// Turns the first `2 * half` features of every head.
    pub fn apply(&self, values: &mut [f64], [batch, heads, sequence, size]: [usize; 4]) {
        for row in 0..batch * heads * sequence {
            let place = row / sequence / heads * sequence + row % sequence;
            for pair in 0..self.half {
                let (a, b) = match self.interleaved {
                    true => (2 * pair, 2 * pair + 1),
                    false => (pair, self.half + pair),
                };
                let (a, b) = (row * size + a, row * size + b);
                let angle = place * self.half + pair;
                let (cos, sin) = (self.cos[angle], self.sin[angle]);
                (values[a], values[b]) =
                    (cos * values[a] - sin * values[b], sin * values[a] + cos * values[b]);
            }
        }
    }
}
