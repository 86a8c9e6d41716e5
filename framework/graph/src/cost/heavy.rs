//! Multiply-accumulates of compute-heavy operators, by family.

use std::collections::BTreeMap;

use super::count::Count;
use super::{Call, HOST};
use crate::TensorType;

type Rule = fn(&Call<'_>) -> Count;

const FAMILIES: &[(&str, &[&str], Rule)] = &[
    ("", &["Conv", "ConvInteger", "DeformConv"], conv),
    ("", &["QLinearConv"], quantized_conv),
    ("", &["ConvTranspose"], transposed_conv),
    ("", &["CausalConvWithState"], conv),
    ("", &["MatMul", "MatMulInteger"], matmul),
    ("", &["QLinearMatMul"], matmul),
    ("", &["Gemm"], gemm),
    ("", &["Einsum"], einsum),
    ("", &["LSTM", "GRU", "RNN"], recurrent),
    ("", &["Attention"], attention),
    ("", &["LinearAttention"], linear_attention),
    ("ai.onnx.preview", &["FlexAttention"], attention),
    ("com.microsoft", &["FusedConv"], conv),
    ("com.microsoft", &["QLinearConv"], quantized_conv),
    ("com.microsoft", &["MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger16"], matmul),
    ("com.microsoft", &["GemmFastGelu"], matmul),
    ("com.microsoft", &["FusedMatMul", "TransposeMatMul", "FusedGemm", "QGemm"], gemm),
    ("com.microsoft", &["MatMulNBits", "MatMulBnb4"], matmul_blocks),
    ("com.microsoft", &["DynamicQuantizeLSTM"], recurrent),
    ("com.microsoft", &["Attention", "QAttention"], packed_attention),
    ("com.microsoft", &["MultiHeadAttention"], multi_head_attention),
    (HOST, &["Conv"], conv),
    (HOST, &["QLinearConv"], quantized_conv),
    (HOST, &["MatMul", "Gemm", "Projections", "QLinearGemm"], gemm),
    (HOST, &["BlockedConv"], blocked_conv),
    (HOST, &["BlockedConvTranspose"], blocked_transposed_conv),
    (HOST, &["BlockedExpandDepthwise"], blocked_expand_depthwise),
    (HOST, &["Attention"], attention_of_heads),
];

/// `None`: not compute-heavy, or without a rule here.
pub fn macs(call: &Call<'_>) -> Option<Count> {
    let (domain, name) = call.operator();
    let family = FAMILIES.iter().find(|(d, names, _)| *d == domain && names.contains(&name));
    match family {
        Some((.., rule)) => Some(rule(call)),
        // Heavy for certain, and how heavy is not known.
        None if crate::schema::lookup(domain, name, call.node.opset)
            .is_some_and(|s| s.is_compute_heavy()) =>
        {
            Some(Count::of(None))
        }
        None => None,
    }
}

/// Each output element takes one window of the weights `[out, in / groups, window...]`.
fn window(call: &Call<'_>, weights: usize) -> Count {
    Count::elements(call.output(0)).times(Count::dims_from(call.input(weights), 1))
}

fn conv(call: &Call<'_>) -> Count {
    window(call, 1)
}

fn quantized_conv(call: &Call<'_>) -> Count {
    window(call, 3)
}

/// Each input element is spread over one window of the weights `[in, out / groups, window...]`.
fn transposed_conv(call: &Call<'_>) -> Count {
    Count::elements(call.input(0)).times(Count::dims_from(call.input(1), 1))
}

/// Each pixel `[images, blocks, height, width, 16]` of the output takes all weights `[out, in / groups, window...]`.
/// One that writes the largest of each 2 × 2 pixels has computed them all.
fn blocked_conv(call: &Call<'_>) -> Count {
    let computed = if call.int("halved", 0) != 0 { 4 } else { 1 };
    pixels(call.output(0)).times(Count::elements(call.input(1))).times(Count::number(computed))
}

fn blocked_transposed_conv(call: &Call<'_>) -> Count {
    pixels(call.input(0)).times(Count::elements(call.input(1)))
}

/// Two convolutions; the second is depthwise, its weights are input 3.
fn blocked_expand_depthwise(call: &Call<'_>) -> Count {
    let expand = pixels(call.input(0)).times(Count::elements(call.input(1)));
    expand.plus(pixels(call.output(0)).times(Count::elements(call.input(3))))
}

fn pixels(blocked: Option<&TensorType>) -> Count {
    [0, 2, 3].into_iter().fold(Count::number(1), |count, axis| count.times(Count::dim(blocked, axis)))
}

fn matmul(call: &Call<'_>) -> Count {
    Count::elements(call.output(0)).times(Count::dim(call.input(0), -1))
}

fn gemm(call: &Call<'_>) -> Count {
    let inner = if call.int("transA", 0) != 0 { -2 } else { -1 };
    Count::elements(call.output(0)).times(Count::dim(call.input(0), inner))
}

fn matmul_blocks(call: &Call<'_>) -> Count {
    Count::elements(call.output(0)).times(Count::dim(call.input(0), -1))
}

/// The space that all subscripts span, once for each operand after the first.
fn einsum(call: &Call<'_>) -> Count {
    let equation = call.node.attrs.get("equation").and_then(|attr| attr.as_str()).unwrap_or("");
    let operands = equation.split("->").next().unwrap_or("");
    if operands.contains('.') {
        return Count::of(None);
    }
    let mut sizes = BTreeMap::<char, Count>::new();
    for (i, term) in operands.split(',').enumerate() {
        for (axis, letter) in term.chars().filter(|c| !c.is_whitespace()).enumerate() {
            let size = Count::dim(call.input(i), axis as isize);
            // An axis of 1 is stretched to the same letter's size elsewhere.
            let known = sizes.entry(letter).or_insert(size);
            if known.value() == Some(1) {
                *known = size;
            }
        }
    }
    let steps = operands.split(',').count().saturating_sub(1).max(1);
    sizes.into_values().fold(Count::of(Some(steps)), Count::times)
}

/// Each step multiplies input and state by the gates' weights `[directions, gates * hidden, width]`.
fn recurrent(call: &Call<'_>) -> Count {
    let weights = Count::elements(call.input(1)).plus(Count::elements(call.input(2)));
    Count::dim(call.input(0), 0).times(Count::dim(call.input(0), 1)).times(weights)
}

/// Scores and their product with the values. `[..., length, heads * size]` or `[batch, heads, length, size]`.
fn attention(call: &Call<'_>) -> Count {
    let (q, k) = (call.input(0), call.input(1));
    let past = if call.input(4).is_some() { Count::dim(call.input(4), 2) } else { Count::number(0) };
    // Keys of fewer heads serve several queries each, so sizes are taken from the queries and the output.
    let length = Count::dim(k, -2).plus(past);
    Count::elements(q).plus(Count::elements(call.output(0))).times(length)
}

/// Scores and their product with the values. Keys are `[batch, heads, length, size]`, or of an order that the
/// attributes name, in which the length comes second; queries and values have heads of one size.
fn attention_of_heads(call: &Call<'_>) -> Count {
    let second = |name: &str, has: fn(i64) -> bool| {
        let list = call.node.attrs.get(name).and_then(|attr| attr.as_ints());
        list.and_then(|list| list.get(1)).is_some_and(|&n| has(n))
    };
    let axis = if second("parts", |part| part >= 0) || second("orders", |order| order == 1) { 1 } else { 2 };
    Count::elements(call.output(0)).times(Count::dim(call.input(1), axis)).times(Count::number(2))
}

/// The state `[batch, heads, key size, value size]` is updated and read once for each step and query head.
fn linear_attention(call: &Call<'_>) -> Count {
    let state = Count::elements(call.output(1));
    state.times(Count::dim(call.input(0), 1)).times(Count::number(2))
}

/// The projection to queries, keys and values, then attention among them and a past.
fn packed_attention(call: &Call<'_>) -> Count {
    let (input, weights) = (call.input(0), call.input(1));
    // The past is `[2, batch, heads, length, size]`, at a place of its own in each of the two operators.
    let past = [4, 8].iter().find_map(|&i| call.input(i).filter(|tensor| tensor.rank() == Some(5)));
    let before = if past.is_some() { Count::dim(past, 3) } else { Count::number(0) };
    let length = Count::dim(input, 1).plus(before);
    let rows = Count::dim(input, 0).times(Count::dim(input, 1));
    let projection = rows.times(Count::elements(weights));
    projection.plus(Count::elements(call.output(0)).times(length).times(Count::number(2)))
}

fn multi_head_attention(call: &Call<'_>) -> Count {
    let (keys, past) = (call.input(1), call.input(6));
    let length = match keys.and_then(|tensor| tensor.rank()) {
        Some(3) => Count::dim(keys, 1),
        Some(4) => Count::dim(keys, 2),
        _ => Count::of(None),
    };
    let length = if past.is_some() { length.plus(Count::dim(past, 2)) } else { length };
    Count::elements(call.input(0)).plus(Count::elements(call.output(0))).times(length)
}
