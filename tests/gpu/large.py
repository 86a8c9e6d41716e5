#!/usr/bin/env python3
"""Writes models that fill a GPU, in float16 with weights of no meaning, for measurements beside `peers.py`.

    tests/gpu/large.py decode_1gb|matmul_2048|matmul_4096|matmul_8192 MODEL.onnx
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper


def weight(name, rows, columns):
    values = np.random.default_rng(1).standard_normal((rows, columns), np.float32) / np.sqrt(rows)
    return numpy_helper.from_array(values.astype(np.float16), name)


def value(name, shape):
    return helper.make_tensor_value_info(name, T.FLOAT16, shape)


def main():
    kind, path = sys.argv[1:]
    if kind == "decode_1gb":
        # 8 × 4096 × 16384 weights of two bytes; the sums keep every product.
        weights = [weight(f"w{i}", 4096, 16384) for i in range(8)]
        products = [helper.make_node("MatMul", ["x", w.name], [f"p{i}"]) for i, w in enumerate(weights)]
        outputs = [value(f"p{i}", [1, 16384]) for i in range(8)]
        graph = helper.make_graph(products, kind, [value("x", [1, 4096])], outputs, weights)
    else:
        n = int(kind.removeprefix("matmul_"))
        product = helper.make_node("MatMul", ["x", "w"], ["y"])
        graph = helper.make_graph([product], kind, [value("x", [n, n])], [value("y", [n, n])], [weight("w", n, n)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=path.rsplit("/", 1)[-1] + ".data", size_threshold=1024)


if __name__ == "__main__":
    main()
