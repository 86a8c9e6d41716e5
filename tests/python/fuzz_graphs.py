"""Random graphs of 5 to 40 nodes, grown step by step from the values that are there.

Values stay of moderate size, and nothing rounds what was computed, so that two correct runtimes agree closely.
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fuzz_values import ints

LARGEST = 4000  # elements of a value


@dataclass
class Value:
    name: str
    shape: list
    bound: float  # how large an element may be

    @property
    def rank(self):
        return len(self.shape)


class Grower:
    """A graph under way. Steps add nodes and give the values that they make."""

    def __init__(self, draw):
        self.draw = draw
        self.opset = draw.opset
        self.nodes, self.constants, self.inputs = [], [], {}
        self.values, self.used = [], set()

    def fresh(self, kind="v"):
        return f"{kind}{len(self.nodes) + len(self.constants) + len(self.inputs)}"

    def input(self, shape):
        name = self.fresh("x")
        self.inputs[name] = self.draw.plain(shape, "float", -2, 2)
        self.values.append(Value(name, list(shape), 2.0))

    def constant(self, array):
        name = self.fresh("c")
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, shape, scale=1.0):
        return self.constant(self.draw.plain(shape, "float", -scale, scale))

    def node(self, op, inputs, outputs=1, **attributes):
        names = [f"{self.fresh()}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        self.used.update(inputs)
        return names[0] if outputs == 1 else names

    def add(self, name, shape, bound):
        self.values.append(Value(name, [int(n) for n in shape], bound))

    def any(self, low=0, high=9):
        """A value of a rank between the two, a late one rather than an early one; `None` if there is none."""
        fitting = [v for v in self.values if low <= v.rank <= high]
        if not fitting:
            return None
        return fitting[-1] if self.draw.chance(0.4) else self.draw.pick(fitting)


# ---- steps: each takes the grower and a value, and adds what it makes; ranks that it wants stand beside it

UNARY = {
    "Abs": None, "Cos": 1.0, "Elu": None, "Erf": 1.0, "HardSigmoid": 1.0, "HardSwish": None, "Identity": None,
    "LeakyRelu": None, "Neg": None, "Relu": None, "Sigmoid": 1.0, "Sin": 1.0, "Softsign": 1.0, "Tanh": 1.0,
}  # fmt: skip


def unary(g, x):
    op = g.draw.pick(list(UNARY))
    g.add(g.node(op, [x.name]), x.shape, UNARY[op] or x.bound)


def binary(g, x):
    op = g.draw.pick(["Add", "Sub", "Mul", "Max", "Min"])
    partners = [v for v in g.values if v.shape == x.shape or v.shape == x.shape[1:]]
    if g.draw.chance(0.5):
        y = g.draw.pick(partners)
        name, bound = y.name, y.bound
    else:
        name, bound = g.weights(g.draw.narrowed(x.shape)), 1.0
    pair = [x.name, name]
    if g.draw.chance(0.3) and op != "Sub":
        pair.reverse()
    bounds = {"Mul": x.bound * bound, "Max": max(x.bound, bound), "Min": max(x.bound, bound)}
    g.add(g.node(op, pair), x.shape, bounds.get(op, x.bound + bound))


def matmul(g, x):
    k, n = x.shape[-1], g.draw.size()
    if x.rank == 2 and g.draw.chance(0.4):
        turned = g.draw.int(0, 1)
        inputs = [x.name, g.weights([n, k] if turned else [k, n], 1 / k)]
        inputs += [g.weights([n])] if g.draw.chance(0.6) else []
        return g.add(g.node("Gemm", inputs, transB=turned), [x.shape[0], n], x.bound + 1)
    y = g.node("MatMul", [x.name, g.weights([k, n], 1 / k)])
    bound = x.bound
    if g.draw.chance(0.5):
        y, bound = g.node("Add", [y, g.weights([n])]), bound + 1
    g.add(y, x.shape[:-1] + [n], bound)


def scores(g, x):
    """x·xᵀ, scaled: a product of two values that are both computed."""
    turned = g.node("Transpose", [x.name], perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
    y = g.node("MatMul", [x.name, turned])
    y = g.node("Mul", [y, g.constant(np.float32(1 / (x.shape[-1] * max(1, x.bound**2))))])
    g.add(y, x.shape[:-1] + [x.shape[-2]], 1.0)


def conv(g, x):
    channels = x.shape[1]
    groups = channels if g.draw.chance(0.3) else 1
    maps = groups * g.draw.int(1, 3)
    kernel = [g.draw.int(1, min(3, n)) for n in x.shape[2:]]
    strides = [g.draw.int(1, 2) for _ in kernel]
    pads = [g.draw.int(0, k - 1) for k in kernel] * 2
    taps = channels // groups * int(np.prod(kernel))
    inputs = [x.name, g.weights([maps, channels // groups, *kernel], 1 / taps)]
    inputs += [g.weights([maps])] if g.draw.chance(0.5) else []
    y = g.node("Conv", inputs, strides=strides, pads=pads, group=groups)
    dims = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], pads, kernel, strides)]
    shape, bound = [x.shape[0], maps, *dims], x.bound + 1
    if g.draw.chance(0.4):
        each = [g.weights([maps]), g.weights([maps]), g.weights([maps])]
        each.append(g.constant(g.draw.plain([maps], "float", 0.5, 2)))
        y, bound = g.node("BatchNormalization", [y, *each]), 2 * bound + 4
    if g.draw.chance(0.5):
        y = g.node("Relu", [y])
    g.add(y, shape, bound)


def pool(g, x):
    kernel = [g.draw.int(1, min(3, n)) for n in x.shape[2:]]
    op = g.draw.pick(["MaxPool", "AveragePool"])
    if g.draw.chance(0.3):
        return g.add(g.node("GlobalAveragePool", [x.name]), x.shape[:2] + [1] * len(kernel), x.bound)
    dims = [(n - k) // 2 + 1 for n, k in zip(x.shape[2:], kernel)]
    y = g.node(op, [x.name], kernel_shape=kernel, strides=[2] * len(kernel))
    g.add(y, x.shape[:2] + dims, x.bound)


def with_axes(g, op, x, axes, since, **attributes):
    """Axes are an attribute, or an input from `since` on."""
    if g.opset >= since:
        return g.node(op, [x, g.constant(ints(axes))], **attributes)
    return g.node(op, [x], axes=axes, **attributes)


def reduce(g, x):
    axes, keep = sorted(g.draw.subset(range(x.rank), 1)), g.draw.int(0, 1)
    op = g.draw.pick(["ReduceMean", "ReduceMax", "ReduceMin"])
    y = with_axes(g, op, x.name, axes, 18, keepdims=keep)
    g.add(y, [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes], x.bound)


def transpose(g, x):
    perm = [int(i) for i in g.draw.rng.permutation(x.rank)]
    g.add(g.node("Transpose", [x.name], perm=perm), [x.shape[i] for i in perm], x.bound)


def reshape(g, x):
    at = g.draw.int(0, x.rank - 2)
    shape = [*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :]]
    if g.draw.chance(0.5):
        to = list(shape)
        to[at] = -1
        return g.add(g.node("Reshape", [x.name, g.constant(ints(to))]), shape, x.bound)
    # The sizes before and behind come from the shape itself, as exporters write it.
    whole = g.node("Shape", [x.name])
    part = [g.constant(ints([v])) for v in (0, at, at + 2, x.rank)]
    head = [g.node("Slice", [whole, part[0], part[1]])] if at else []
    tail = [g.node("Slice", [whole, part[2], part[3]])] if at + 2 < x.rank else []
    to = g.node("Concat", [*head, g.constant(ints([-1])), *tail], axis=0)
    g.add(g.node("Reshape", [x.name, to]), shape, x.bound)


def unsqueeze(g, x):
    axis = g.draw.int(0, x.rank)
    g.add(with_axes(g, "Unsqueeze", x.name, [axis], 13), [*x.shape[:axis], 1, *x.shape[axis:]], x.bound)


def squeeze(g, x):
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    if ones:
        y = with_axes(g, "Squeeze", x.name, ones, 13)
        g.add(y, [n for n in x.shape if n != 1], x.bound)


def concat(g, x):
    axis, size = g.draw.int(0, x.rank - 1), g.draw.int(1, 4)
    part = [*x.shape[:axis], size, *x.shape[axis + 1 :]]
    other = (x.name, x.shape[axis]) if g.draw.chance(0.3) else (g.weights(part), size)
    y = g.node("Concat", [x.name, other[0]], axis=axis)
    g.add(y, [n + other[1] if i == axis else n for i, n in enumerate(x.shape)], max(x.bound, 1))


def slice_(g, x):
    axis = g.draw.int(0, x.rank - 1)
    start = g.draw.int(0, x.shape[axis] - 1)
    step = g.draw.pick([1, 1, 2])
    given = [g.constant(ints([v])) for v in (start, x.shape[axis], axis, step)]
    size = len(range(start, x.shape[axis], step))
    g.add(g.node("Slice", [x.name, *given]), [size if i == axis else n for i, n in enumerate(x.shape)], x.bound)


def pad(g, x):
    pads = [g.draw.int(0, 2) for _ in range(2 * x.rank)]
    shape = [n + pads[i] + pads[i + x.rank] for i, n in enumerate(x.shape)]
    g.add(g.node("Pad", [x.name, g.constant(ints(pads))]), shape, x.bound)


def gather(g, x):
    axis = g.draw.int(0, x.rank - 1)
    count = g.draw.int(1, 4)
    where = g.constant(ints(g.draw.rng.integers(0, x.shape[axis], count)))
    g.add(g.node("Gather", [x.name, where], axis=axis), [*x.shape[:axis], count, *x.shape[axis + 1 :]], x.bound)


def split(g, x):
    axis = x.rank - 1
    if x.shape[axis] < 2:
        return
    first = g.draw.int(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    for name, size in zip(g.node("Split", [x.name, g.constant(ints(sizes))], 2, axis=axis), sizes):
        g.add(name, x.shape[:axis] + [size], x.bound)


def softmax(g, x):
    g.add(g.node("Softmax", [x.name], axis=g.draw.axis(x.rank)), x.shape, 1.0)


def layer_normalization(g, x):
    size = [x.shape[-1]]
    scale, bias = g.weights(size), g.weights(size)
    if g.opset >= 17 and g.draw.chance(0.5):
        return g.add(g.node("LayerNormalization", [x.name, scale, bias], epsilon=0.1), x.shape, x.bound + 1)
    # In its parts, as old exporters write it.
    mean = with_axes(g, "ReduceMean", x.name, [-1], 18)
    centred = g.node("Sub", [x.name, mean])
    square = g.node("Pow", [centred, g.constant(np.float32(2))])
    variance = g.node("Add", [with_axes(g, "ReduceMean", square, [-1], 18), g.constant(np.float32(0.1))])
    y = g.node("Div", [centred, g.node("Sqrt", [variance])])
    g.add(g.node("Add", [g.node("Mul", [y, scale]), bias]), x.shape, x.bound + 1)


def gelu(g, x):
    half = g.node("Mul", [x.name, g.constant(np.float32(0.5))])
    inner = g.node("Erf", [g.node("Div", [x.name, g.constant(np.float32(np.sqrt(2)))])])
    g.add(g.node("Mul", [half, g.node("Add", [inner, g.constant(np.float32(1))])]), x.shape, x.bound)


def swish(g, x):
    g.add(g.node("Mul", [x.name, g.node("Sigmoid", [x.name])]), x.shape, x.bound)


def where(g, x):
    choice = g.constant(g.draw.tensor(g.draw.narrowed(x.shape), "bool"))
    g.add(g.node("Where", [choice, x.name, g.constant(np.float32(-1))]), x.shape, max(1, x.bound))


def clip(g, x):
    low, high = g.constant(np.float32(-1)), g.constant(np.float32(1.5))
    g.add(g.node("Clip", [x.name, low, high]), x.shape, 1.5)


def through_double(g, x):
    wide = g.node("Cast", [x.name], to=TensorProto.DOUBLE)
    g.add(g.node("Cast", [wide], to=TensorProto.FLOAT), x.shape, x.bound)


def expand(g, x):
    to = [g.draw.int(1, 3) if n == 1 else n for n in x.shape]
    g.add(g.node("Expand", [x.name, g.constant(ints([2, *to]))]), [2, *to], x.bound)


def tile(g, x):
    times = [g.draw.int(1, 2) for _ in x.shape]
    g.add(g.node("Tile", [x.name, g.constant(ints(times))]), [n * t for n, t in zip(x.shape, times)], x.bound)


def body(name, inputs, nodes, output):
    infos = [helper.make_tensor_value_info(n, kind, shape) for n, kind, shape in inputs]
    outputs = [helper.make_tensor_value_info(n, kind, None) for n, kind in output]
    return helper.make_graph(nodes, name, infos, outputs)


def if_(g, x):
    condition = g.node("Greater", [g.node("Size", [x.name]), g.constant(np.int64(g.draw.pick([0, LARGEST])))])
    y = g.fresh("b")
    branches = {
        f"{side}_branch": body(f"{y}_{side}", [], [helper.make_node(op, [x.name], [f"{y}_{side}"])], [(f"{y}_{side}", 1)])
        for side, op in (("then", "Tanh"), ("else", "Neg"))
    }
    g.used.add(x.name)
    g.add(g.node("If", [condition], **branches), x.shape, max(1, x.bound))


def loop(g, x):
    """Halves the value and adds a captured one, a few times over, and collects the steps."""
    p = g.fresh("l")
    nodes = [
        helper.make_node("Tanh", [f"{p}_in"], [f"{p}_t"]),
        helper.make_node("Add", [f"{p}_t", x.name], [f"{p}_out"]),
        helper.make_node("Identity", [f"{p}_c"], [f"{p}_more"]),
        helper.make_node("Identity", [f"{p}_t"], [f"{p}_each"]),
    ]
    inputs = [(f"{p}_i", TensorProto.INT64, []), (f"{p}_c", TensorProto.BOOL, []), (f"{p}_in", 1, None)]
    outputs = [(f"{p}_more", TensorProto.BOOL), (f"{p}_out", 1), (f"{p}_each", 1)]
    trips = g.draw.int(1, 3)
    graph = body(p, inputs, nodes, outputs)
    last, each = g.node("Loop", [g.constant(np.int64(trips)), "", x.name], 2, body=graph)
    g.add(last, x.shape, x.bound + 1)
    g.add(each, [trips, *x.shape], 1.0)


# Step: least and greatest rank of the value that it takes.
STEPS = {
    binary: (0, 6), clip: (0, 6), concat: (1, 5), conv: (3, 4), expand: (0, 4), gather: (1, 5), gelu: (0, 6), if_: (0, 5),
    layer_normalization: (1, 5), loop: (0, 4), matmul: (2, 5), pad: (1, 5), pool: (3, 4), reduce: (1, 6),
    reshape: (2, 6), scores: (2, 4), slice_: (1, 5), softmax: (1, 5), split: (1, 5), squeeze: (1, 6), swish: (0, 6),
    through_double: (0, 6), tile: (1, 4), transpose: (1, 5), unary: (0, 6), unsqueeze: (0, 4), where: (0, 5),
}  # fmt: skip


def grow(draw):
    """A model, its inputs by name."""
    draw.opset = draw.int(13, 22)
    g = Grower(draw)
    for _ in range(draw.int(1, 3)):
        shape = [draw.pick([1, 2, 3, 5, 7, 8]) for _ in range(draw.int(1, 4))]
        # Else no step might take any value.
        while int(np.prod(shape)) > LARGEST:
            shape[0] //= 2
        g.input(shape)
    target = draw.int(5, 40)
    while len(g.nodes) < target:
        step = draw.pick(list(STEPS))
        x = g.any(*STEPS[step])
        if x is None or int(np.prod(x.shape)) > LARGEST:
            continue
        step(g, x)
        newest = g.values[-1]
        if newest.bound > 20:
            g.add(g.node("Softsign", [newest.name]), newest.shape, 1.0)
    return g, model_of(g)


def model_of(g):
    made = {name for node in g.nodes for name in node.output}
    ends = [v.name for v in g.values if v.name in made and v.name not in g.used]
    ends += g.draw.subset([v.name for v in g.values if v.name in made and v.name in g.used])[:1]
    leading = ["N" if g.draw.chance(0.3) else None for _ in g.inputs]
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [free and f"{free}{name}" or array.shape[0], *array.shape[1:]])
        for free, (name, array) in zip(leading, g.inputs.items())
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends]
    graph = helper.make_graph(g.nodes, "random", infos, outputs, g.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", g.opset)], ir_version=10)
