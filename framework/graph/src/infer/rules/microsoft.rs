//! Operators of ONNX Runtime that its optimiser and quantiser write into models: `com.microsoft`.

use super::Family;
use super::activation::same_as_input;
use super::arithmetic::broadcast_inputs;
use super::convolution::{Window, conv_of};
use super::fill::range;
use super::image::grid_sample;
use super::indexing::{gather_nd, pad};
use super::matrix::{gemm, matmul_of};
use super::normalization::skip_normalization;
use super::recurrent::recurrent;
use crate::infer::call::{Call, Outcome, Stop, axes, axis, invalid};
use crate::{DType, Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "com.microsoft",
    rules: &[
        (
            &[
                "BiasAdd",
                "BiasGelu",
                "BiasSoftmax",
                "FastGelu",
                "Gelu",
                "GemmaRotaryEmbedding",
                "GroupNorm",
                "Inverse",
                "MoE",
                "QLinearLeakyRelu",
                "QLinearSigmoid",
                "QLinearSoftmax",
                "QMoE",
                "QuickGelu",
                "RotaryEmbedding",
                "ScaledSiLU",
                "SkipGroupNorm",
                "Trilu",
            ],
            same_as_input,
        ),
        (&["QuantizeLinear"], quantize),
        (&["DequantizeLinear"], dequantize),
        (&["GatherND"], gather_nd),
        (&["GridSample"], grid_sample),
        (&["Pad"], pad),
        (&["Range"], range),
        (&["QLinearAdd", "QLinearMul"], qlinear_binary),
        (&["QLinearWhere"], qlinear_where),
        (&["QLinearConcat"], qlinear_concat),
        (&["QLinearAveragePool"], qlinear_pool),
        (&["QLinearGlobalAveragePool"], qlinear_global_pool),
        (&["QLinearReduceMean"], qlinear_reduce),
        (&["QLinearConv"], qlinear_conv),
        (&["FusedConv"], fused_conv),
        (&["NhwcConv", "NhwcFusedConv"], nhwc_conv),
        (&["NhwcMaxPool"], nhwc_pool),
        (&["FusedGemm"], gemm),
        (&["QGemm"], qgemm),
        (&["DynamicQuantizeMatMul", "GemmFastGelu", "MatMulInteger16", "MatMulIntegerToFloat"], matmul),
        (&["FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"], fused_matmul),
        (&["MatMulBnb4", "MatMulNBits"], matmul_blocks),
        (&["DynamicQuantizeLSTM"], recurrent),
        (&["Attention"], attention),
        (&["QAttention"], qattention),
        (&["MultiHeadAttention"], multi_head_attention),
        (&["GroupQueryAttention"], group_query_attention),
        (&["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], skip_normalization),
        (&["EmbedLayerNormalization", "QEmbedLayerNormalization"], embed),
        (&["GatherBlockQuantized"], gather_blocks),
        (&["RelativePositionBias"], relative_position_bias),
        (&["CDist"], pairwise),
        (&["BiasSplitGelu"], bias_split_gelu),
        (&["ExpandDims"], expand_dims),
        (&["CropAndResize"], crop_and_resize),
    ],
};

fn quantize(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(0, call.dtype(2).unwrap_or(DType::U8));
    call.same_shape(0, 0)
}

fn dequantize(call: &mut Call<'_, '_>) -> Outcome {
    if let Some(dtype) = call.dtype(1) {
        call.set_dtype(0, dtype);
    }
    call.same_shape(0, 0)
}

fn qlinear_binary(call: &mut Call<'_, '_>) -> Outcome {
    let shape = broadcast_inputs(call, &[0, 3])?;
    call.set_shape(0, shape)
}

fn qlinear_where(call: &mut Call<'_, '_>) -> Outcome {
    let shape = broadcast_inputs(call, &[0, 1, 4])?;
    call.set_shape(0, shape)
}

/// Inputs after the output's scale and zero point come in threes: tensor, scale, zero point.
fn qlinear_concat(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims: Option<Dims> = None;
    for i in (2..call.inputs.len()).step_by(3) {
        let shape = call.shape(i)?;
        let at = axis(call.int_or("axis", 0), shape.len())?;
        dims = Some(match dims {
            None => shape,
            Some(sum) if sum.len() != shape.len() => return invalid("inputs differ in rank"),
            Some(mut sum) => {
                sum[at] = sum[at].add(&shape[at]);
                sum
            }
        });
    }
    call.set_shape(0, dims.ok_or(Stop::Unknown)?)
}

fn spatial_range(call: &Call<'_, '_>, rank: usize) -> Result<std::ops::Range<usize>, Stop> {
    match (rank, call.flag("channels_last")) {
        (0..=2, _) => invalid("an image needs a rank of 3 or more"),
        (_, true) => Ok(1..rank - 1),
        (_, false) => Ok(2..rank),
    }
}

fn qlinear_pool(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let spatial = spatial_range(call, dims.len())?;
    let window = Window::read(call, spatial.len(), None)?;
    let places = window.output(&dims[spatial.clone()])?;
    for (at, place) in spatial.zip(places) {
        dims[at] = place;
    }
    call.set_shape(0, dims)
}

/// The window takes the axes between batch and channels.
fn nhwc_pool(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let Some(spatial) = dims.len().checked_sub(2).filter(|&n| n > 0) else {
        return invalid("an image needs a rank of 3 or more");
    };
    let window = Window::read(call, spatial, None)?;
    let places = window.output(&dims[1..=spatial])?;
    for (dim, place) in dims[1..=spatial].iter_mut().zip(places) {
        *dim = place;
    }
    call.set_shape(0, dims)
}

/// Where the window lies in the weights depends on who wrote them, so it has to be given.
fn nhwc_conv(call: &mut Call<'_, '_>) -> Outcome {
    let (mut dims, weights) = (call.shape(0)?, call.shape(1)?);
    if dims.len() != weights.len() || dims.len() < 3 {
        return invalid(format!("weights of rank {} for an input of rank {}", weights.len(), dims.len()));
    }
    let spatial = dims.len() - 2;
    if call.ints("kernel_shape").is_none_or(|kernel| kernel.is_empty()) {
        return Err(Stop::Unknown);
    }
    let window = Window::read(call, spatial, None)?;
    let places = window.output(&dims[1..=spatial])?;
    for (dim, place) in dims[1..=spatial].iter_mut().zip(places) {
        *dim = place;
    }
    dims[spatial + 1] = weights[0].clone();
    call.set_shape(0, dims)
}

fn qlinear_global_pool(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    for at in spatial_range(call, dims.len())? {
        dims[at] = Dim::Static(1);
    }
    call.set_shape(0, dims)
}

fn qlinear_reduce(call: &mut Call<'_, '_>) -> Outcome {
    let dims = call.shape(0)?;
    let reduced = match call.ints("axes") {
        Some(list) if !list.is_empty() => axes(&list, dims.len())?,
        _ => (0..dims.len()).collect(),
    };
    let keep = call.int_or("keepdims", 1) != 0;
    let left = dims.iter().enumerate().filter_map(|(i, dim)| match (reduced.contains(&i), keep) {
        (true, true) => Some(Dim::Static(1)),
        (true, false) => None,
        (false, _) => Some(dim.clone()),
    });
    call.set_shape(0, left.collect::<Dims>())
}

fn qlinear_conv(call: &mut Call<'_, '_>) -> Outcome {
    if call.flag("channels_last") { Err(Stop::Unknown) } else { conv_of(call, 0, 3) }
}

fn fused_conv(call: &mut Call<'_, '_>) -> Outcome {
    conv_of(call, 0, 1)
}

fn qgemm(call: &mut Call<'_, '_>) -> Outcome {
    call.set_dtype(0, call.dtype(8).unwrap_or(DType::F32));
    matmul_of(call, 0, 3, call.flag("transA"), call.flag("transB"))
}

fn matmul(call: &mut Call<'_, '_>) -> Outcome {
    if &*call.node.op.name == "MatMulIntegerToFloat"
        && let Some(dtype) = call.dtype(2)
    {
        call.set_dtype(0, dtype);
    }
    matmul_of(call, 0, 1, false, false)
}

fn fused_matmul(call: &mut Call<'_, '_>) -> Outcome {
    // Batch axes that are transposed too are rare, and left unknown.
    if call.flag("transBatchA") || call.flag("transBatchB") {
        return Err(Stop::Unknown);
    }
    matmul_of(call, 0, 1, call.flag("transA"), call.flag("transB"))
}

fn matmul_blocks(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let columns = call.size("N")?.ok_or(Stop::Unknown)?;
    let Some(last) = dims.last_mut() else { return invalid("a scalar is no matrix") };
    *last = Dim::Static(columns);
    call.set_shape(0, dims)
}

fn last_over(call: &Call<'_, '_>, input: usize, parts: i64) -> Dim {
    let last = call.shape_of(input).and_then(|dims| dims.last().cloned()).unwrap_or(Dim::Unknown);
    last.div_exact(&Dim::Static(parts)).unwrap_or(Dim::Unknown)
}

/// Output of an attention whose weights hold queries, keys and values side by side.
fn packed_attention(call: &mut Call<'_, '_>, past: usize) -> Outcome {
    let shape = call.shape_of_rank(0, 3)?;
    let sizes = call.ints("qkv_hidden_sizes");
    let hidden = match sizes.as_deref() {
        Some([_, _, values]) => Dim::Static(*values),
        _ => last_over(call, 1, 3),
    };
    call.set_shape(0, [shape[0].clone(), shape[1].clone(), hidden.clone()])?;
    let heads = Dim::Static(call.int("num_heads").filter(|&n| n > 0).ok_or(Stop::Unknown)?);
    if call.flag("past_present_share_buffer") {
        return call.same_shape(1, past);
    }
    let before = match call.has(past) {
        true => call.shape_of_rank(past, 5).map_or(Dim::Unknown, |dims| dims[3].clone()),
        false => Dim::Static(0),
    };
    let size = if sizes.is_some() { Dim::Unknown } else { hidden.div_exact(&heads).unwrap_or(Dim::Unknown) };
    call.set_shape(1, [Dim::Static(2), shape[0].clone(), heads, before.add(&shape[1]), size])
}

fn attention(call: &mut Call<'_, '_>) -> Outcome {
    packed_attention(call, 4)
}

fn qattention(call: &mut Call<'_, '_>) -> Outcome {
    packed_attention(call, 8)
}

fn multi_head_attention(call: &mut Call<'_, '_>) -> Outcome {
    let query = call.shape(0)?;
    if query.len() == 5 {
        // Packed: batch, sequence, heads, 3, size.
        return call.set_shape(0, [query[0].clone(), query[1].clone(), query[2].mul(&query[4])]);
    }
    let query = call.shape_of_rank(0, 3)?;
    let hidden = match call.shape_of(2).map(|dims| &dims[..]) {
        Some([_, _, hidden]) => hidden.clone(),
        // The values of a past: batch, heads, sequence, size.
        Some([_, heads, _, size]) => heads.mul(size),
        _ if call.has(2) => Dim::Unknown,
        _ => query[2].clone(),
    };
    call.set_shape(0, [query[0].clone(), query[1].clone(), hidden.clone()])?;
    // With its length given, the past is a buffer that does not grow.
    let heads = Dim::Static(call.int("num_heads").filter(|&n| n > 0).ok_or(Stop::Unknown)?);
    let keys = match call.shape_of(1).map(|dims| &dims[..]) {
        Some([_, length, _] | [_, _, length, _]) => length.clone(),
        _ => Dim::Unknown,
    };
    for (output, past, width) in [(1, 6, &query[2]), (2, 7, &hidden)] {
        let before = match call.shape_of(past) {
            _ if call.has(8) => Dim::Unknown,
            Some(dims) => dims.get(2).cloned().unwrap_or(Dim::Unknown),
            None if call.has(past) => Dim::Unknown,
            None => Dim::Static(0),
        };
        let size = width.div_exact(&heads).unwrap_or(Dim::Unknown);
        call.set_shape(output, [query[0].clone(), heads.clone(), before.add(&keys), size])?;
    }
    Ok(())
}

fn group_query_attention(call: &mut Call<'_, '_>) -> Outcome {
    let query = call.shape_of_rank(0, 3)?;
    let (heads, groups) = (call.int("num_heads"), call.int("kv_num_heads"));
    let hidden = match (call.has(1), heads, groups) {
        (true, ..) => query[2].clone(),
        // Packed: queries, then keys and values of fewer heads.
        (false, Some(heads), Some(groups)) => {
            let all = Dim::Static(groups).mul(&Dim::Static(2)).add(&Dim::Static(heads));
            let size = query[2].div_exact(&all).unwrap_or(Dim::Unknown);
            size.mul(&Dim::Static(heads))
        }
        _ => Dim::Unknown,
    };
    call.set_shape(0, [query[0].clone(), query[1].clone(), hidden])?;
    // The cache may be shared, and then keeps its length, or grow; which is not in the model.
    for (output, past) in [(1, 3), (2, 4)] {
        if let Some([batch, heads, _, size]) = call.shape_of(past).map(|dims| &dims[..]) {
            let dims = [batch.clone(), heads.clone(), Dim::Unknown, size.clone()];
            call.set_shape(output, dims)?;
        }
    }
    Ok(())
}

fn embed(call: &mut Call<'_, '_>) -> Outcome {
    let ids = call.shape_of_rank(0, 2)?;
    let hidden = call.shape_of_rank(2, 2).map_or(Dim::Unknown, |words| words[1].clone());
    call.set_shape(0, [ids[0].clone(), ids[1].clone(), hidden.clone()])?;
    call.set_shape(1, [ids[0].clone()])?;
    call.set_shape(2, [ids[0].clone(), ids[1].clone(), hidden])
}

fn bias_split_gelu(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let half = last_over(call, 0, 2);
    let Some(last) = dims.last_mut() else { return invalid("there is no axis to split") };
    *last = half;
    call.set_shape(0, dims)
}

fn expand_dims(call: &mut Call<'_, '_>) -> Outcome {
    let mut dims = call.shape(0)?;
    let at = axis(call.int_in(1)?, dims.len() + 1)?;
    dims.insert(at, Dim::Static(1));
    call.set_shape(0, dims)
}

fn crop_and_resize(call: &mut Call<'_, '_>) -> Outcome {
    let channels = call.shape_of_rank(0, 4)?[1].clone();
    let regions = call.shape_of_rank(1, 2)?[0].clone();
    let size = super::fill::shape_from(call, 3).unwrap_or_else(|_| Dims::from_elem(Dim::Unknown, 2));
    call.set_shape(0, [regions, channels].into_iter().chain(size))
}

fn gather_blocks(call: &mut Call<'_, '_>) -> Outcome {
    // Packed bytes hold several elements along the last axis, which the type alone does not tell.
    if call.dtype(0) == Some(DType::U8) {
        return Err(Stop::Unknown);
    }
    let (data, indices) = (call.shape(0)?, call.shape(1)?);
    let at = axis(call.int_or("gather_axis", 0), data.len())?;
    call.set_shape(0, data[..at].iter().chain(&indices).chain(&data[at + 1..]).cloned())
}

fn relative_position_bias(call: &mut Call<'_, '_>) -> Outcome {
    let heads = call.shape_of(0).and_then(|table| table.get(1).cloned()).unwrap_or(Dim::Unknown);
    let length = |i: usize| call.dim_in(i).ok().filter(Dim::is_nonnegative).unwrap_or(Dim::Unknown);
    let dims = [Dim::Static(1), heads, length(1), length(2)];
    call.set_shape(0, dims)
}

fn pairwise(call: &mut Call<'_, '_>) -> Outcome {
    let (a, b) = (call.shape_of_rank(0, 2)?, call.shape_of_rank(1, 2)?);
    call.set_shape(0, [a[0].clone(), b[0].clone()])
}
