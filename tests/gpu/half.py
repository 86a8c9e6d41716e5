#!/usr/bin/env python3
"""Makes a float16 model of a float32 one: weights, inputs, outputs and everything between.

    tests/gpu/half.py MODEL.onnx HALF.onnx

What the standard wants as float32 stays so: sizes of Resize, steps of Range, scales of codes. Numbers beyond float16 become
its largest.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import numpy_helper

# Inputs by operator that are float32 whatever the others are.
FIXED = {"Resize": {1, 2}, "Upsample": {1}, "QuantizeLinear": {1}, "DequantizeLinear": {1}, "Range": {0, 1, 2}}


def narrowed(tensor):
    values = numpy_helper.to_array(tensor)
    most = np.finfo(np.float16).max
    # What is minus infinity stays so.
    clipped = np.where(np.isfinite(values), np.clip(values, -most, most), values)
    return numpy_helper.from_array(clipped.astype(np.float16), tensor.name)


def main():
    model = onnx.load(sys.argv[1])
    graph = model.graph
    fixed = {name for node in graph.node for place, name in enumerate(node.input) if place in FIXED.get(node.op_type, ())}
    for tensor in graph.initializer:
        if tensor.data_type == T.FLOAT and tensor.name not in fixed:
            tensor.CopyFrom(narrowed(tensor))
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == T.FLOAT and value.name not in fixed:
            value.type.tensor_type.elem_type = T.FLOAT16
    # Types between follow from these.
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == T.FLOAT:
                attribute.i = T.FLOAT16
            if attribute.HasField("t") and attribute.t.data_type == T.FLOAT and not fixed & set(node.output):
                attribute.t.CopyFrom(narrowed(attribute.t))
    onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()
