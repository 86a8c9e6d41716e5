"""Operators that work element by element."""

import numpy as np

from fuzz_values import DTYPES, FLOATS, INTS
from .registry import Call, maybe, operator


# Name: range of inputs, ranges of attributes.
UNARY = {
    "Abs": (),
    "Acos": (-1, 1),
    "Acosh": (1, 5),
    "Asin": (-1, 1),
    "Asinh": (),
    "Atan": (),
    "Atanh": (-0.95, 0.95),
    "BitwiseNot": (),
    "Ceil": (),
    "Celu": (-3, 3, {"alpha": (0.2, 2)}),
    "Cos": (),
    "Cosh": (-3, 3),
    "Elu": (-3, 3, {"alpha": (0.2, 2)}),
    "Erf": (),
    "Exp": (-3, 3),
    "Floor": (),
    "HardSigmoid": (-5, 5, {"alpha": (0.1, 1), "beta": (0, 1)}),
    "HardSwish": (-5, 5),
    "Identity": (),
    "IsNaN": (),
    "LeakyRelu": (-3, 3, {"alpha": (0.01, 1)}),
    "Log": (0.01, 5),
    "Mish": (-3, 3),
    "Neg": (),
    "Not": (),
    "Reciprocal": (0.2, 4),
    "Relu": (),
    "Round": (),
    "Selu": (-3, 3, {"alpha": (0.5, 2), "gamma": (0.5, 2)}),
    "Shrink": (-3, 3, {"bias": (-1, 1), "lambd": (0, 2)}),
    "Sigmoid": (),
    "Sign": (),
    "Sin": (),
    "Sinh": (-3, 3),
    "Size": (),
    "Softplus": (-5, 5),
    "Softsign": (),
    "Sqrt": (0, 9),
    "Swish": (-3, 3, {"alpha": (0.5, 2)}),
    "Tan": (-1.3, 1.3),
    "Tanh": (),
    "ThresholdedRelu": (-3, 3, {"alpha": (0, 2)}),
}


def unary(low=None, high=None, attributes={}):
    def draw(d):
        drawn = {name: d.uniform(*ends) for name, ends in attributes.items() if d.chance(0.6)}
        return Call([d.tensor(d.shape(), low=low, high=high)], drawn)

    return draw


for name, row in UNARY.items():
    operator(name)(unary(*row))


@operator("IsInf")
def is_inf(d):
    flags = maybe(d, detect_negative=d.int(0, 1), detect_positive=d.int(0, 1))
    return Call([d.tensor(d.shape(), special=0.8)], flags)


@operator("Gelu")
def gelu(d):
    return Call([d.tensor(d.shape())], maybe(d, approximate=d.pick(["none", "tanh"])))


@operator("Clip")
def clip(d):
    x = d.tensor(d.shape())
    if d.opset < 11:
        return Call([x], maybe(d, min=d.uniform(-2, 0), max=d.uniform(0, 2)))
    low = d.plain([], low=0, high=2) if d.chance(0.6) else None
    high = d.plain([], low=3, high=5) if d.chance(0.6) else None
    return Call([x, low, high])


BINARY = "Add And BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Mul Or Sub Xor"


@operator(*BINARY.split())
def binary(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), d.tensor(b)])


def nonzero(d, shape):
    """Numbers that may be divided by."""
    x = d.plain(shape, low=1, high=5)
    if d.dtype.startswith("u"):
        return x
    return np.where(d.rng.random(shape) < 0.3, -x, x).astype(x.dtype)


@operator("Div")
def div(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), d.tensor(b) if d.dtype in FLOATS else nonzero(d, b)])


@operator("Mod")
def mod(d):
    a, b = d.broadcast(2)
    fmod = 1 if d.dtype in FLOATS else d.int(0, 1)
    return Call([d.plain(a), nonzero(d, b)], {"fmod": fmod} if fmod or d.chance(0.5) else {})


@operator("Pow")
def power(d):
    a, b = d.broadcast(2)
    exponent = d.pick(["float", "int32", "int64", d.dtype]) if d.opset >= 12 else d.dtype
    base = d.plain(a, low=-4, high=4) if exponent not in FLOATS or d.chance(0.3) else d.plain(a, low=0.2, high=4)
    least = 0 if d.dtype in INTS else -2
    powers = d.plain(b, exponent, low=least, high=3)
    # What a root of a negative number is as an integer is nobody's guess.
    return Call([base, np.round(powers) if d.dtype in INTS and exponent in FLOATS else powers])


@operator("BitShift")
def bit_shift(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), d.plain(b, low=0, high=7)], {"direction": d.pick(["LEFT", "RIGHT"])})


@operator("PRelu")
def prelu(d):
    shape = d.shape()
    return Call([d.tensor(shape), d.plain(d.narrowed(shape))])


@operator("Max", "Min", "Sum", "Mean")
def variadic(d):
    return Call([d.tensor(shape) for shape in d.broadcast(d.int(1, 4))])


@operator("Where", dtypes=("bool",))
def where(d):
    c, a, b = d.broadcast(3)
    dtype = d.pick(list(DTYPES))
    return Call([d.tensor(c), d.tensor(a, dtype), d.tensor(b, dtype)])


@operator("Cast")
def cast(d):
    target = d.pick(list(DTYPES))
    if "string" in (d.dtype, target):
        target = d.dtype if d.dtype != "string" else "string"
    low, high = (0, 9) if d.dtype in FLOATS else (None, None)
    x = d.plain(d.shape(), low=low, high=high) if target not in FLOATS else d.tensor(d.shape())
    return Call([x], {"to": onnx_type(target)})


@operator("CastLike")
def cast_like(d):
    target = d.pick([t for t in DTYPES if t != "string"]) if d.dtype != "string" else "string"
    low, high = (0, 9) if d.dtype in FLOATS else (None, None)
    return Call([d.plain(d.shape(), low=low, high=high), d.plain([1], target)])


def onnx_type(name):
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(DTYPES[name]))


@operator("Dropout")
def dropout(d):
    return Call([d.tensor(d.shape())], outputs=d.int(1, 2))
