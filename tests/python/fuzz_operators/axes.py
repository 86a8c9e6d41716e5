"""Reductions, normalisations and other operators along axes."""

import numpy as np

from fuzz_values import DTYPES, INTS, ints
from .registry import Call, maybe, operator


REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


def reduction(input_since, name):
    def draw(d):
        shape = d.shape()
        x = d.plain(shape, low=0.1, high=2) if name in ("LogSum", "Prod") else d.tensor(shape, special=0.02)
        if name == "Mean" and d.dtype in INTS:
            # ONNX Runtime takes the mean of large integers in float64.
            x = d.whole(shape, d.dtype, -999, 999)
        attributes = maybe(d, keepdims=d.int(0, 1))
        axes = d.axes(len(shape)) if d.chance(0.8) else None
        if d.opset < input_since:
            return Call([x], attributes | ({"axes": axes} if axes else {}), atol=1e-4)
        attributes |= maybe(d, 0.3, noop_with_empty_axes=d.int(0, 1))
        return Call([x] if axes is None else [x, ints(axes)], attributes, atol=1e-4)

    return draw


for name in REDUCTIONS.split():
    operator("Reduce" + name)(reduction(13 if name == "Sum" else 18, name))


@operator("ArgMax", "ArgMin")
def arg(d):
    shape = d.shape(1, empty=0)
    attributes = maybe(d, axis=d.axis(len(shape)), keepdims=d.int(0, 1))
    if d.opset >= 12:
        attributes |= maybe(d, select_last_index=d.int(0, 1))
    return Call([d.plain(shape)], attributes)


@operator("CumSum", "CumProd")
def cumulative(d):
    shape = d.shape(1)
    x = d.plain(shape, low=-1, high=1)
    attributes = maybe(d, exclusive=d.int(0, 1), reverse=d.int(0, 1))
    return Call([x, d.pick([np.int32, np.int64])(d.axis(len(shape)))], attributes, atol=1e-4)


@operator("Softmax", "LogSoftmax", "Hardmax")
def softmax(d):
    shape = d.shape(1)
    return Call([d.plain(shape)], maybe(d, 0.8, axis=d.axis(len(shape))))


@operator("TopK")
def top_k(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    attributes = {"axis": axis} if d.chance(0.8) else {}
    k = d.int(0 if d.chance(0.1) else 1, shape[attributes.get("axis", -1)])
    # Equal elements may come in any order.
    x = d.rng.permutation(int(np.prod(shape))).reshape(shape)
    x = (x % 120 if d.dtype in ("int8", "uint8") else x % 2000 if d.dtype in ("float16",) else x)
    x = x.astype(DTYPES[d.dtype])
    if d.opset >= 11:
        attributes |= maybe(d, largest=d.int(0, 1)) | {"sorted": 1}
    if d.opset < 10:
        return Call([x], attributes | {"k": max(k, 1)}, 2)
    return Call([x, ints([k])], attributes, 2)


@operator("LpNormalization")
def lp_normalization(d):
    shape = d.shape(1)
    return Call([d.plain(shape)], maybe(d, axis=d.axis(len(shape)), p=d.int(1, 2)))


@operator("MeanVarianceNormalization")
def mean_variance(d):
    shape = d.shape(4, 4, empty=0)
    return Call([d.plain(shape)], maybe(d, axes=sorted(d.subset(range(4), 1))), rtol=1e-3, atol=1e-3)


@operator("LayerNormalization")
def layer_normalization(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    tail = shape[axis:]
    inputs = [d.plain(shape), d.plain(tail)] + ([d.plain(tail)] if d.chance(0.6) else [])
    attributes = {"axis": axis} | maybe(d, epsilon=1e-3)
    return Call(inputs, attributes, d.pick([1, 1, 3]), rtol=1e-3, atol=1e-3)


@operator("RMSNormalization")
def rms_normalization(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    return Call([d.plain(shape), d.plain(shape[axis:])], {"axis": axis}, rtol=1e-3, atol=1e-3)


@operator("InstanceNormalization")
def instance_normalization(d):
    shape = d.shape(3, 5, empty=0)
    c = [shape[1]]
    return Call([d.plain(shape), d.plain(c), d.plain(c)], maybe(d, epsilon=1e-3), rtol=1e-3, atol=1e-3)


@operator("GroupNormalization")
def group_normalization(d):
    groups = d.pick([1, 2, 3])
    shape = d.shape(3, 4, empty=0)
    shape[1] = groups * d.int(1, 3)
    c = [shape[1] if d.opset >= 21 else groups]
    return Call([d.plain(shape), d.plain(c), d.plain(c)], {"num_groups": groups}, rtol=1e-3, atol=1e-3)


@operator("BatchNormalization")
def batch_normalization(d):
    shape = d.shape(2, 5)
    c = [shape[1]]
    inputs = [d.plain(shape), d.plain(c), d.plain(c), d.plain(c), d.plain(c, low=0.3, high=2)]
    return Call(inputs, maybe(d, epsilon=1e-3, momentum=0.5), rtol=1e-3, atol=1e-4)


@operator("LRN")
def lrn(d):
    shape = d.shape(4, 4, empty=0)
    size = d.pick([1, 3, 5])
    return Call([d.plain(shape)], {"size": size} | maybe(d, alpha=0.01, beta=0.5, bias=2.0))
