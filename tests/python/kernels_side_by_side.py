"""How fast this host multiplies and convolves, beside ONNX Runtime and beside what the machine can do at most.

    python3 tests/python/kernels_side_by_side.py BYOC --threads 1 2

The shapes are those of well-known models. Products of one row, as in decoding, run over many matrices in turn, more
than the caches hold, so memory limits them; they are given in GB/s of weights and of the measured rate of memory. All
others are given in GFLOP/s, by the plain algorithm, and of the measured peak of multiply-adds. ONNX Runtime optimises
as it does by default; turning images to its layout of channels and back is part of both runtimes' time. They take
turns; the ratio is of the least of the medians of several turns, ours by ONNX Runtime's: below one, this host is
faster. With `--precision` this host keeps weights in fewer bits; rates are still of the f32 model.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import operators_side_by_side as side

OPSET = 20
RNG = np.random.default_rng(1)
# More than last-level caches hold.
BEYOND_CACHES = 128 << 20

# Model, rows, inner dimension, columns.
PRODUCTS = [
    ("bert_base", 128, 768, 768),
    ("bert_base", 128, 768, 3072),
    ("bert_base", 128, 3072, 768),
    ("vit_b16", 197, 768, 2304),
    ("vit_b16", 197, 768, 3072),
    ("vit_b16", 197, 3072, 768),
    ("resnet50", 1, 2048, 1000),
    ("gpt2_small decode", 1, 768, 2304),
    ("gpt2_small decode", 1, 768, 3072),
    ("gpt2_small decode", 1, 3072, 768),
    ("llama_135m decode", 1, 576, 1536),
    ("llama_135m decode", 1, 1536, 576),
]
# Model, input channels, output channels, groups, input size, kernel, stride.
CONVOLUTIONS = [
    ("resnet50", 3, 64, 1, 224, 7, 2),
    ("resnet50", 64, 64, 1, 56, 3, 1),
    ("resnet50", 64, 256, 1, 56, 1, 1),
    ("resnet50", 128, 128, 1, 56, 3, 2),
    ("resnet50", 128, 128, 1, 28, 3, 1),
    ("resnet50", 512, 128, 1, 28, 1, 1),
    ("resnet50", 256, 256, 1, 14, 3, 1),
    ("resnet50", 256, 1024, 1, 14, 1, 1),
    ("resnet50", 512, 512, 1, 7, 3, 1),
    ("resnet50", 2048, 512, 1, 7, 1, 1),
    ("mobilenet_v2", 32, 32, 32, 112, 3, 1),
    ("mobilenet_v2", 16, 96, 1, 112, 1, 1),
    ("mobilenet_v2", 144, 144, 144, 56, 3, 1),
    ("mobilenet_v2", 192, 32, 1, 28, 1, 1),
    ("mobilenet_v2", 384, 384, 384, 14, 3, 1),
    ("mobilenet_v2", 960, 160, 1, 7, 1, 1),
    ("vit_b16", 3, 768, 1, 224, 16, 16),
]


def floats(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def model_of(nodes, feed, weights, outputs):
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feed.items()]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initial = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "kernel", infos, results, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def cut(node, feed, weights, rank):
    """One node, of whose result one element is handed out: a large one would take time of its own."""
    ends = {"zero": np.zeros(rank, np.int64), "one": np.ones(rank, np.int64)}
    first = helper.make_node("Slice", ["y", "zero", "one"], ["first"])
    return model_of([node, first], feed, weights | ends, ["first"])


class Case:
    """A model, how often it computes the shape, and what once has to be computed and read."""

    def __init__(self, name, shape, model, feed, flops, weight_bytes, times=1):
        self.name, self.shape, self.model, self.feed, self.times = name, shape, model, feed, times
        self.flops, self.weight_bytes = flops, weight_bytes

    def rate(self, microseconds):
        """In GB/s where several times is more than caches hold, else in GFLOP/s."""
        work = self.weight_bytes if self.times > 1 else self.flops
        return work * self.times / microseconds / 1e3


def product(name, m, k, n):
    shape, feed = f"{m}x{k}x{n}", {"x": floats(m, k)}
    flops, size = 2 * m * k * n, 4 * k * n
    if m > 1:
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        return Case(name, shape, cut(node, feed, {"w": floats(k, n)}, 2), feed, flops, size)
    times = math.ceil(BEYOND_CACHES / size)
    weights = {f"w{i}": floats(k, n) for i in range(times)}
    nodes = [helper.make_node("MatMul", ["x", w], [f"y{i}"]) for i, w in enumerate(weights)]
    model = model_of(nodes, feed, weights, [node.output[0] for node in nodes])
    return Case(name, shape, model, feed, flops, size, times)


def convolution(name, channels, outputs, groups, size, kernel, stride):
    pad = kernel // 2 if stride < kernel else 0
    feed = {"x": floats(1, channels, size, size)}
    weights = {"w": floats(outputs, channels // groups, kernel, kernel), "b": floats(outputs)}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=groups, strides=[stride] * 2, pads=[pad] * 4)
    pixels = ((size + 2 * pad - kernel) // stride + 1) ** 2
    flops = 2 * pixels * weights["w"].size
    shape = f"{channels}->{outputs} {size}x{size} {kernel}x{kernel}/{stride}" + (" by channel" if groups > 1 else "")
    return Case(name, shape, cut(node, feed, weights, 4), feed, flops, weights["w"].nbytes)


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def bench(arguments, folder, threads, *more):
    words = [arguments.byoc, "bench", folder / "model.onnx", "--data", folder, "--threads", threads]
    words += ["--seconds", arguments.seconds, "--warmup", 5, "--precision", arguments.precision, "--quiet", *more]
    words += ["--json", folder / "bench.json"]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "bench.json").read_text())


def measure(case, arguments, threads):
    """Microseconds of both, and the limits of the machine."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = folder / "test_data_set_0"
        data.mkdir()
        (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        (data / "input_0.pb").write_bytes(numpy_helper.from_array(case.feed["x"], "x").SerializeToString())
        limits = bench(arguments, folder, threads, "--profile")["profile"]
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            ours.append(bench(arguments, folder, threads)["median_ms"] * 1e3)
            theirs.append(side.time_session(session(case.model, threads), case.feed, arguments.seconds))
    return min(ours), min(theirs), limits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc", help="the command, built with --release")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=0.2, help="of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each runtime")
    parser.add_argument("--precision", default="f32", help="of this host's weights")
    parser.add_argument("--only", nargs="*", help="models")
    arguments = parser.parse_args()
    wanted = lambda shape: not arguments.only or any(word in shape[0] for word in arguments.only)
    print(f"ONNX Runtime {onnxruntime.__version__}; byoc in {arguments.precision}", flush=True)
    print(f"{'':2} {'model':18} {'shape':34} {'unit':>8} {'byoc':>7} {'ORT':>7} {'of peak':>8} {'ORT':>6} {'ratio':>6}")
    for threads in arguments.threads:
        ratios = []
        shapes = [(product, s) for s in PRODUCTS] + [(convolution, s) for s in CONVOLUTIONS]
        for make, shape in shapes:
            if not wanted(shape):
                continue
            case = make(*shape)
            ours, theirs, limits = measure(case, arguments, threads)
            ratios.append(ours / theirs)
            unit, peak = ("GB/s", limits["peak_gbps"]) if case.times > 1 else ("GFLOP/s", limits["peak_gflops"])
            rates = [case.rate(ours), case.rate(theirs)]
            of_peak = [f"{100 * rate / peak:.0f} %" for rate in rates]
            print(
                f"{threads:2} {case.name:18} {case.shape:34} {unit:>8} {rates[0]:7.1f} {rates[1]:7.1f} "
                f"{of_peak[0]:>8} {of_peak[1]:>6} {ours / theirs:6.2f}",
                flush=True,
            )
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{threads} threads: geometric mean {mean:.2f}, largest {max(ratios):.2f}, {len(ratios)} shapes", flush=True)


if __name__ == "__main__":
    main()
