"""Matrix products, convolutions and pooling."""

import string

import numpy as np

from fuzz_values import DTYPES
from .registry import Call, maybe, operator


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
