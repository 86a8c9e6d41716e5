//! Attention and what surrounds it.

use super::Family;
use super::activation::same_as_input;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::{Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["Attention"], attention),
        (&["RotaryEmbedding"], same_as_input),
        (&["LinearAttention"], linear_attention),
        (&["CausalConvWithState"], causal_conv),
    ],
};

pub const PREVIEW: Family =
    Family { domain: "ai.onnx.preview", rules: &[(&["FlexAttention"], flex_attention)] };

/// Batch, heads, sequence and head size of one operand.
pub struct Heads {
    pub batch: Dim,
    pub heads: Dim,
    pub sequence: Dim,
    pub size: Dim,
}

/// Reads an operand of rank 4, or of rank 3 with the heads side by side in the last axis.
pub fn heads_of(call: &Call<'_, '_>, input: usize, heads: &str) -> Result<Heads, Stop> {
    let shape = call.shape(input)?;
    match &shape[..] {
        [batch, heads, sequence, size] => Ok(Heads {
            batch: batch.clone(),
            heads: heads.clone(),
            sequence: sequence.clone(),
            size: size.clone(),
        }),
        [batch, sequence, hidden] => {
            let Some(count) = call.int(heads).filter(|&n| n > 0) else {
                return invalid(format!("`{heads}` is needed with an operand of rank 3"));
            };
            let heads = Dim::Static(count);
            let size = hidden.div_exact(&heads).unwrap_or(Dim::Unknown);
            Ok(Heads { batch: batch.clone(), heads, sequence: sequence.clone(), size })
        }
        _ => invalid(format!("input {input} has rank {}, where 3 or 4 is needed", shape.len())),
    }
}

fn attention(call: &mut Call<'_, '_>) -> Outcome {
    let q = heads_of(call, 0, "q_num_heads")?;
    let v = heads_of(call, 2, "kv_num_heads");
    let value_size = v.as_ref().map_or(Dim::Unknown, |v| v.size.clone());
    let output: Dims = match call.rank(0)? {
        4 => [q.batch.clone(), q.heads.clone(), q.sequence.clone(), value_size.clone()].into_iter().collect(),
        _ => [q.batch.clone(), q.sequence.clone(), q.heads.mul(&value_size)].into_iter().collect(),
    };
    call.set_shape(0, output)?;
    let k = heads_of(call, 1, "kv_num_heads")?;
    let past = match call.has(4) {
        true => call.shape_of_rank(4, 4).map_or(Dim::Unknown, |shape| shape[2].clone()),
        false => Dim::Static(0),
    };
    let total = past.add(&k.sequence);
    call.set_shape(1, [k.batch.clone(), k.heads.clone(), total.clone(), k.size])?;
    call.set_shape(2, [k.batch, k.heads, total.clone(), value_size])?;
    call.set_shape(3, [q.batch, q.heads, q.sequence, total])
}

fn linear_attention(call: &mut Call<'_, '_>) -> Outcome {
    // A state that starts from zeros has the type of what it is made of.
    if let Some(dtype) = call.dtype(3).or_else(|| call.dtype(0)) {
        call.set_dtype(1, dtype);
    }
    let q = heads_of(call, 0, "q_num_heads")?;
    let v = heads_of(call, 2, "kv_num_heads")?;
    call.set_shape(0, [q.batch.clone(), q.sequence, q.heads.mul(&v.size)])?;
    let state = match call.shape_of(3) {
        Some(past) => past.clone(),
        None => [q.batch, v.heads, q.size, v.size].into_iter().collect(),
    };
    call.set_shape(1, state)
}

fn causal_conv(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape_of_rank(0, 3)?;
    call.set_shape(0, shape.clone())?;
    let weights = call.shape_of_rank(1, 3)?;
    call.set_shape(1, [shape[0].clone(), shape[1].clone(), weights[2].sub(&Dim::Static(1))])
}

fn flex_attention(call: &mut Call<'_, '_>) -> Outcome {
    let (q, v) = (call.shape_of_rank(0, 4)?, call.shape_of_rank(2, 4)?);
    call.set_shape(0, q[..3].iter().chain(&v[3..]).cloned())
}
