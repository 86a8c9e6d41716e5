"""What random cases are drawn from: sizes, shapes and tensors of every element type."""

import ml_dtypes
import numpy as np

SIZES = [1, 1, 2, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 31]
WORDS = ["", "a", "b", "ab", "Abc", "été", "x y", "0", "ZZ", "a b c", "你好"]

DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "bool": np.bool_,
    "string": np.object_,
}
FLOATS = ("float", "double", "float16", "bfloat16")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTS = SIGNED + UNSIGNED
NUMBERS = FLOATS + INTS


class Draw:
    """A source of random choices for one case; `opset` and `dtype` are what the case is for."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.opset = 0
        self.dtype = "float"

    # ---- choices

    def int(self, low, high):
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share):
        return bool(self.rng.random() < share)

    def pick(self, options):
        return options[self.int(0, len(options) - 1)]

    def uniform(self, low, high):
        return float(np.float32(self.rng.uniform(low, high)))

    def subset(self, options, least=0):
        count = self.int(least, len(options))
        return [options[i] for i in self.rng.permutation(len(options))[:count]]

    # ---- shapes

    def size(self):
        return self.pick(SIZES)

    def shape(self, least=0, most=4, limit=4000, empty=0.03):
        """Sizes of a tensor: now and then one is empty, or the whole is large."""
        dims = [self.size() for _ in range(self.int(least, most))]
        limit = 60_000 if self.chance(0.03) else limit
        if dims and limit == 60_000:
            dims[self.int(0, len(dims) - 1)] = self.pick([257, 1021, 4096])
        while int(np.prod(dims, dtype=np.int64)) > limit:
            dims[int(np.argmax(dims))] //= 2
        if dims and self.chance(empty):
            dims[self.int(0, len(dims) - 1)] = 0
        return dims

    def narrowed(self, shape, drop=True):
        """A shape that broadcasts to `shape`."""
        dims = [1 if self.chance(0.3) else n for n in shape]
        return dims[self.int(0, len(dims)) :] if drop and self.chance(0.3) else dims

    def broadcast(self, count):
        """Shapes that broadcast together."""
        whole = self.shape()
        shapes = [self.narrowed(whole) for _ in range(count)]
        if self.chance(0.6):
            shapes[self.int(0, count - 1)] = whole
        return shapes

    def axis(self, rank):
        return self.int(-rank, rank - 1)

    def axes(self, rank, least=0):
        """Some axes, each once, in any order, some counted from the end."""
        chosen = self.subset(range(rank), least)
        return [a - rank if self.chance(0.3) else a for a in chosen]

    # ---- tensors

    def tensor(self, shape, dtype=None, low=None, high=None, special=0.08):
        """Elements of `dtype` (the case's own by default) between `low` and `high`."""
        dtype = dtype or self.dtype
        if dtype == "string":
            picked = [self.pick(WORDS) for _ in range(int(np.prod(shape)))]
            return np.array(picked, dtype=object).reshape(shape)
        if dtype == "bool":
            return self.rng.integers(0, 2, shape).astype(np.bool_)
        if dtype in INTS:
            return self.whole(shape, dtype, low, high)
        if low is None:
            values = np.asarray(self.rng.standard_normal(shape) * self.pick([1, 1, 3]))
        else:
            values = np.asarray(self.rng.uniform(low, high, shape))
        if low is None and self.chance(0.15):
            values = np.round(values)
        if self.chance(special) and values.size:
            odd = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 0.5, -0.5, 1.5])
            where = self.rng.random(shape) < 0.2
            values = np.where(where, odd[self.rng.integers(0, len(odd), shape)], values)
        with np.errstate(all="ignore"):
            return values.astype(DTYPES[dtype])

    def plain(self, shape, dtype=None, low=None, high=None):
        """Elements without infinities and the like."""
        return self.tensor(shape, dtype, low, high, special=0)

    def whole(self, shape, dtype="int64", low=None, high=None):
        """Integers, of a small range unless told."""
        info = np.iinfo(DTYPES[dtype])
        if low is None and self.chance(0.1):
            low, high = int(info.min), int(info.max)
        low = max(-9 if low is None else int(low), int(info.min))
        high = min(9 if high is None else int(high), int(info.max))
        return self.rng.integers(low, high, shape, dtype=DTYPES[dtype], endpoint=True)


def ints(values):
    return np.array(values, np.int64)
