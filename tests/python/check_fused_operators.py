"""Compares operators that ONNX Runtime's optimiser and quantiser emit with ONNX Runtime itself.

    python3 tests/python/check_fused_operators.py BYOC [WORD]...

writes each case as a test of a suite, its outputs by ONNX Runtime, and has `byoc conformance` run the suite. Words, such as
`--plugin NAME`, go to it.
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnx import ValueInfoProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
RANDOM = np.random.default_rng(7)
CASES = {}


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(low, high, *shape, dtype=np.int32):
    return RANDOM.integers(low, high, shape).astype(dtype)


def u8(*shape):
    return ints(0, 256, *shape, dtype=np.uint8)


def s8(*shape):
    """Seven bits: without VNNI, ONNX Runtime adds pairs of products in 16 bits, which more would saturate."""
    return ints(-63, 64, *shape, dtype=np.int8)


def scale(value):
    return np.array(value, np.float32)


def zero(value, dtype=np.uint8):
    return np.array(value, dtype)


def case(name, op, inputs, outputs=1, domain="com.microsoft", **attributes):
    CASES[name] = (op, inputs, outputs, domain, attributes)


def attention_cases():
    def projected(batch=2, rows=3, width=8):
        return [floats(batch, rows, width), floats(width, 3 * width), floats(3 * width)]

    case("attention", "Attention", projected(), num_heads=2)
    case("attention_causal", "Attention", projected(), num_heads=2, unidirectional=1)
    case("attention_lengths", "Attention", [*projected(), np.array([2, 3], np.int32)], num_heads=2)
    raw = np.array([[1, 1, 0], [1, 0, 1]], np.int32)
    case("attention_mask", "Attention", [*projected(), raw], num_heads=2)
    case("attention_mask_rows", "Attention", [*projected(), ints(0, 2, 2, 3, 3)], num_heads=2)
    past = floats(2, 2, 2, 4, 4)
    case("attention_past", "Attention", [*projected(), None, past], outputs=2, num_heads=2, unidirectional=1)
    case("attention_bias", "Attention", [*projected(), None, None, floats(2, 2, 3, 3)], num_heads=2)
    case("attention_scale", "Attention", projected(), num_heads=2, scale=0.3)

    mha = [floats(2, 3, 8), floats(2, 5, 8), floats(2, 5, 8)]
    case("multi_head", "MultiHeadAttention", mha, num_heads=2)
    case("multi_head_bias", "MultiHeadAttention", [*mha, floats(24)], num_heads=2)
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    case("multi_head_padding", "MultiHeadAttention", [*mha, None, padding], num_heads=2)
    case("multi_head_addend", "MultiHeadAttention", [*mha, None, None, floats(1, 2, 3, 5)], num_heads=2)
    same = [floats(2, 3, 8), floats(2, 3, 8), floats(2, 3, 8)]
    cache = [None, None, None, floats(2, 2, 4, 4), floats(2, 2, 4, 4)]
    case("multi_head_past", "MultiHeadAttention", [*same, *cache], outputs=3, num_heads=2)
    case("multi_head_causal", "MultiHeadAttention", same, num_heads=2, unidirectional=1)

    quantised = [u8(2, 3, 8), s8(8, 24), floats(24), scale(0.02), scale(0.01), None, zero(120), zero(0, np.int8)]
    case("q_attention", "QAttention", quantised, num_heads=2)
    case("rotary", "RotaryEmbedding", [floats(2, 3, 8), np.array([1], np.int64), floats(9, 2), floats(9, 2)])
    places = ints(0, 9, 2, 3, dtype=np.int64)
    case("rotary_pairs", "RotaryEmbedding", [floats(2, 2, 3, 4), places, floats(9, 2), floats(9, 2)], interleaved=1)


def group_query_cases():
    def group(rows, past, ends, total, heads=4, groups=2, size=16):
        cache = [floats(2, groups, past, size), floats(2, groups, past, size)] if past else [None, None]
        return [
            *(floats(2, rows, n * size) for n in (heads, groups, groups)),
            *cache,
            np.array(ends, np.int32),
            np.array(total, np.int32),
        ]

    sizes = {"num_heads": 4, "kv_num_heads": 2, "outputs": 3}
    angles = [floats(16, 8), floats(16, 8)]
    case("group_first", "GroupQueryAttention", group(3, 0, [2, 2], 3), **sizes)
    case("group_next", "GroupQueryAttention", group(1, 4, [4, 4], 5), **sizes)
    case("group_uneven", "GroupQueryAttention", group(1, 5, [3, 4], 5), **sizes)
    case("group_rotary", "GroupQueryAttention", [*group(1, 4, [4, 4], 5), *angles], do_rotary=1, **sizes)
    case("group_rotary_first", "GroupQueryAttention", [*group(3, 0, [2, 2], 3), *angles], do_rotary=1, **sizes)
    case("group_window", "GroupQueryAttention", group(6, 0, [5, 5], 6), local_window_size=2, **sizes)
    case("group_window_next", "GroupQueryAttention", group(1, 6, [6, 6], 7), local_window_size=3, **sizes)
    case("group_softcap", "GroupQueryAttention", group(3, 0, [2, 2], 3), softcap=2.0, **sizes)
    case("group_smooth", "GroupQueryAttention", group(3, 0, [2, 2], 3), smooth_softmax=1, **sizes)


def fused_cases():
    x, row = floats(2, 3, 8), floats(8)
    case("bias_gelu", "BiasGelu", [x, row])
    case("fast_gelu", "FastGelu", [x, row])
    case("fast_gelu_alone", "FastGelu", [x])
    case("gelu", "Gelu", [x])
    case("quick_gelu", "QuickGelu", [x], alpha=1.5)
    case("skip_norm", "SkipLayerNormalization", [x, floats(2, 3, 8), row, floats(8), floats(8)])
    case("skip_rms", "SkipSimplifiedLayerNormalization", [x, floats(2, 3, 8), row])
    case("rms", "SimplifiedLayerNormalization", [x, row], domain="", axis=-1)
    gemm = [floats(3, 4), floats(4, 5), floats(5)]
    for name in "Relu Sigmoid Tanh".split():
        case(f"fused_gemm_{name}", "FusedGemm", gemm, activation=name, alpha=0.5)
    case("fused_gemm_leaky", "FusedGemm", gemm, activation="LeakyRelu", activation_alpha=0.3)
    case("fused_matmul", "FusedMatMul", [floats(2, 4, 3), floats(2, 5, 4)], transA=1, transB=1, alpha=0.5)
    case("fused_matmul_batches", "FusedMatMul", [floats(4, 2, 3), floats(2, 3, 5)], transBatchA=1)
    both = {"transA": 1, "transB": 1, "transBatchA": 1, "transBatchB": 1}
    case("fused_matmul_all_turned", "FusedMatMul", [floats(3, 2, 4), floats(5, 2, 3)], **both)
    image, filters = floats(1, 4, 6, 6), floats(4, 4, 3, 3)
    case("fused_conv", "FusedConv", [image, filters, floats(4)], activation="Relu")
    case("fused_conv_leaky", "FusedConv", [image, filters], activation="LeakyRelu", activation_params=[0.2])
    ids, kinds = ints(0, 10, 2, 3), ints(0, 2, 2, 3)
    tables = [floats(10, 8), floats(6, 8), floats(2, 8), floats(8), floats(8)]
    mask = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    case("embed", "EmbedLayerNormalization", [ids, kinds, *tables, mask], outputs=2)
    case("embed_plain", "EmbedLayerNormalization", [ids, None, *tables[:2], None, *tables[3:]], outputs=2)


def quantised_cases():
    a, b = u8(2, 3, 8), u8(3, 8)
    both = [a, scale(0.1), zero(100), b, scale(0.2), zero(130), scale(0.3), zero(120)]
    case("q_add", "QLinearAdd", both)
    case("q_mul", "QLinearMul", both)
    one = [a, scale(0.1), zero(100), scale(0.05), zero(90)]
    case("q_leaky", "QLinearLeakyRelu", one, alpha=0.1)
    case("q_sigmoid", "QLinearSigmoid", [a, scale(0.1), zero(100), scale(1 / 256), zero(0)])
    case("q_softmax", "QLinearSoftmax", [a, scale(0.1), zero(100), scale(1 / 256), zero(0)], axis=-1, opset=13)
    case("q_concat", "QLinearConcat", [scale(0.2), zero(110), *both[:3], u8(2, 3, 8), *both[4:6]], axis=1)
    case("q_mean", "QLinearGlobalAveragePool", [u8(1, 4, 5, 5), scale(0.1), zero(9), scale(0.1), zero(7)])
    pool = [u8(1, 4, 6, 6), scale(0.1), zero(9), scale(0.1), zero(7)]
    case("q_average", "QLinearAveragePool", pool, kernel_shape=[2, 2], strides=[2, 2])
    last = [u8(1, 6, 5, 4), *pool[1:]]
    case("q_average_last", "QLinearAveragePool", last, kernel_shape=[2, 2], strides=[2, 1], channels_last=1)
    case("q_mean_last", "QLinearGlobalAveragePool", [u8(2, 5, 5, 4), *pool[1:]], channels_last=1)
    case("nhwc_max_pool", "NhwcMaxPool", [u8(1, 6, 5, 4)], kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    filters = [s8(8, 2, 3, 3), scale(0.02), zero(0, np.int8)]
    conv = [u8(1, 6, 5, 4), scale(0.1), zero(9), *filters, scale(0.2), zero(120), ints(-99, 99, 8)]
    case("q_conv_last", "QLinearConv", conv, group=2, pads=[1, 1, 1, 1], channels_last=1)
    where = [ints(0, 2, 3, 8, dtype=bool), a, scale(0.1), zero(3), b, scale(0.2), zero(5), scale(0.2), zero(4)]
    case("q_where", "QLinearWhere", where)
    gemm = [u8(3, 8), scale(0.1), zero(7), s8(8, 4), scale(0.02), zero(0, np.int8)]
    case("q_gemm", "QGemm", [*gemm, ints(-99, 99, 4), scale(0.1), zero(120)])
    weights = [s8(8, 4), scale(0.02), zero(1, np.int8)]
    case("dynamic_matmul", "DynamicQuantizeMatMul", [floats(3, 8), *weights, floats(4)])
    integers = [u8(3, 8), s8(8, 4), scale(0.1), scale(0.02), zero(12), zero(3, np.int8), floats(4)]
    case("matmul_to_float", "MatMulIntegerToFloat", integers)
    shape = {"K": 32, "N": 4, "bits": 4, "block_size": 16}
    packed = [floats(3, 32), u8(4, 2, 8), np.abs(floats(4, 2)).reshape(8)]
    case("matmul_bits", "MatMulNBits", packed, **shape)
    case("matmul_bits_zero", "MatMulNBits", [*packed, u8(4, 1).reshape(4)], **shape)
    groups = np.array([i % 2 for i in range(32)], np.int32)
    case("matmul_bits_order", "MatMulNBits", [*packed, None, groups], **shape)
    table = [u8(10, 16), ints(0, 10, 2, 3, dtype=np.int64), np.abs(floats(10, 2))]
    case("gather_blocks", "GatherBlockQuantized", table, bits=4, block_size=16)
    case("gather_blocks_zero", "GatherBlockQuantized", [*table, u8(10, 1)], bits=4, block_size=16)


def quantised_embedding_cases():
    ids, kinds, mask = ints(0, 10, 2, 3), ints(0, 2, 2, 3), np.array([[1, 1, 0], [1, 1, 1]], np.int32)
    tables = [u8(10, 8), u8(6, 8), u8(2, 8), u8(8), u8(8)]
    scales, zeros = [scale(0.02 + 0.01 * i) for i in range(5)], [zero(120 + i) for i in range(5)]
    case("q_embed", "QEmbedLayerNormalization", [ids, kinds, *tables, mask, *scales, *zeros], outputs=2)
    plain = [ids, None, *tables[:2], None, *tables[3:], None]
    scales[2], zeros[2] = None, None
    case("q_embed_plain", "QEmbedLayerNormalization", [*plain, *scales, *zeros], outputs=2)


def recurrent_cases():
    def lstm(directions, batch, dtype, each):
        def weights(rows):
            return s8(directions, rows, 16) if dtype == np.int8 else u8(directions, rows, 16)

        def parameters():
            sizes = (directions, 16) if each else (directions,)
            zeros = ints(-3, 3, *sizes, dtype=dtype) if dtype == np.int8 else ints(90, 140, *sizes, dtype=dtype)
            return [np.full(sizes, 0.01, np.float32) + RANDOM.uniform(0, 0.005, sizes).astype(np.float32), zeros]

        bias, state = floats(directions, 32), [floats(directions, batch, 4) for _ in range(2)]
        return [floats(5, batch, 3), weights(3), weights(4), bias, None, *state, None, *parameters(), *parameters()]

    case("q_lstm", "DynamicQuantizeLSTM", lstm(1, 1, np.int8, False), outputs=3, hidden_size=4)
    case("q_lstm_bytes", "DynamicQuantizeLSTM", lstm(1, 2, np.uint8, False), outputs=3, hidden_size=4)
    both = {"outputs": 3, "hidden_size": 4, "direction": "bidirectional"}
    case("q_lstm_both", "DynamicQuantizeLSTM", lstm(2, 2, np.int8, False), **both)
    # ONNX Runtime takes none but zero as zero points of columns.
    columns = lstm(2, 2, np.int8, True)
    columns[9], columns[11] = np.zeros_like(columns[9]), np.zeros_like(columns[11])
    case("q_lstm_columns", "DynamicQuantizeLSTM", columns, **both)


def plain_cases():
    x = floats(2, 3, 4)
    case("distances", "CDist", [floats(3, 4), floats(5, 4)], metric="euclidean")
    case("distances_squared", "CDist", [floats(3, 4), floats(5, 4)], metric="sqeuclidean")
    case("expand_dims", "ExpandDims", [x, np.array(-2, np.int32)])
    case("gather_nd", "GatherND", [x, ints(0, 2, 5, 2, dtype=np.int64)])
    case("inverse", "Inverse", [floats(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)])
    case("pad", "Pad", [x, np.array([0, 1, 0, 0, 0, 2], np.int64), scale(0.5)])
    case("pad_reflected", "Pad", [x, np.array([0, 1, 2, 0, 1, 0], np.int64)], mode="reflect")
    case("range", "Range", [scale(1.0), scale(9.5), scale(2.0)])
    case("range_by_one", "Range", [np.array(3, np.int64), np.array(7, np.int64)])
    case("trilu", "Trilu", [x, np.array(1, np.int64)], upper=0)


def model_of(op, inputs, outputs, domain, attributes):
    names = ["" if value is None else f"x{i}" for i, value in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs)
        if value is not None
    ]
    undeclared = [ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph([node], op, infos, undeclared)
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8)


def declare_outputs(model, values):
    del model.graph.output[:]
    for i, value in enumerate(values):
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.output.append(helper.make_tensor_value_info(f"y{i}", dtype, value.shape))


def write_case(folder, op, inputs, outputs, domain, attributes):
    model = model_of(op, inputs, outputs, domain, attributes)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # With more, each thread quantises the hidden states of its own sequences.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {f"x{i}": value for i, value in enumerate(inputs) if value is not None}
    results = session.run(None, feed)
    declare_outputs(model, results)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for what, values in (("input", feed.values()), ("output", results)):
        for i, value in enumerate(values):
            (data / f"{what}_{i}.pb").write_bytes(numpy_helper.from_array(value).SerializeToString())


def main():
    attention_cases()
    group_query_cases()
    fused_cases()
    quantised_cases()
    quantised_embedding_cases()
    recurrent_cases()
    plain_cases()
    with tempfile.TemporaryDirectory() as root:
        refused = []
        for name, parts in CASES.items():
            try:
                write_case(pathlib.Path(root) / "com.microsoft" / name, *parts)
            except Exception as error:  # ONNX Runtime's own, of many types
                refused.append(f"{name}: {str(error).splitlines()[0][:200]}")
        print(f"{len(CASES) - len(refused)} cases", *refused, sep="\nrefused by ONNX Runtime: ")
        # An integer next to a rounding border may go either way.
        command = [sys.argv[1], "conformance", root, "--rtol", "1e-4", "--atol", "1e-4", "--quanta", "1", *sys.argv[2:]]
        sys.exit(subprocess.run(command).returncode or bool(refused))


if __name__ == "__main__":
    main()
