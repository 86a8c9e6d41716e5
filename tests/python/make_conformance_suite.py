"""Writes the ONNX backend tests of the installed `onnx` package as a suite for `byoc conformance`.

    pip install onnx ml_dtypes
    python3 tests/python/make_conformance_suite.py OUT

OUT then holds `<kind>/<test>/model.onnx` and `<kind>/<test>/test_data_set_K/{input,output}_J.pb`, and an
`index.json` with each test's tolerances. Node tests are Python definitions that are evaluated here; the other
kinds lie in the package as files. Models of kind `light` come with one output, for an input that is counted up.
"""

import argparse
import json
import pathlib
import shutil
import warnings

import numpy as np
import onnx
import onnx.backend.test.loader as loader
from onnx import numpy_helper

SHIPPED = ("simple", "pytorch-converted", "pytorch-operator")
MESSAGES = (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto, onnx.MapProto)
RTOL, ATOL = 1e-3, 1e-7


def message(value, value_info):
    """A value as the message that its declared type asks for, under its name."""
    name, kind = value_info.name, value_info.type.WhichOneof("value")
    if isinstance(value, MESSAGES):
        copy = type(value)()
        copy.CopyFrom(value)
        copy.name = name
        return copy
    convert = {
        "map_type": numpy_helper.from_dict,
        "sequence_type": numpy_helper.from_list,
        "optional_type": numpy_helper.from_optional,
        "tensor_type": lambda value, name: numpy_helper.from_array(np.asarray(value), name),
    }
    return convert[kind](value, name)


def write(path, proto):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def node_tests(out):
    for case in loader.load_node_model_tests():
        folder = out / "node" / case.name
        write(folder / "model.onnx", case.model)
        graph = case.model.graph
        for k, (inputs, outputs) in enumerate(case.data_sets):
            for what, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
                for j, value in enumerate(values):
                    path = folder / f"test_data_set_{k}" / f"{what}_{j}.pb"
                    write(path, message(value, infos[j]))
        yield {"name": case.name, "kind": "node", "rtol": case.rtol, "atol": case.atol}


def shipped_tests(out):
    for kind in SHIPPED:
        for source in sorted((pathlib.Path(loader.DATA_DIR) / kind).iterdir()):
            if not (source / "model.onnx").exists():
                continue
            shutil.copytree(source, out / kind / source.name, dirs_exist_ok=True)
            yield {"name": source.name, "kind": kind} | tolerances(source)


def tolerances(folder):
    given = folder / "data.json"
    data = json.loads(given.read_text()) if given.exists() else {}
    return {"rtol": data.get("rtol", RTOL), "atol": data.get("atol", ATOL)}


def light_tests(out):
    root = pathlib.Path(loader.DATA_DIR)
    for source in sorted((root / "real").iterdir()):
        url = json.loads((source / "data.json").read_text())["url"]
        model_file = root / "light" / pathlib.Path(url).name
        folder = out / "light" / source.name
        data = folder / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        shutil.copy(model_file, folder / "model.onnx")
        shutil.copy(model_file.with_name(model_file.stem + "_output_0.pb"), data / "output_0.pb")
        graph = onnx.load(model_file).graph
        constants = {tensor.name for tensor in graph.initializer}
        given = next(value for value in graph.input if value.name not in constants)
        dims = given.type.tensor_type.shape.dim
        shape = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in dims]
        count = int(np.prod(shape))
        counted = (np.arange(count) / count).astype(np.float32).reshape(shape)
        write(data / "input_0.pb", numpy_helper.from_array(counted, given.name))
        yield {"name": source.name, "kind": "light"} | tolerances(source)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    warnings.filterwarnings("ignore")
    tests = [*node_tests(out), *shipped_tests(out), *light_tests(out)]
    index = {"onnx": onnx.__version__, "tests": tests}
    (out / "index.json").write_text(json.dumps(index, indent=0))
    print(f"{len(tests)} tests of onnx {onnx.__version__}")


if __name__ == "__main__":
    main()
