"""Checks written models against their originals: valid, same signature, same results in ONNX Runtime.

usage: check_partitioned.py JOBS.json
JOBS.json holds a list of {name, original, written, feed, bound, numeric}; prints a line for each that fails.
"""
import copy
import json
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper


def signature(model, sizes):
    """Names and types of inputs and outputs, with `sizes` in the place of symbolic dimensions."""
    def one(value):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
        return value.name, value.type.SerializeToString(deterministic=True)

    names = {i.name for i in model.graph.initializer}
    given = [one(v) for v in model.graph.input if v.name not in names]
    return given, [one(v) for v in model.graph.output]


def inputs(model, feed):
    """Seeded inputs within the bounds that `feed` gives: a number for an input or for a symbolic dimension."""
    rng = np.random.default_rng(7)
    names = {i.name for i in model.graph.initializer}
    made = {}
    for value in model.graph.input:
        if value.name in names:
            continue
        tensor = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else int(feed.get(d.dim_param, 2)) for d in tensor.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if value.name in feed:
            array = np.full(dims, feed[value.name])
        elif dtype == np.bool_:
            array = rng.integers(0, 2, dims)
        elif np.issubdtype(dtype, np.integer):
            array = rng.integers(0, 8, dims)
        else:
            array = rng.standard_normal(dims)
        made[value.name] = np.asarray(array).astype(dtype)
    return made


def run(path, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def check(job):
    original, written = onnx.load(job["original"]), onnx.load(job["written"], load_external_data=False)
    onnx.checker.check_model(job["written"], full_check=True)
    sizes = job["feed"] if job["bound"] else {}
    assert signature(copy.deepcopy(original), sizes) == signature(written, {}), "inputs or outputs changed"
    if not job.get("numeric", True):
        return
    feeds = inputs(original, job.get("feed", {}))
    for got, want in zip(run(job["written"], feeds), run(job["original"], feeds)):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-4, atol=1e-5)


def main():
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    failed = 0
    for job in jobs:
        try:
            check(job)
        except Exception as error:  # every failure is reported, whatever it is
            failed += 1
            print(f"{job['name']}: {type(error).__name__}: {' '.join(str(error).split())[:400]}")
    print(f"{len(jobs) - failed} of {len(jobs)} passed")
    sys.exit(1 if failed else 0)


main()
