"""Quantises float models with `byoc quantize` and with ONNX Runtime's `quantize_static`, on the same samples, and
prints how far each is from the float model, as a table in Markdown.

    python3 tests/python/compare_quantizers.py BYOC MODELS --plugin PATH [--models NAME...] [--methods min-max ...]

MODELS holds `<name>/model.onnx` with `test_data_set_0` beside it, which tells the size and the range of the input.
Inputs are drawn anew: smooth fields of several scales with edges and a little noise, as photographs have them, on the
range of the data. The float model is computed by ONNX Runtime; the quantised ones by ONNX Runtime as well, and ours
also on the plugin. Exits with 1 where ours falls below `--cosine` or, of a classifier, `--top1`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper, version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

CLASSIFIERS = ["cifar_cnn_pytorch", "mnist_cntk"]
DETECTORS = ["ultraface_rfb320", "yolox_nano"]
METHODS = {
    "min-max": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


def field(random, height, width, cells):
    """A smooth field: a coarse grid of random values, interpolated."""
    grid = random.standard_normal((cells + 1, cells + 1))
    rows, cols = numpy.linspace(0, cells, height), numpy.linspace(0, cells, width)
    top, left = rows.astype(int).clip(0, cells - 1), cols.astype(int).clip(0, cells - 1)
    down, right = (rows - top)[:, None], (cols - left)[None, :]
    along = lambda row: grid[row][:, left] * (1 - right) + grid[row][:, left + 1] * right
    return along(top) * (1 - down) + along(top + 1) * down


def image(random, shape, low, high):
    """One image of the given channels and size."""
    channels, height, width = shape
    light = sum(field(random, height, width, cells) / cells**0.5 for cells in (2, 4, 8))
    edge = numpy.where(field(random, height, width, 3) > 0.3, random.uniform(-2, 2), 0)
    planes = [light + edge + 0.4 * field(random, height, width, 4) for _ in range(channels)]
    planes = numpy.stack(planes) + 0.05 * random.standard_normal(shape)
    least, most = numpy.percentile(planes, [1, 99])
    return (low + (planes.clip(least, most) - least) / (most - least) * (high - low)).astype(numpy.float32)


def read(path):
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def write_sets(folder, name, inputs):
    for at, value in enumerate(inputs):
        one = folder / f"test_data_set_{at}"
        one.mkdir(parents=True)
        onnx.save_tensor(numpy_helper.from_array(value, name), str(one / "input_0.pb"))


class Reader(CalibrationDataReader):
    def __init__(self, name, inputs):
        self.feeds = iter([{name: value} for value in inputs])

    def get_next(self):
        return next(self.feeds, None)


def session(path):
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def by_onnxruntime(model, out, name, inputs, method, work):
    """ONNX Runtime's own way: prepared, raised to opset 13, per channel where it can."""
    raised, prepared = work / "raised.onnx", work / "prepared.onnx"
    loaded = onnx.load(str(model))
    if loaded.opset_import[0].version < 13:
        loaded = version_converter.convert_version(loaded, 13)
    # Old files list weights among the inputs, where its optimiser takes them for variable.
    weights = {weight.name for weight in loaded.graph.initializer}
    kept = [value for value in loaded.graph.input if value.name not in weights]
    del loaded.graph.input[:]
    loaded.graph.input.extend(kept)
    loaded.ir_version = max(loaded.ir_version, 7)
    onnx.save(loaded, str(raised))
    quant_pre_process(str(raised), str(prepared), skip_symbolic_shape=True)
    def quantise(per_channel):
        quantize_static(
            str(prepared), str(out), Reader(name, inputs), quant_format=QuantFormat.QDQ, per_channel=per_channel,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=METHODS[method],
        )

    try:
        quantise(True)
    except ValueError:
        # It cannot bring the bias of a MatMul to scales for each channel.
        quantise(False)


def cosine(got, want):
    """The least over the outputs, each over all inputs."""
    each = []
    for a, b in zip(zip(*got), zip(*want)):
        a, b = (numpy.concatenate([x.ravel() for x in y]).astype(numpy.float64) for y in (a, b))
        each.append(a @ b / (numpy.linalg.norm(a) * numpy.linalg.norm(b)))
    return min(each)


def top1(got, want):
    best = lambda outputs: numpy.concatenate([o[0].reshape(o[0].shape[0], -1).argmax(1) for o in outputs])
    return float((best(got) == best(want)).mean())


def byoc(args, *words):
    done = subprocess.run([args.byoc, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"byoc {' '.join(map(str, words))}: {done.stderr}")
    return done


def on_plugin(args, model, folder, count, outputs, out):
    byoc(args, "run", model, "--plugin", args.plugin, "--policy", "greedy", "--data", folder, "--output", out, "--quiet")
    sets = [out / f"test_data_set_{at}" if count > 1 else out for at in range(count)]
    return [[read(one / f"output_{k}.pb") for k in range(outputs)] for one in sets]


def rows(args, name, work):
    model = args.models_folder / name / "model.onnx"
    data = read(args.models_folder / name / "test_data_set_0" / "input_0.pb")
    seen = session(model)
    # Old files list weights among the inputs as well.
    feed = seen.get_inputs()[0].name
    low, high = float(data.min()), float(data.max())
    random = numpy.random.default_rng(args.seed)
    draw = lambda: numpy.stack([image(random, data.shape[1:], low, high) for _ in range(data.shape[0])])
    calibration = [draw() for _ in range(args.samples)]
    is_classifier = name in CLASSIFIERS
    count = -(-args.inputs // data.shape[0]) if is_classifier else args.images
    tests = [draw() for _ in range(count)]
    write_sets(work / "samples", feed, calibration)
    write_sets(work / "tests", feed, tests)
    run = lambda net: [net.run(None, {net.get_inputs()[0].name: value}) for value in tests]
    want = run(seen)
    for method in args.methods:
        ours, theirs = work / f"byoc-{method}.onnx", work / f"onnxruntime-{method}.onnx"
        done = byoc(args, "quantize", model, "--data", work / "samples", "-o", ours, "--method", method, "--plugin",
                    args.plugin, "--cosine", args.keep, "--json", work / "report.json")
        onnx.checker.check_model(str(ours), full_check=True)
        report = json.loads((work / "report.json").read_text())
        got = run(session(ours))
        plugin = on_plugin(args, ours, work / "tests", count, len(want[0]), work / f"out-{method}")
        by_onnxruntime(model, theirs, feed, calibration, method, work)
        other = run(session(theirs))
        tops = [f"{100 * top1(x, want):.1f} %" if is_classifier else "–" for x in (got, plugin, other)]
        cosines = [cosine(x, want) for x in (got, plugin, other)]
        good = min(cosines[:2]) >= args.cosine
        good &= not is_classifier or min(top1(got, want), top1(plugin, want)) >= args.top1
        cells = [name, method, f"{report['quantised']} of {report['nodes']}"]
        cells += [f"{cosines[0]:.5f}", f"{cosines[1]:.5f}", f"{cosines[2]:.5f}", *tops]
        yield cells, good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc")
    parser.add_argument("models_folder", type=pathlib.Path)
    parser.add_argument("--plugin", required=True)
    parser.add_argument("--models", nargs="+", default=CLASSIFIERS + DETECTORS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--samples", type=int, default=32, help="inputs to quantise with")
    parser.add_argument("--inputs", type=int, default=500, help="images that classifiers are compared on")
    parser.add_argument("--images", type=int, default=16, help="images that others are compared on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cosine", type=float, default=0.99)
    parser.add_argument("--keep", type=float, default=0.993, help="what our quantiser is asked to keep on its samples")
    parser.add_argument("--top1", type=float, default=0.98)
    args = parser.parse_args()
    print("| model | method | nodes | cosine | on the plugin | ONNX Runtime's | top-1 | on the plugin | ONNX Runtime's |")
    print("|---|---|---|---|---|---|---|---|---|")
    every = True
    for name in args.models:
        with tempfile.TemporaryDirectory() as work:
            for cells, good in rows(args, name, pathlib.Path(work)):
                print("| " + " | ".join(cells) + " |", flush=True)
                every &= good
    sys.exit(0 if every else 1)


if __name__ == "__main__":
    main()
