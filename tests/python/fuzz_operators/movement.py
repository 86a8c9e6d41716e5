"""Operators that move elements, or make them of sizes."""

import numpy as np

from fuzz_values import DTYPES, FLOATS, NUMBERS, ints
from .elementwise import onnx_type
from .registry import Call, maybe, operator


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
    if d.chance(0.3):
        first = d.int(0, shape[axis])
        given = [ints([first, shape[axis] - first])]
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
