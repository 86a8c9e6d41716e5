"""Losses and transforms of signals."""

import numpy as np

from fuzz_values import DTYPES
from .registry import Call, maybe, operator


@operator("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(d):
    classes = d.int(1, 6)
    tail = d.shape(0, 2, 40, empty=0)
    batch = d.int(1, 4)
    target = d.rng.integers(0, classes, [batch, *tail]).astype(d.pick([np.int32, np.int64]))
    weight = [d.plain([classes], None, 0.2, 2)] if d.chance(0.5) else []
    attributes = maybe(d, reduction=d.pick(["none", "sum", "mean"]))
    attributes |= maybe(d, 0.3, ignore_index=d.int(0, classes - 1))
    outputs = d.int(1, 2) if d.operator == "SoftmaxCrossEntropyLoss" else 1
    return Call([d.plain([batch, classes, *tail]), target, *weight], attributes, outputs)


@operator("DFT")
def dft(d):
    shape = d.shape(1, 3, 400, empty=0) + [d.int(1, 2)]
    axis = d.int(0, len(shape) - 2)
    attributes = maybe(d, inverse=1) if shape[-1] == 2 else maybe(d, onesided=1)
    length = np.int64(d.int(1, shape[axis] + 2)) if d.chance(0.3) else None
    # ONNX Runtime's transforms of long and awkward lengths lose digits.
    close = max(1e-3, 3e-5 * shape[axis])
    if d.opset < 20:
        return Call([d.plain(shape)] + ([length] if length else []), attributes | {"axis": axis}, atol=close)
    return Call([d.plain(shape), length, np.int64(axis)], attributes, atol=close)


@operator("STFT")
def stft(d):
    length, frame = d.int(16, 40), d.int(3, 16)
    window = [d.plain([frame], None, 0, 1)] if d.chance(0.6) else [None, np.int64(frame)]
    return Call([d.plain([d.int(1, 2), length, 1]), np.int64(d.int(1, 8)), *window], maybe(d, onesided=d.int(0, 1)), atol=1e-3)


@operator("MelWeightMatrix")
def mel_weights(d):
    dtype = DTYPES[d.dtype]
    ends = [np.float32(d.uniform(0, 100)), np.float32(d.uniform(1000, 4000))]
    return Call([dtype(d.int(1, 12)), dtype(d.int(16, 64)), dtype(8000 if d.dtype.endswith(("32", "64")) else 100), *ends])


@operator("HannWindow", "HammingWindow", "BlackmanWindow")
def window_of(d):
    return Call([DTYPES[d.dtype](d.int(1, 30))], maybe(d, periodic=d.int(0, 1)))
