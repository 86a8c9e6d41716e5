"""How long this host's kernels take for common operators in float32, beside ONNX Runtime's.

    python3 tests/python/operators_side_by_side.py BYOC --threads 1 2 --bar 1.5

Each operator works on about a million elements. What it makes is cut down to one element by a Slice, in both
runtimes, so that the time of handing out a large result does not hide the operator's own. The runtimes take turns;
the ratio is of the least of the medians of several turns, ours by ONNX Runtime's: below one, this host is faster.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 23
MILLION = 1024 * 1024
SQUARE = [1024, 1024]
IMAGE = [1, 64, 128, 128]

RNG = np.random.default_rng(1)


def floats(shape, low=-3.0, high=3.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def case(op, *inputs, constants=(), outputs=1, domain="", note="", **attributes):
    """A call of an operator; `constants` come behind the inputs, and `None` is left out."""
    return op, note, inputs, constants, outputs, domain, attributes


def cases():
    """Families of calls."""
    x, image, positive = floats(SQUARE), floats(IMAGE), floats(SQUARE, 0.1, 4.0)
    row, column, one = floats([1024]), floats([1024, 1]), np.float32(1.5)
    names = "Abs Ceil Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Mish Neg Relu Round Selu Sigmoid "
    names += "Sign Sin Softplus Softsign Tanh"
    yield "elementwise", [case(name, x) for name in names.split()]
    yield "elementwise", [case(name, positive) for name in ("Log", "Reciprocal", "Sqrt")]
    yield "elementwise", [case("Clip", x, constants=[np.float32(-1), np.float32(1)]), case("Identity", x)]
    for name in "Add Sub Mul Div Max Min".split():
        yield "binary", [case(name, x, floats(SQUARE)), case(name, x, constants=[row], note="row")]
    yield "binary", [case("Add", x, constants=[column], note="column"), case("Mul", x, constants=[one], note="scalar")]
    yield "binary", [case("Add", image, constants=[floats([64, 1, 1])], note="channels")]
    yield "binary", [case("Pow", positive, constants=[np.float32(2)], note="2")]
    yield "binary", [case("Pow", positive, constants=[np.float32(0.5)], note="0.5")]
    yield "binary", [case("Pow", positive, floats(SQUARE, -2, 2), note="any"), case("PRelu", image, constants=[floats([64, 1, 1])])]
    yield "binary", [case("Greater", x, floats(SQUARE)), case("Equal", x, floats(SQUARE))]
    yield "binary", [case("Where", x > 0, x, floats(SQUARE)), case("Where", x > 0, x, constants=[one], note="scalar")]
    yield "binary", [case("And", x > 0, x > 1), case("Not", x > 0), case("Sum", x, floats(SQUARE), floats(SQUARE))]
    for name in "L1 L2 LogSumExp Max Mean Min Prod Sum SumSquare".split():
        for axis, shape in (1, SQUARE), (0, SQUARE), (1, [64, 128, 128]):
            note = f"axis {axis} of {len(shape)}"
            yield "reductions", [case("Reduce" + name, floats(shape, 0.5, 1.5), constants=[ints(axis)], note=note)]
    for name in "Max Mean Sum".split():
        for n in 2, 3, 5, 8, 12, 16, 24, 48, 100:
            few = floats([MILLION // n, n], 0.5, 1.5)
            yield "short rows", [case("Reduce" + name, few, constants=[ints(1)], note=f"rows of {n}")]
        for n, inner in (4, 4), (16, 2), (3, 16), (64, 8):
            few = floats([MILLION // (n * inner), n, inner], 0.5, 1.5)
            yield "short rows", [case("Reduce" + name, few, constants=[ints(1)], note=f"{n} of {inner}")]
    for name in "Softmax LogSoftmax".split():
        for n in 2, 10, 16, 40, 100, 300:
            yield "short rows", [case(name, floats([MILLION // n, n]), note=f"rows of {n}")]
    yield "reductions", [case("ReduceMean", image, constants=[ints(2, 3)], note="image"), case("ReduceSum", x, note="all")]
    yield "reductions", [case("ArgMax", x, axis=1), case("ArgMax", x, axis=0, note="axis 0"), case("CumSum", x, constants=[np.int64(1)])]
    yield "softmax", [case("Softmax", x), case("Softmax", x, axis=0, note="axis 0"), case("LogSoftmax", x)]
    yield "softmax", [case("Softmax", floats([64, 128, 128]), axis=1, note="axis 1 of 3"), case("Softmax", floats([8192, 128]), note="short rows")]
    yield "normalisation", [case("LayerNormalization", x, constants=[row, row]), case("LpNormalization", x)]
    each = [floats([64], 0.5, 2) for _ in range(4)]
    yield "normalisation", [case("BatchNormalization", image, constants=each), case("InstanceNormalization", image, constants=each[:2])]
    yield "normalisation", [case("SkipLayerNormalization", floats([4, 256, 1024]), floats([4, 256, 1024]), constants=[row, row], domain="com.microsoft")]
    yield "transposes", [case("Transpose", x, perm=[1, 0]), case("Transpose", floats([8, 128, 16, 64]), perm=[0, 2, 1, 3], note="0213")]
    yield "transposes", [case("Transpose", image, perm=[0, 2, 3, 1], note="to channels last")]
    yield "transposes", [case("Transpose", floats([1, 128, 128, 64]), perm=[0, 3, 1, 2], note="to channels first")]
    yield "transposes", [case("Transpose", floats([32, 32, 32, 32]), perm=[3, 2, 1, 0], note="reversed")]
    for channels in 2, 3, 4, 8:
        few = [1, MILLION // channels // 1024, 1024, channels]
        yield "transposes", [case("Transpose", floats(few), perm=[0, 3, 1, 2], note=f"{channels} channels first")]
        few = [1, channels, *few[1:3]]
        yield "transposes", [case("Transpose", floats(few), perm=[0, 2, 3, 1], note=f"{channels} channels last")]
    yield "transposes", [case("DepthToSpace", image, blocksize=2), case("SpaceToDepth", image, blocksize=2)]
    where = RNG.integers(0, 1024, [1024])
    yield "gathers", [case("Gather", x, where), case("Gather", x, where, axis=1, note="axis 1")]
    yield "gathers", [case("Gather", floats([30000, 64]), RNG.integers(0, 30000, [16, 1024]), note="rows of 64")]
    yield "gathers", [case("GatherElements", x, RNG.integers(0, 1024, SQUARE), axis=1)]
    yield "gathers", [case("GatherElements", x, RNG.integers(0, 1024, SQUARE), axis=0, note="axis 0")]
    yield "gathers", [case("GatherND", x, RNG.integers(0, 1024, [1024, 1]), note="rows"), case("GatherND", x, RNG.integers(0, 1024, [MILLION // 8, 2]), note="elements")]
    halves = [floats([512, 1024]) for _ in range(2)]
    yield "concat", [case("Concat", *halves, axis=0), case("Concat", *halves, axis=1, note="axis 1")]
    yield "concat", [case("Concat", *[floats([1024, 256]) for _ in range(4)], axis=1, note="four"), case("Split", x, axis=1, num_outputs=4, outputs=4)]
    yield "concat", [case("Slice", x, constants=[ints(100), ints(1000), ints(1)]), case("Slice", x, constants=[ints(0), ints(1024), ints(1), ints(2)], note="step 2")]
    yield "concat", [case("Pad", image, constants=[ints(0, 0, 1, 1, 0, 0, 1, 1)]), case("Tile", floats([256, 1024]), constants=[ints(2, 2)])]
    yield "concat", [case("Expand", column, constants=[ints(1024, 1024)], note="column"), case("Expand", row, constants=[ints(1024, 1024)], note="row")]
    yield from layers()
    yield from fused()


def layers():
    """Operators that are a layer of a model by themselves, of a model's sizes."""
    for name, gates in ("RNN", 1), ("GRU", 3), ("LSTM", 4):
        for note, ways in ("", 1), ("bidirectional", 2):
            weights = [floats([ways, gates * 256, n], -0.1, 0.1) for n in (128, 256)] + [floats([ways, 2 * gates * 256], -0.1, 0.1)]
            more = {"linear_before_reset": 1} if name == "GRU" else {}
            yield "recurrent", [case(name, floats([50, 1, 128]), constants=weights, note=note, hidden_size=256, direction=note or "forward", **more)]
    yield "einsum", [case("Einsum", floats([8, 64, 128]), floats([8, 128, 64]), equation="bij,bjk->bik", note="bij,bjk->bik")]
    yield "einsum", [case("Einsum", *[floats([1, 128, 12, 64]) for _ in "qk"], equation="bqhd,bkhd->bhqk", note="bqhd,bkhd->bhqk")]
    heads = [floats([1, 12, 128, 64]) for _ in "qkv"]
    yield "attention", [case("Attention", *heads), case("Attention", *heads, is_causal=1, note="causal")]
    yield "selection", [case("TopK", floats([33600]), constants=[ints(300)], outputs=2), case("Trilu", floats([12, 128, 128]))]
    yield "selection", [case("ScatterND", floats([8400, 80]), RNG.integers(0, 8400, [400, 1]), floats([400, 80]))]
    yield "selection", [case("ScatterElements", floats([512, 256]), RNG.integers(0, 512, [512, 256]), floats([512, 256]), axis=0)]
    yield "selection", [case("GridSample", floats([1, 32, 64, 64]), floats([1, 64, 64, 2], -1, 1))]


def fused():
    """Operators that ONNX Runtime's optimiser and quantiser write."""

    def fused_case(op, *inputs, **more):
        return case(op, *inputs, domain="com.microsoft", **more)

    def u8(*shape):
        return RNG.integers(0, 255, shape).astype(np.uint8)

    rows, wide, codes = floats([1, 128, 768]), floats([128, 3072]), [np.float32(0.01), np.uint8(128)]
    yield "fused", [fused_case(op, wide) for op in ("Gelu", "QuickGelu", "FastGelu")]
    yield "fused", [fused_case(op, wide, constants=[floats([3072])], note="bias") for op in ("BiasGelu", "FastGelu")]
    yield "fused", [fused_case("MultiHeadAttention", rows, rows, rows, num_heads=12)]
    yield "fused", [fused_case("MultiHeadAttention", rows, rows, rows, constants=[floats([2304])], num_heads=12, note="bias")]
    yield "fused", [fused_case("Attention", rows, constants=[floats([768, 2304], -0.05, 0.05), floats([2304])], num_heads=12)]
    cache = [floats([1, 4, 512, 64]) for _ in "kv"]
    step = [floats([1, 1, 768]), floats([1, 1, 256]), floats([1, 1, 256])]
    lengths = [np.array([512], np.int32), np.array(513, np.int32)]
    yield "fused", [fused_case("GroupQueryAttention", *step, *cache, constants=lengths, outputs=3, num_heads=12, kv_num_heads=4, note="a step")]
    weights = [u8(768, 768), np.float32(0.01), np.uint8(128)]
    yield "fused", [fused_case("DynamicQuantizeMatMul", floats([128, 768]), constants=weights)]
    scales = [np.float32(0.01), np.float32(0.01)]
    yield "fused", [fused_case("MatMulIntegerToFloat", u8(128, 768), constants=[weights[0], *scales])]
    yield "fused", [fused_case(op, u8(1024, 1024), constants=codes * 2) for op in ("QLinearSigmoid", "QLinearLeakyRelu")]


def model_of(operator):
    op, _, inputs, constants, outputs, domain, attributes = operator
    given = {f"x{i}": np.asarray(value) for i, value in enumerate(inputs)}
    weights = {f"c{i}": np.asarray(value) for i, value in enumerate(constants)}
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, [*given, *weights], made, domain=domain, **attributes)
    rank = sample_rank(node, given, weights)
    zero, end = ints(*[0] * rank), ints(*[1] * rank)
    cuts = [helper.make_node("Slice", [name, "zero", "end"], [f"{name}_first"]) for name in made]
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()]
    results = [helper.make_tensor_value_info(f"{name}_first", TensorProto.UNDEFINED, None) for name in made]
    for info in results:
        info.ClearField("type")
    initial = [numpy_helper.from_array(a, n) for n, a in {**weights, "zero": zero, "end": end}.items()]
    opsets = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph([node, *cuts], op, infos, results, initial)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    kinds = [o.type for o in session(model, 1).get_outputs()]
    for info, kind in zip(model.graph.output, kinds):
        bits = {"tensor(float)": TensorProto.FLOAT, "tensor(bool)": TensorProto.BOOL, "tensor(int64)": TensorProto.INT64, "tensor(uint8)": TensorProto.UINT8}
        info.CopyFrom(helper.make_tensor_value_info(info.name, bits[kind], None))
    return model, given


def sample_rank(node, given, weights):
    """The rank of the results."""
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()]
    initial = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    result = helper.make_empty_tensor_value_info(node.output[0])
    opsets = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid(node.domain, 1)] if node.domain else [])
    graph = helper.make_graph([node], "sample", infos, [result], initial)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return session(model, 1).run(None, given)[0].ndim


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Else it pushes some operators behind the Slice.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def time_onnxruntime(model, feed, threads, seconds):
    return time_session(session(model, threads), feed, seconds)


def time_session(running, feed, seconds):
    """The median of its runs, in microseconds."""
    bound = running.io_binding()
    for name, value in feed.items():
        bound.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    for output in running.get_outputs():
        bound.bind_output(output.name)
    for _ in range(5):
        running.run_with_iobinding(bound)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        running.run_with_iobinding(bound)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def time_byoc(byoc, folder, threads, seconds):
    words = [byoc, "bench", folder / "model.onnx", "--data", folder, "--threads", threads, "--seconds", seconds]
    words += ["--warmup", 5, "--quiet", "--json", folder / "bench.json"]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "bench.json").read_text())["median_ms"] * 1e3


def measure(operator, arguments, threads):
    model, feed = model_of(operator)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = folder / "test_data_set_0"
        data.mkdir()
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        for j, (name, value) in enumerate(feed.items()):
            (data / f"input_{j}.pb").write_bytes(numpy_helper.from_array(value, name).SerializeToString())
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(time_byoc(arguments.byoc, folder, threads, arguments.seconds))
            theirs.append(time_onnxruntime(model, feed, threads, arguments.seconds))
    return min(ours), min(theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc", help="the command, built with --release")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=0.2, help="of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each runtime")
    parser.add_argument("--bar", type=float, default=0.0, help="fail where a ratio is above this")
    parser.add_argument("--only", nargs="*", help="operators or families")
    arguments = parser.parse_args()
    print(f"ONNX Runtime {onnxruntime.__version__}; microseconds", flush=True)
    slow = 0
    for threads in arguments.threads:
        ratios = []
        for family, operators in cases():
            for operator in operators:
                if arguments.only and not {operator[0], family} & set(arguments.only):
                    continue
                ours, theirs = measure(operator, arguments, threads)
                ratios.append(ours / theirs)
                slow += arguments.bar and ours / theirs > arguments.bar
                mark = "  *" if arguments.bar and ours / theirs > arguments.bar else ""
                name = f"{operator[0]} {operator[1]}".strip()
                print(f"{threads} {family:14} {name:32} {ours:9.0f} {theirs:9.0f} {ours / theirs:6.2f}{mark}", flush=True)
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{threads} threads: geometric mean {mean:.2f}, largest {max(ratios):.2f}, {len(ratios)} operators", flush=True)
    if slow:
        sys.exit(f"{slow} above {arguments.bar}")


if __name__ == "__main__":
    main()
