"""The operators that are tried one by one, as a table: `OPERATORS[name]` draws a call of one operator.

Element types and versions come from the operator's own schema; a generator reads `d.opset` and `d.dtype`.
To add an operator, add a row to a family's table, or a function under `@operator`.
"""

import string
from dataclasses import dataclass, field
from typing import Callable

import numpy as np

from fuzz_values import DTYPES, FLOATS, INTS, NUMBERS, WORDS, ints


@dataclass
class Call:
    """Inputs in order (`None`: left out), attributes, and how many outputs are asked for."""

    inputs: list
    attributes: dict = field(default_factory=dict)
    outputs: int = 1
    rtol: float = 0.0
    atol: float = 0.0


@dataclass
class Operator:
    draw: Callable
    domain: str = ""
    dtypes: tuple = ()  # element types of the first input that are tried, of those that the schema allows
    since: int = 7
    quanta: int = 0
    constants: tuple = ()  # inputs that ONNX Runtime wants to be constant


OPERATORS = {}


def operator(*names, **more):
    def register(draw):
        for name in names:
            OPERATORS[name] = Operator(draw, **more)
        return draw

    return register


def maybe(d, share=0.5, **attributes):
    """Each attribute or none of it."""
    return {name: value for name, value in attributes.items() if d.chance(share)}


# ---- element by element

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


# ---- along axes

REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"


def reduction(input_since, name):
    def draw(d):
        shape = d.shape()
        x = d.plain(shape, low=0.1, high=2) if name in ("LogSum", "Prod") else d.tensor(shape, special=0.02)
        attributes = maybe(d, keepdims=d.int(0, 1))
        axes = d.axes(len(shape)) if d.chance(0.8) else None
        if d.opset < input_since:
            return Call([x], attributes | ({"axes": axes} if axes else {}))
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


# ---- products

@operator("MatMul")
def matmul(d):
    a, b = matmul_shapes(d)
    return Call([d.tensor(a, special=0.02), d.tensor(b, special=0.02)], atol=1e-4)


def matmul_shapes(d):
    m, k, n = (0 if d.chance(0.02) else d.size() for _ in range(3))
    batch = d.shape(0, 2, 60)
    a, b = d.narrowed(batch) + [m, k], d.narrowed(batch) + [k, n]
    if d.chance(0.1):
        a = [k]
    elif d.chance(0.1):
        b = [k]
    return a, b


@operator("Gemm")
def gemm(d):
    m, k, n = (0 if d.chance(0.02) else d.size() for _ in range(3))
    a, b = d.int(0, 1), d.int(0, 1)
    inputs = [d.plain([k, m] if a else [m, k]), d.plain([n, k] if b else [k, n])]
    if d.opset < 11 or d.chance(0.7):
        inputs.append(d.plain(d.pick([[m, n], [n], [1], [], [m, 1], [1, n]])))
    return Call(inputs, {"transA": a, "transB": b} | maybe(d, alpha=d.uniform(0, 2), beta=d.uniform(0, 2)), atol=1e-4)


def bytes_of(d, shape, dtype):
    """Weights of seven bits: without VNNI, ONNX Runtime adds pairs of products in 16 bits, which more saturate."""
    return d.whole(shape, dtype, *((-63, 63) if dtype == "int8" else (0, 127)))


@operator("MatMulInteger")
def matmul_integer(d):
    a, b = matmul_shapes(d)
    other = d.pick(["int8", "uint8"])
    x, y = d.plain(a), bytes_of(d, b, other)
    zeros = [d.plain([]) if d.chance(0.7) else None]
    if d.chance(0.7):
        shape = [b[-1]] if len(b) > 1 and len(a) > 1 and d.chance(0.3) else []
        zeros.append(d.whole(shape, other, 0, 9))
    return Call([x, y, *zeros])


@operator("QLinearMatMul", quanta=1)
def qlinear_matmul(d):
    a, b = matmul_shapes(d)
    other = d.pick(["int8", "uint8"]) if d.dtype == "uint8" else "int8"
    one = d.plain([], "float", 0.01, 0.1)
    zero = d.whole([], other, 0, 9)
    last = [d.plain([], "float", 0.5, 2), d.plain([])]
    return Call([d.plain(a), one, d.plain([]), bytes_of(d, b, other), one, zero, *last])


def windows(d, dims, grow=False):
    """Kernel, strides, dilations and padding along `dims`, so that there is at least one window."""
    rank = len(dims)
    kernel = [d.int(1, min(4, n)) for n in dims]
    attributes = maybe(d, strides=[d.int(1, 3) for _ in dims])
    dilations = [d.int(1, 2) if (k - 1) * 2 + 1 <= n else 1 for k, n in zip(kernel, dims)]
    if d.chance(0.3):
        attributes["dilations"] = dilations
    if d.chance(0.3):
        attributes["auto_pad"] = d.pick(["VALID", "SAME_UPPER", "SAME_LOWER", "NOTSET"])
    if attributes.get("auto_pad", "NOTSET") == "NOTSET" and d.chance(0.6):
        attributes["pads"] = [d.int(0, k - 1) for k in kernel * 2]
    if attributes.get("auto_pad", "")[:4] == "SAME":
        attributes.pop("dilations", None)
    assert len(kernel) == rank
    return kernel, attributes


def image(d, channels, least=1, most=3):
    dims = [d.pick([1, 3, 5, 7, 8, 13]) for _ in range(d.int(least, most))]
    return [d.int(1, 3), channels, *dims], dims


@operator("Conv")
def conv(d):
    groups = d.pick([1, 1, 2, 3])
    per_in, per_out = d.pick([1, 2, 5]), d.pick([1, 3, 4])
    shape, dims = image(d, groups * per_in)
    kernel, attributes = windows(d, dims)
    weights = d.plain([groups * per_out, per_in, *kernel])
    bias = [d.plain([groups * per_out])] if d.chance(0.5) else []
    if groups > 1 or d.chance(0.2):
        attributes["group"] = groups
    return Call([d.plain(shape), weights, *bias], attributes | maybe(d, kernel_shape=kernel), atol=1e-4)


@operator("ConvTranspose")
def conv_transpose(d):
    groups = d.pick([1, 1, 2])
    per_in, per_out = d.pick([1, 2, 3]), d.pick([1, 3])
    shape, dims = image(d, groups * per_in, 1, 2)
    kernel, attributes = windows(d, dims)
    if "strides" in attributes and d.chance(0.4):
        attributes["output_padding"] = [d.int(0, s - 1) for s in attributes["strides"]]
    weights = d.plain([groups * per_in, per_out, *kernel])
    bias = [d.plain([groups * per_out])] if d.chance(0.5) else []
    if groups > 1:
        attributes["group"] = groups
    return Call([d.plain(shape), weights, *bias], attributes, atol=1e-4)


@operator("ConvInteger")
def conv_integer(d):
    shape, dims = image(d, d.int(1, 3), 1, 2)
    kernel, attributes = windows(d, dims)
    other = d.pick(["int8", "uint8"])
    zeros = [d.plain([])] if d.chance(0.6) else []
    return Call([d.plain(shape), bytes_of(d, [d.int(1, 4), shape[1], *kernel], other), *zeros], attributes)


@operator("QLinearConv", quanta=1)
def qlinear_conv(d):
    shape, dims = image(d, d.int(1, 3), 1, 2)
    kernel, attributes = windows(d, dims)
    other = d.pick(["int8", "uint8"]) if d.dtype == "uint8" else "int8"
    maps = d.int(1, 4)
    each = [maps] if d.chance(0.3) else []
    weights = [bytes_of(d, [maps, shape[1], *kernel], other), d.plain(each, "float", 0.01, 0.1)]
    zero = np.full(each, 3, DTYPES[other]) if other == "uint8" else np.zeros(each, np.int8)
    last = [d.plain([], "float", 0.5, 2), d.plain([])]
    bias = [d.whole([maps], "int32", -99, 99)] if d.chance(0.5) else []
    return Call([d.plain(shape), d.plain([], "float", 0.01, 0.1), d.plain([]), *weights, zero, *last, *bias], attributes)


@operator("AveragePool", "MaxPool", "LpPool")
def pool(d):
    shape, dims = image(d, d.int(1, 4))
    kernel, attributes = windows(d, dims)
    name = d.operator
    if d.opset < {"AveragePool": 19, "MaxPool": 10, "LpPool": 18}[name]:
        attributes.pop("dilations", None)
    if d.opset >= {"AveragePool": 10, "MaxPool": 10, "LpPool": 18}[name] and "auto_pad" not in attributes:
        attributes |= maybe(d, 0.3, ceil_mode=1)
    if name == "AveragePool":
        attributes |= maybe(d, count_include_pad=d.int(0, 1))
    if name == "LpPool":
        attributes |= maybe(d, p=d.int(1, 3))
    if name == "MaxPool" and d.opset >= 8:
        attributes |= maybe(d, 0.2, storage_order=1)
    outputs = d.int(1, 2) if name == "MaxPool" and d.opset >= 8 else 1
    return Call([d.plain(shape)], attributes | {"kernel_shape": kernel}, outputs)


@operator("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(d):
    return Call([d.plain(image(d, d.int(1, 4))[0])])


@operator("Einsum")
def einsum(d):
    equations = ["ij,jk->ik", "bij,bjk->bik", "ii->i", "ij->ji", "ij->", "i,j->ij", "...ij->...ji", "ij,ij->i", "bhid,bhjd->bhij", "ij,jk", "ijk->kj", "i,i->", "...i,...i->..."]
    equation = d.pick(equations)
    sizes = {letter: d.pick([1, 2, 3, 5, 7]) for letter in string.ascii_lowercase}
    more = d.shape(0, 2, 20, empty=0)
    terms = equation.split("->")[0].split(",")
    shapes = [(more if "..." in t else []) + [sizes[c] for c in t if c.isalpha()] for t in terms]
    return Call([d.plain(s) for s in shapes], {"equation": equation}, atol=1e-4)


@operator("Det")
def det(d):
    n = d.int(1, 5)
    return Call([d.plain(d.shape(0, 2, 20, empty=0) + [n, n])], atol=1e-3, rtol=1e-3)


# ---- moving elements

@operator("Concat")
def concat(d):
    shape = d.shape(1)
    axis = d.axis(len(shape))
    parts = []
    for _ in range(d.int(1, 4)):
        part = list(shape)
        part[axis] = 0 if d.chance(0.05) else d.size()
        parts.append(d.tensor(part))
    return Call(parts, {"axis": axis})


@operator("Split")
def split(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    count = d.int(1, 4)
    if d.chance(0.5):
        sizes = [d.int(0 if d.chance(0.1) else 1, 4) for _ in range(count)]
        shape[axis] = sum(sizes)
        x = d.tensor(shape)
        attributes = {"axis": axis}
        if d.opset < 13:
            return Call([x], attributes | {"split": sizes}, count)
        return Call([x, ints(sizes)], attributes, count)
    shape[axis] = count * d.int(1, 3)
    if d.opset >= 18:
        return Call([d.tensor(shape)], {"axis": axis, "num_outputs": count}, count)
    return Call([d.tensor(shape)], {"axis": axis}, count)


@operator("SplitToSequence")
def split_to_sequence(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    given = [np.int64(d.int(1, shape[axis]))] if d.chance(0.5) else []
    return Call([d.tensor(shape), *given], {"axis": axis} | maybe(d, keepdims=d.int(0, 1)))


@operator("Slice")
def slice_(d):
    shape = d.shape(1)
    rank = len(shape)
    axes = d.axes(rank, 1)
    limits = [shape[a] + 3 for a in axes]
    starts, ends = ([d.int(-n, n) for n in limits] for _ in range(2))
    ends = [d.pick([2**63 - 1, -(2**63), 2**31 - 1]) if d.chance(0.1) else e for e in ends]
    x = d.tensor(shape)
    if d.opset < 10:
        axes = [a % rank for a in axes]
        return Call([x], {"starts": starts, "ends": ends, "axes": axes})
    if d.chance(0.2):
        return Call([x, ints(starts), ints(ends), ints(axes)])
    steps = [d.pick([1, 1, 2, 3, -1, -2]) for _ in axes]
    return Call([x, ints(starts), ints(ends), ints(axes), ints(steps)])


@operator("Pad")
def pad(d):
    shape = d.shape(1, empty=0)
    rank = len(shape)
    modes = ["constant", "constant", "reflect", "edge"] + (["wrap"] if d.opset >= 19 else [])
    mode = d.pick(modes)
    attributes = {"mode": mode} if mode != "constant" or d.chance(0.5) else {}
    most = [min(3, n - 1) if mode == "reflect" else min(3, n) if mode == "wrap" else 3 for n in shape]
    pads = [d.int(0, m) for m in most * 2]
    if mode == "constant" and d.chance(0.2):
        pads = [-d.int(0, (n - 1) // 2) if d.chance(0.5) else p for n, p in zip(shape * 2, pads)]
    if d.opset < 11:
        return Call([d.tensor(shape)], attributes | {"pads": pads} | maybe(d, value=1.5))
    value = [d.plain([])] if mode == "constant" and d.chance(0.6) else []
    if d.opset >= 18 and d.chance(0.4):
        axes = d.axes(rank, 1)
        pads = [pads[a % rank] for a in axes] + [pads[rank + a % rank] for a in axes]
        return Call([d.tensor(shape), ints(pads), *(value or [None]), ints(axes)], attributes)
    return Call([d.tensor(shape), ints(pads), *value], attributes)


def indices(d, shape, size):
    low = -size if d.opset >= 11 else 0
    return d.rng.integers(low, size, shape).astype(d.pick([np.int32, np.int64]))


@operator("Gather")
def gather(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    return Call([d.tensor(shape), indices(d, d.shape(0, 2, 60), shape[axis])], {"axis": axis})


@operator("GatherElements")
def gather_elements(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    to = [d.int(1, n) for n in shape]
    to[axis] = d.size()
    return Call([d.tensor(shape), indices(d, to, shape[axis])], {"axis": axis})


def tuples(d, shape, batch, lead):
    """Indices into `shape` after `batch` axes, one tuple an element of `lead`."""
    length = d.int(1, len(shape) - batch)
    columns = [d.rng.integers(-n, n, lead) for n in shape[batch : batch + length]]
    return np.stack(columns, axis=-1).astype(np.int64), length


@operator("GatherND")
def gather_nd(d):
    shape = d.shape(1, empty=0)
    batch = d.int(0, len(shape) - 1) if d.opset >= 12 and d.chance(0.4) else 0
    where, _ = tuples(d, shape, batch, shape[:batch] + d.shape(0, 2, 40, empty=0))
    return Call([d.tensor(shape), where], {"batch_dims": batch} if batch else {})


def distinct(d, shape, axis, size):
    """Indices along `axis`, none twice in a lane."""
    lanes = [shape[i] for i in range(len(shape)) if i != axis % len(shape)]
    rows = [d.rng.permutation(size)[: shape[axis]] for _ in range(int(np.prod(lanes)))]
    where = np.array(rows, np.int64).reshape([*lanes, shape[axis]])
    where = np.where(d.rng.random(where.shape) < 0.3, where - size, where) if d.opset >= 11 else where
    return np.moveaxis(where, -1, axis)


REDUCED = ["none", "add", "mul", "max", "min"]


def scatter_reduction(d):
    most = {18: 5, 16: 3}
    count = next((n for since, n in most.items() if d.opset >= since), 1)
    return d.pick(REDUCED[:count]) if d.dtype in NUMBERS else "none"


@operator("ScatterElements")
def scatter_elements(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    to = [d.int(1, n) for n in shape]
    how = scatter_reduction(d)
    attributes = {"axis": axis} | ({"reduction": how} if how != "none" else {})
    where = indices(d, to, shape[axis]) if how != "none" else distinct(d, to, axis, shape[axis])
    return Call([d.plain(shape), where, d.plain(to)], attributes, atol=1e-4)


@operator("ScatterND")
def scatter_nd(d):
    shape = d.shape(1, empty=0)
    how = scatter_reduction(d)
    lead = d.shape(1, 2, 40, empty=0)
    where, length = tuples(d, shape, 0, lead)
    if how == "none":
        spots = int(np.prod(shape[:length]))
        lead = [min(int(np.prod(lead)), spots)]
        where = np.stack(np.unravel_index(d.rng.permutation(spots)[: lead[0]], shape[:length]), axis=-1)
    attributes = {"reduction": how} if how != "none" else {}
    return Call([d.plain(shape), where.astype(np.int64), d.plain(lead + shape[length:])], attributes, atol=1e-4)


@operator("Transpose")
def transpose(d):
    shape = d.shape(1, 5)
    return Call([d.tensor(shape)], maybe(d, 0.8, perm=[int(i) for i in d.rng.permutation(len(shape))]))


@operator("Reshape")
def reshape(d):
    shape = d.shape()
    flat = int(np.prod(shape))
    to = list(d.rng.permutation(shape)) if d.chance(0.5) else [flat]
    to = [int(n) for n in to] + [1] * d.int(0, 1)
    if flat and to and d.chance(0.4):
        to[d.int(0, len(to) - 1)] = -1
    return Call([d.tensor(shape), ints(to)], {"allowzero": 1} if not flat and d.opset >= 14 else {})


@operator("Flatten")
def flatten(d):
    shape = d.shape()
    low = -len(shape) if d.opset >= 11 else 0
    return Call([d.tensor(shape)], maybe(d, axis=d.int(low, len(shape))))


@operator("Squeeze")
def squeeze(d):
    shape = [1 if d.chance(0.5) else n for n in d.shape(1)]
    ones = [i for i, n in enumerate(shape) if n == 1]
    axes = d.subset(ones)
    if d.opset < 13:
        return Call([d.tensor(shape)], {"axes": sorted(axes)} if axes else {})
    return Call([d.tensor(shape)] + ([ints(axes)] if axes else []))


@operator("Unsqueeze")
def unsqueeze(d):
    shape = d.shape(0, 3)
    count = d.int(1, 2)
    rank = len(shape) + count
    axes = d.axes(rank, count)[:count]
    if d.opset < 13:
        axes = sorted(a % rank for a in axes)
        return Call([d.tensor(shape)], {"axes": axes})
    return Call([d.tensor(shape), ints(axes)])


@operator("Expand")
def expand(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), ints(b)])


@operator("Tile")
def tile(d):
    shape = d.shape(1, 4, 500)
    return Call([d.tensor(shape), ints([d.int(0 if d.chance(0.03) else 1, 3) for _ in shape])])


@operator("DepthToSpace")
def depth_to_space(d):
    size = d.int(1, 3)
    shape = [d.int(1, 2), size * size * d.int(1, 3), d.int(1, 5), d.int(1, 5)]
    modes = maybe(d, mode=d.pick(["DCR", "CRD"])) if d.opset >= 11 else {}
    return Call([d.tensor(shape)], {"blocksize": size} | modes)


@operator("SpaceToDepth")
def space_to_depth(d):
    size = d.int(1, 3)
    return Call([d.tensor([d.int(1, 2), d.int(1, 3), size * d.int(1, 4), size * d.int(1, 4)])], {"blocksize": size})


@operator("Shape")
def shape_of(d):
    shape = d.shape()
    ends = maybe(d, start=d.int(-5, 5), end=d.int(-5, 5)) if d.opset >= 15 else {}
    return Call([d.tensor(shape)], ends)


@operator("NonZero")
def non_zero(d):
    return Call([d.tensor(d.shape(1))])


@operator("Compress")
def compress(d):
    shape = d.shape(1, empty=0)
    if d.chance(0.3):
        return Call([d.tensor(shape), d.tensor([d.int(1, int(np.prod(shape)))], "bool")])
    axis = d.axis(len(shape))
    return Call([d.tensor(shape), d.tensor([d.int(1, shape[axis])], "bool")], {"axis": axis})


@operator("OneHot")
def one_hot(d):
    depth = d.int(1, 7)
    shape = d.shape(1, 3)
    where = d.rng.integers(-depth - 2, depth + 2, shape).astype(DTYPES[d.dtype])
    values = d.plain([2], d.pick(["float", "int64", "int32"]))
    return Call([where, np.int64(depth), values], maybe(d, axis=d.axis(len(shape) + 1)))


@operator("Unique")
def unique(d):
    shape = d.shape(1, empty=0)
    attributes = maybe(d, axis=d.axis(len(shape)), sorted=d.int(0, 1))
    return Call([np.round(d.plain(shape)) if d.dtype in FLOATS else d.plain(shape)], attributes, d.int(1, 4))


@operator("Trilu")
def trilu(d):
    shape = d.shape(2)
    k = [np.int64(d.int(-5, 5))] if d.chance(0.7) else []
    return Call([d.tensor(shape), *k], maybe(d, upper=d.int(0, 1)))


@operator("EyeLike")
def eye_like(d):
    return Call([d.tensor(d.shape(2, 2))], maybe(d, k=d.int(-3, 3), dtype=onnx_type(d.pick(["float", "int64", "double"]))))


@operator("Range")
def range_(d):
    start, step = d.int(-5, 5), d.pick([1, 2, 3, -1, -2])
    stop = start + step * d.int(0, 9) + d.int(-1, 1)
    return Call([np.array(v, DTYPES[d.dtype]) for v in (start, stop, step)])


@operator("ConstantOfShape")
def constant_of_shape(d):
    from onnx import numpy_helper

    value = d.plain([1], d.pick(["float", "int64", "int32", "bool", "uint8", "double"]))
    return Call([ints(d.shape())], maybe(d, value=numpy_helper.from_array(value)))


@operator("ReverseSequence")
def reverse_sequence(d):
    shape = d.shape(2, empty=0)
    time = d.int(0, 1)
    lengths = d.rng.integers(1, shape[time] + 1, shape[1 - time])
    return Call([d.tensor(shape), ints(lengths)], {"time_axis": time, "batch_axis": 1 - time})


@operator("CenterCropPad")
def center_crop_pad(d):
    shape = d.shape(1, empty=0)
    axes = d.axes(len(shape), 1)
    if d.chance(0.4):
        return Call([d.tensor(shape), ints([d.size() for _ in shape])])
    return Call([d.tensor(shape), ints([d.size() for _ in axes])], {"axes": axes})


@operator("TensorScatter")
def tensor_scatter(d):
    batch, rows, size = d.int(1, 3), d.int(2, 7), d.int(1, 5)
    update = d.int(1, rows)
    starts = [d.rng.integers(0, rows - update + 1, batch)] if d.chance(0.6) else []
    return Call([d.tensor([batch, rows, size]), d.tensor([batch, update, size]), *starts], {"axis": 1})


# ---- quantisation

@operator("QuantizeLinear", quanta=1)
def quantize(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    each = [shape[axis]] if d.opset >= 13 and d.chance(0.4) else []
    attributes = {"axis": axis} if d.opset >= 13 else {}
    target = d.pick(["uint8", "int8"] + (["int16", "uint16"] if d.opset >= 21 else []))
    zero = [d.whole(each, target, 0, 99)] if d.chance(0.8) else []
    scale_type = d.dtype if d.dtype in FLOATS else "float"
    return Call([d.plain(shape), d.plain(each, scale_type, 0.02, 0.5), *zero], attributes)


@operator("DequantizeLinear", dtypes=("int8", "uint8", "int32", "int16", "uint16"))
def dequantize(d):
    shape = d.shape(1, empty=0)
    axis = d.axis(len(shape))
    each = [shape[axis]] if d.opset >= 13 and d.chance(0.4) else []
    zero = [d.whole(each, d.dtype, 0, 99)] if d.dtype != "int32" and d.chance(0.8) else []
    return Call([d.tensor(shape), d.plain(each, "float", 0.02, 0.5), *zero], {"axis": axis} if d.opset >= 13 else {})


@operator("DynamicQuantizeLinear", quanta=1)
def dynamic_quantize(d):
    return Call([d.plain(d.shape(1, empty=0))], outputs=3)


# ---- images

@operator("Resize", constants=(1, 2, 3), quanta=1)
def resize(d):
    shape = [d.int(1, 2), d.int(1, 3), d.int(2, 7), d.int(2, 7)]
    mode = d.pick(["nearest", "linear", "cubic"] if d.opset >= 11 else ["nearest", "linear"])
    scales = [1.0, 1.0, d.pick([0.5, 1.5, 2.0, 3.0]), d.pick([0.6, 1.0, 2.0, 2.5])]
    if d.opset < 11:
        return Call([d.plain(shape), np.array(scales, np.float32)], {"mode": mode})
    ways = ["half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners"]
    ways += ["half_pixel_symmetric"] if d.opset >= 19 else []
    attributes = {"mode": mode} | maybe(d, coordinate_transformation_mode=d.pick(ways))
    if mode == "nearest":
        attributes |= maybe(d, nearest_mode=d.pick(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    if mode == "cubic":
        attributes |= maybe(d, cubic_coeff_a=-0.5, exclude_outside=d.int(0, 1))
    if d.opset >= 18 and mode != "nearest":
        attributes |= maybe(d, 0.3, antialias=1)
    region = None if d.opset >= 13 else np.array([], np.float32)
    x = d.plain(shape, low=-9, high=9)
    if d.chance(0.5):
        return Call([x, region, np.array(scales, np.float32)], attributes, atol=1e-4)
    sizes = ints([*shape[:2], d.int(1, 15), d.int(1, 15)])
    return Call([x, region, None if d.opset >= 13 else np.array([], np.float32), sizes], attributes, atol=1e-4)


@operator("Upsample", quanta=1)
def upsample(d):
    shape = [d.int(1, 2), d.int(1, 3), d.int(2, 7), d.int(2, 7)]
    scales = [1.0, 1.0, d.pick([1.5, 2.0, 3.0]), d.pick([1.0, 2.0, 2.5])]
    mode = {"mode": d.pick(["nearest", "linear"])}
    if d.opset < 9:
        return Call([d.plain(shape)], mode | {"scales": scales})
    return Call([d.plain(shape), np.array(scales, np.float32)], mode)


@operator("GridSample")
def grid_sample(d):
    rank = 2 if d.opset < 20 or d.chance(0.7) else 3
    dims, to = ([d.int(2, 6) for _ in range(rank)] for _ in range(2))
    batch = d.int(1, 2)
    modes = ["bilinear", "nearest", "bicubic"] if d.opset < 20 else ["linear", "nearest", "cubic"][: 3 if rank == 2 else 2]
    attributes = maybe(d, mode=d.pick(modes), align_corners=d.int(0, 1))
    attributes |= maybe(d, padding_mode=d.pick(["zeros", "border", "reflection"]))
    return Call([d.plain([batch, d.int(1, 3), *dims]), d.plain([batch, *to, rank], "double" if d.dtype == "double" else "float", -1.3, 1.3)], attributes, atol=1e-3)


@operator("AffineGrid")
def affine_grid(d):
    rank = d.int(2, 3)
    batch = d.int(1, 3)
    size = ints([batch, d.int(1, 3)] + [d.int(1, 6) for _ in range(rank)])
    return Call([d.plain([batch, rank, rank + 1]), size], maybe(d, align_corners=d.int(0, 1)))


@operator("RoiAlign")
def roi_align(d):
    shape = [d.int(1, 3), d.int(1, 3), d.int(3, 9), d.int(3, 9)]
    count = d.int(1, 4)
    corners = np.sort(d.rng.uniform(0, 8, [count, 2, 2]), axis=1).reshape(count, 4).astype(DTYPES[d.dtype])
    attributes = maybe(d, output_height=d.int(1, 4), output_width=d.int(1, 4), sampling_ratio=d.int(0, 3))
    attributes |= maybe(d, mode=d.pick(["avg", "max"]), spatial_scale=d.pick([0.5, 1.0]))
    if d.opset >= 16:
        attributes |= maybe(d, coordinate_transformation_mode=d.pick(["half_pixel", "output_half_pixel"]))
    return Call([d.plain(shape), corners, d.rng.integers(0, shape[0], count)], attributes, atol=1e-4)


@operator("MaxRoiPool")
def max_roi_pool(d):
    shape = [d.int(1, 3), d.int(1, 3), d.int(3, 9), d.int(3, 9)]
    count = d.int(1, 4)
    corners = np.sort(d.rng.integers(0, 8, [count, 2, 2]), axis=1).reshape(count, 4)
    rois = np.concatenate([d.rng.integers(0, shape[0], [count, 1]), corners], axis=1)
    return Call([d.plain(shape), rois.astype(DTYPES[d.dtype])], {"pooled_shape": [d.int(1, 3), d.int(1, 3)]})


@operator("NonMaxSuppression")
def non_max_suppression(d):
    batch, boxes, classes = d.int(1, 2), d.int(1, 9), d.int(1, 3)
    corners = np.sort(d.rng.uniform(0, 1, [batch, boxes, 2, 2]), axis=2).reshape(batch, boxes, 4)
    scores = d.rng.uniform(0, 1, [batch, classes, boxes]).astype(np.float32)
    options = [ints([d.int(0, 5)]), np.array([d.uniform(0, 1)], np.float32), np.array([d.uniform(0, 0.6)], np.float32)]
    given = options[: d.int(0, 3)]
    return Call([corners.astype(np.float32), scores, *given], maybe(d, center_point_box=d.int(0, 1)))


@operator("Col2Im")
def col2im(d):
    image_, block = [d.int(3, 7), d.int(3, 7)], [d.int(1, 3), d.int(1, 3)]
    attributes = maybe(d, strides=[d.int(1, 2), d.int(1, 2)], pads=[d.int(0, 1) for _ in range(4)])
    steps, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0] * 4)
    count = [(image_[i] + pads[i] + pads[i + 2] - block[i]) // steps[i] + 1 for i in range(2)]
    shape = [d.int(1, 2), d.int(1, 3) * block[0] * block[1], count[0] * count[1]]
    return Call([d.plain(shape), ints(image_), ints(block)], attributes, atol=1e-4)


@operator("MaxUnpool")
def max_unpool(d):
    shape = [1, d.int(1, 2), d.int(1, 4), d.int(1, 4)]
    where = np.arange(int(np.prod(shape[2:]))).reshape(shape[2:])
    rows, columns = np.unravel_index(where, shape[2:])
    flat = rows * 2 * shape[3] * 2 + columns * 2
    planes = np.arange(shape[1]).reshape(1, -1, 1, 1) * shape[2] * shape[3] * 4
    return Call([d.plain(shape), ints(flat[None, None] + planes)], {"kernel_shape": [2, 2], "strides": [2, 2]})


@operator("DeformConv")
def deform_conv(d):
    batch, channels, maps, kernel = d.int(1, 2), d.int(1, 3), d.int(1, 3), d.int(1, 3)
    size = d.int(kernel, 7)
    to = size - kernel + 1
    offset = d.plain([batch, 2 * kernel * kernel, to, to], None, -1, 1)
    inputs = [d.plain([batch, channels, size, size]), d.plain([maps, channels, kernel, kernel]), offset]
    bias = d.plain([maps]) if d.chance(0.5) else None
    mask = [bias, d.plain([batch, kernel * kernel, to, to])] if d.chance(0.5) else [bias]
    return Call(inputs + mask, {"kernel_shape": [kernel, kernel], "pads": [0, 0, 0, 0]}, atol=1e-3, rtol=1e-3)


# ---- losses, signals

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
    if d.opset < 20:
        return Call([d.plain(shape)] + ([length] if length else []), attributes | {"axis": axis}, atol=1e-3)
    return Call([d.plain(shape), length, np.int64(axis)], attributes, atol=1e-3)


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


# ---- recurrent, attention

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@operator("LSTM", "GRU", "RNN")
def recurrent(d):
    gates = GATES[d.operator]
    steps, batch, width, hidden = d.int(1, 6), d.int(1, 4), d.int(1, 9), d.int(1, 9)
    direction = d.pick(["forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    inputs = [
        d.plain([steps, batch, width]),
        d.plain([ways, gates * hidden, width]),
        d.plain([ways, gates * hidden, hidden]),
        d.plain([ways, 2 * gates * hidden]) if d.chance(0.6) else None,
        d.rng.integers(1, steps + 1, batch).astype(np.int32) if d.chance(0.3) else None,
        d.plain([ways, batch, hidden]) if d.chance(0.4) else None,
    ]
    outputs = 2
    if d.operator == "LSTM":
        inputs.append(d.plain([ways, batch, hidden]) if d.chance(0.4) else None)
        inputs.append(d.plain([ways, 3 * hidden]) if d.chance(0.3) else None)
        outputs = 3
    attributes = {"hidden_size": hidden, "direction": direction} | maybe(d, 0.2, clip=d.uniform(0.5, 2))
    if d.operator == "GRU":
        attributes |= maybe(d, linear_before_reset=d.int(0, 1))
    if d.operator == "LSTM":
        attributes |= maybe(d, 0.2, input_forget=1)
    return Call(inputs, attributes, outputs, rtol=1e-3, atol=1e-3)


@operator("Attention")
def attention(d):
    batch, groups, more, size = d.int(1, 2), d.int(1, 2), d.int(1, 2), d.int(1, 8)
    rows, keys, values = d.int(1, 5), d.int(1, 5), d.int(1, 8)
    heads = groups * more
    inputs = [d.plain([batch, heads, rows, size]), d.plain([batch, groups, keys, size]), d.plain([batch, groups, keys, values])]
    if d.chance(0.5):
        mask = d.pick([[rows, keys], [batch, 1, rows, keys], [1, heads, rows, keys]])
        inputs.append(d.plain(mask) if d.chance(0.6) else d.tensor(mask, "bool") | np.eye(rows, keys, dtype=bool))
    attributes = maybe(d, 0.3, is_causal=1, scale=d.uniform(0.1, 1), softcap=d.uniform(0.5, 3))
    return Call(inputs, attributes, rtol=1e-3, atol=1e-3)


@operator("RotaryEmbedding")
def rotary(d):
    batch, heads, rows, size = d.int(1, 2), d.int(1, 3), d.int(1, 5), 2 * d.int(1, 4)
    places = d.rng.integers(0, 9, [batch, rows])
    return Call([d.plain([batch, heads, rows, size]), d.plain([9, size // 2]), d.plain([9, size // 2]), places], maybe(d, interleaved=d.int(0, 1)))


# ---- text

@operator("StringConcat")
def string_concat(d):
    a, b = d.broadcast(2)
    return Call([d.tensor(a), d.tensor(b)])


@operator("StringSplit")
def string_split(d):
    return Call([d.tensor(d.shape(1, 2, 60))], maybe(d, delimiter=d.pick([" ", "b", ""]), maxsplit=d.int(1, 3)), 2)


@operator("StringNormalizer", since=10)
def string_normalizer(d):
    attributes = maybe(d, case_change_action=d.pick(["LOWER", "UPPER", "NONE"]), is_case_sensitive=d.int(0, 1))
    attributes["locale"] = "C"
    # In the locale of C, no letters but those of ASCII have two cases.
    words = [d.pick([word for word in WORDS if word.isascii()]) for _ in range(d.int(1, 9))]
    return Call([np.array(words, object)], attributes | maybe(d, stopwords=["a", "Abc", "ZZ"]))


@operator("RegexFullMatch")
def regex_full_match(d):
    return Call([d.tensor(d.shape(0, 2, 60))], {"pattern": d.pick([r"[a-z]+", r".*b.*", r"\d", r"(a|b)+", r"^a$"])})


@operator("TfIdfVectorizer", dtypes=("int32", "int64"))
def tf_idf(d):
    grams = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7]
    attributes = {
        "mode": d.pick(["TF", "IDF", "TFIDF"]),
        "min_gram_length": 1,
        "max_gram_length": d.int(1, 2),
        "max_skip_count": d.int(0, 3),
        "ngram_counts": [0, 4],
        "ngram_indexes": list(range(7)),
        "pool_int64s": grams,
    } | maybe(d, weights=[d.uniform(0.5, 2) for _ in range(7)])
    shape = [d.int(1, 12)] if d.chance(0.5) else [d.int(1, 3), d.int(1, 12)]
    return Call([d.whole(shape, d.dtype, 2, 8)], attributes)


# ---- classical machine learning

ML = {"domain": "ai.onnx.ml", "since": 1}
ML_NUMBERS = ("float", "double", "int32", "int64")


@operator("Scaler", **ML)
def scaler(d):
    shape = d.shape(2, 2, empty=0)
    each = shape[1] if d.chance(0.6) else 1
    return Call([d.plain(shape)], {n: [d.uniform(0.5, 2) for _ in range(each)] for n in ("offset", "scale")})


@operator("Normalizer", **ML)
def normalizer(d):
    return Call([d.plain(d.shape(1, 2, empty=0))], {"norm": d.pick(["MAX", "L1", "L2"])})


@operator("Binarizer", **ML)
def binarizer(d):
    return Call([d.plain(d.shape())], maybe(d, threshold=d.uniform(-1, 1)))


@operator("ArrayFeatureExtractor", **ML)
def array_features(d):
    shape = d.shape(1, 3, empty=0)
    return Call([d.tensor(shape), d.rng.integers(0, shape[-1], d.int(1, 5))])


@operator("Imputer", **ML)
def imputer(d):
    shape = d.shape(2, 2, empty=0)
    if d.dtype in FLOATS:
        x = np.where(d.rng.random(shape) < 0.3, np.nan, d.plain(shape)).astype(DTYPES[d.dtype])
        values = {"imputed_value_floats": [d.uniform(-1, 1) for _ in range(shape[1])], "replaced_value_float": float("nan")}
        return Call([x], values)
    return Call([d.plain(shape)], {"imputed_value_int64s": [d.int(-5, 5) for _ in range(shape[1])], "replaced_value_int64": 2})


@operator("LinearRegressor", **ML)
def linear_regressor(d):
    rows, width, targets = d.int(1, 5), d.int(1, 6), d.int(1, 3)
    attributes = {"coefficients": [d.uniform(-1, 1) for _ in range(width * targets)], "targets": targets}
    attributes |= maybe(d, intercepts=[d.uniform(-1, 1) for _ in range(targets)])
    return Call([d.plain([rows, width])], attributes)


@operator("LinearClassifier", **ML)
def linear_classifier(d):
    rows, width, classes = d.int(1, 5), d.int(1, 6), d.int(2, 4)
    attributes = {
        "coefficients": [d.uniform(-1, 1) for _ in range(width * classes)],
        "intercepts": [d.uniform(-1, 1) for _ in range(classes)],
        "classlabels_ints": list(range(3, 3 + classes)),
        "multi_class": d.int(0, 1),
        "post_transform": d.pick(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]),
    }
    return Call([d.plain([rows, width])], attributes, 2)


@operator("SVMClassifier", **ML)
def svm_classifier(d):
    rows, width, classes = d.int(1, 5), d.int(1, 5), d.int(2, 4)
    sizes = [d.int(1, 3) for _ in range(classes)] if d.chance(0.8) else []
    vectors, pairs = sum(sizes), classes * (classes - 1) // 2

    def some(count, low=-1):
        return [d.uniform(low, 1) for _ in range(count)]

    attributes = {
        "kernel_type": d.pick(["LINEAR", "POLY", "RBF", "SIGMOID"]) if sizes else "LINEAR",
        "kernel_params": [d.uniform(0.2, 1), d.uniform(0, 1), 2.0],
        "coefficients": some((classes - 1) * vectors if sizes else classes * width),
        "rho": some(pairs if sizes else 1),
        "classlabels_ints": list(range(5, 5 + classes)),
        "post_transform": d.pick(["NONE", "NONE", "SOFTMAX", "LOGISTIC"]),
    }
    if sizes:
        attributes |= {"support_vectors": some(vectors * width), "vectors_per_class": sizes}
        if d.chance(0.4):
            attributes |= {"prob_a": some(pairs), "prob_b": some(pairs)}
    return Call([d.plain([rows, width])], attributes, 2, rtol=1e-3, atol=1e-3)


@operator("SVMRegressor", **ML)
def svm_regressor(d):
    rows, width, vectors = d.int(1, 5), d.int(1, 5), d.int(1, 4)
    attributes = {
        "kernel_type": d.pick(["LINEAR", "POLY", "RBF", "SIGMOID"]),
        "kernel_params": [d.uniform(0.2, 1), d.uniform(0, 1), 2.0],
        "support_vectors": [d.uniform(-1, 1) for _ in range(width * vectors)],
        "coefficients": [d.uniform(-1, 1) for _ in range(vectors)],
        "n_supports": vectors,
        "rho": [d.uniform(-1, 1)],
    }
    return Call([d.plain([rows, width])], attributes)


@operator("LabelEncoder", **ML)
def label_encoder(d):
    if d.opset < 2:
        return Call([d.tensor(d.shape(1, 2, 60))], {"classes_strings": ["a", "b", "ab"], "default_int64": -5, "default_string": "?"})
    kinds = {"string": ("keys_strings", ["a", "b", "ab"]), "int64": ("keys_int64s", [1, 2, 3]), "float": ("keys_floats", [1.0, 2.0, -1.0])}
    key, keys = kinds.get(d.dtype, kinds["int64"])
    value = d.pick([("values_int64s", [7, 8, 9]), ("values_floats", [0.5, 1.5, 2.5]), ("values_strings", ["x", "y", "z"])])
    x = np.round(d.plain(d.shape(1, 2, 60))) if d.dtype == "float" else d.plain(d.shape(1, 2, 60))
    return Call([x], {key: keys, value[0]: value[1]})


@operator("CategoryMapper", **ML)
def category_mapper(d):
    x = d.plain(d.shape(1, 2, 60))
    return Call([x], {"cats_int64s": [1, 2, 3], "cats_strings": ["a", "b", "ab"]} | maybe(d, default_int64=7, default_string="?"))


@operator("OneHotEncoder", **ML)
def one_hot_encoder(d):
    return Call([d.whole(d.shape(1, 2, 60), "int64", 0, 4)], {"cats_int64s": [0, 1, 2, 3], "zeros": d.int(0, 1) or 1})


@operator("TreeEnsembleRegressor", **ML)
def tree_regressor(d):
    """Stumps, one tree each, with a branch of any mode."""
    trees, width, targets = d.int(1, 4), d.int(1, 4), d.int(1, 2)
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    nodes = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    leaves = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        rows = [(0, d.int(0, width - 1), float(d.int(-1, 1)), d.pick(modes), 1, 2), (1, 0, 0.0, "LEAF", 0, 0), (2, 0, 0.0, "LEAF", 0, 0)]
        for row in rows:
            for name, value in zip(nodes, (tree, *row)):
                nodes[name].append(value)
        for node in (1, 2):
            for name, value in zip(leaves, (tree, node, d.int(0, targets - 1), d.uniform(-2, 2))):
                leaves[name].append(value)
    attributes = {f"nodes_{n}": v for n, v in nodes.items()} | {f"target_{n}": v for n, v in leaves.items()}
    attributes |= {"n_targets": targets} | maybe(d, aggregate_function=d.pick(["SUM", "MIN", "MAX", "AVERAGE"]))
    attributes |= maybe(d, 0.3, base_values=[d.uniform(-1, 1) for _ in range(targets)])
    x = np.round(d.plain([d.int(1, 6), width])) if d.dtype in FLOATS else d.plain([d.int(1, 6), width])
    return Call([x], attributes)
