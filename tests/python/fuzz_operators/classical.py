"""Classical machine learning, ai.onnx.ml."""

import numpy as np

from fuzz_values import DTYPES, FLOATS
from .registry import Call, maybe, operator


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
