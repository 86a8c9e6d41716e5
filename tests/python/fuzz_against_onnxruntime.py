"""Compares this host's kernels with ONNX Runtime on random models.

    python3 tests/python/fuzz_against_onnxruntime.py BYOC --operators 20000 --graphs 5000 --seed 1

Each case is drawn from its seed and number alone, run by ONNX Runtime, written as a test of a suite, and run by
`byoc conformance`, whose child processes contain crashes and endless loops; ONNX Runtime runs in a child, too.
What ONNX Runtime does not implement or refuses is counted and printed. A difference is kept as a folder in
`--keep`, with the command that repeats it. Known differences are listed with their reasons in
`tests/conformance/onnxruntime_differences.toml`; where an entry calls the standard's evaluator as its witness, the
case is run again with the evaluator's results as the expected ones, and has to pass.

ONNX Runtime's Python interface takes no bfloat16: such models take and give float32 and cast inside.
"""

import argparse
import collections
import json
import multiprocessing
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import numpy as np
import onnx
import onnx.reference
import onnx.shape_inference
import onnxruntime
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

import fuzz_graphs
from fuzz_operators import OPERATORS
from fuzz_values import DTYPES, Draw

DIFFERENCES = pathlib.Path(__file__).parents[1] / "conformance" / "onnxruntime_differences.toml"
NEWEST = {"": 26, "ai.onnx.ml": 5}
# Element type of an output: relative and absolute difference.
TOLERANCES = {"float16": (1e-2, 5e-3), "float32": (1e-4, 1e-5), "float64": (1e-5, 1e-7)}


def schema_history():
    history = collections.defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        history[schema.domain, schema.name].append(schema)
    return {key: sorted(schemas, key=lambda s: s.since_version) for key, schemas in history.items()}


HISTORY = schema_history()


class Case:
    """One model with its inputs. `what` says in a line what it is."""

    def __init__(self, model, feed, what, name, quanta=0, rtol=0.0, atol=0.0):
        self.model, self.feed, self.what, self.name = model, feed, what, name
        self.quanta, self.rtol, self.atol = quanta, rtol, atol


# ---- models of one operator


def allowed_dtypes(schema, operator):
    """Element types that the schema allows for its first input."""
    first = schema.inputs[0].type_str
    kinds = next((c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == first), [first])
    known = [kind[len("tensor(") : -1] for kind in kinds if kind.startswith("tensor(")]
    return [t for t in known if t in DTYPES and (not operator.dtypes or t in operator.dtypes)]


def draw_operator(draw, only):
    name = draw.pick(only or list(OPERATORS))
    operator = OPERATORS[name]
    schemas = HISTORY[operator.domain, name]
    newest = NEWEST[operator.domain]
    ends = [s.since_version - 1 for s in schemas[1:]] + [newest]
    ranges = [(s, max(s.since_version, operator.since), min(end, newest)) for s, end in zip(schemas, ends)]
    schema, low, high = draw.pick([r for r in ranges if r[1] <= r[2] and not r[0].deprecated])
    draw.opset = draw.int(low, high)
    types = allowed_dtypes(schema, operator)
    draw.dtype = "float" if "float" in types and draw.chance(0.4) else draw.pick(types or ["float"])
    draw.operator = name
    call = operator.draw(draw)
    return operator_case(draw, name, operator, call)


def operator_case(draw, name, operator, call):
    inputs = {f"x{i}": np.asarray(value) for i, value in enumerate(call.inputs) if value is not None}
    while call.inputs and call.inputs[-1] is None:
        call.inputs.pop()
    constants = {n for n in inputs if draw.chance(0.03 if n == "x0" else 0.4)}
    constants |= {f"x{i}" for i in operator.constants} & set(inputs)
    if len(constants) == len(inputs):
        constants.clear()
    free = draw.chance(0.3)
    feed = {n: a for n, a in inputs.items() if n not in constants}
    infos = [value_info(n, a, free) for n, a in feed.items()]
    weights = [numpy_helper.from_array(a, n) for n, a in inputs.items() if n in constants]
    names = ["" if value is None else f"x{i}" for i, value in enumerate(call.inputs)]
    results = [f"y{i}" for i in range(call.outputs)]
    node = helper.make_node(name, names, results, domain=operator.domain, **call.attributes)
    undeclared = [ValueInfoProto(name=result) for result in results]
    graph = helper.make_graph([node], name, infos, undeclared, weights)
    opsets = [helper.make_opsetid(operator.domain, draw.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    shown = ", ".join(f"{n}={a.dtype}{list(a.shape)}{' constant' * (n in constants)}" for n, a in inputs.items())
    attributes = {k: v for k, v in call.attributes.items() if not isinstance(v, TensorProto)}
    what = f"{name}-{draw.opset} {shown} {attributes}"
    key = f"{operator.domain}{'.' * bool(operator.domain)}{name}"
    case = Case(model, feed, what, key, operator.quanta, call.rtol, call.atol)
    if any(a.dtype == DTYPES["bfloat16"] for a in inputs.values()) or "bfloat16" in str(results_types(model)):
        widen(case)
    return case


def results_types(model):
    """Element types of a model's outputs as far as `onnx` infers them."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return [TensorProto.DataType.Name(o.type.tensor_type.elem_type).lower() for o in graph.output]


def widen(case):
    """Lets a model take and give float32 where it computes in bfloat16."""
    graph, types = case.model.graph, results_types(case.model)
    (node,) = graph.node
    narrow = [info.name for info in graph.input if case.feed[info.name].dtype == DTYPES["bfloat16"]]
    for info in graph.input:
        if info.name in narrow:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
            case.feed[info.name] = case.feed[info.name].astype(np.float32)
    casts = [helper.make_node("Cast", [n], [f"{n}_narrow"], to=TensorProto.BFLOAT16) for n in narrow]
    for i, name in enumerate(node.input):
        node.input[i] = f"{name}_narrow" if name in narrow else name
    last = []
    for i, kind in enumerate(types):
        if kind == "bfloat16":
            node.output[i] = f"y{i}_narrow"
            last.append(helper.make_node("Cast", [f"y{i}_narrow"], [f"y{i}"], to=TensorProto.FLOAT))
    nodes = [*casts, node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(opset.domain == "" for opset in case.model.opset_import):
        case.model.opset_import.append(helper.make_opsetid("", NEWEST[""]))
    case.rtol, case.atol = max(case.rtol, 2**-6), max(case.atol, 2**-7)


def value_info(name, array, free):
    shape = [f"{name}_{i}" for i in range(array.ndim)] if free else array.shape
    kind = TensorProto.STRING if array.dtype == object else helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, shape)


def draw_graph(draw, _):
    grown, model = fuzz_graphs.grow(draw)
    operators = collections.Counter(node.op_type for node in grown.nodes)
    what = f"graph-{grown.opset} of {len(grown.nodes)} nodes {dict(operators)}"
    return Case(model, grown.inputs, what, "graph", rtol=1e-3, atol=1e-4)


DRAWS = {"operator": draw_operator, "graph": draw_graph}


def draw_case(kind, seed, number, only):
    return DRAWS[kind](Draw([seed, list(DRAWS).index(kind), number]), only)


# ---- what ONNX Runtime gives, as a test of a suite


def run_onnxruntime(case):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, case.feed)


def declare_outputs(case, results):
    """Outputs of the type that ONNX Runtime gave; of its shape, too, where all inputs have theirs."""
    infos = case.model.graph.input
    fixed = all(d.HasField("dim_value") for i in infos for d in i.type.tensor_type.shape.dim)
    for info, value in zip(case.model.graph.output, results):
        if isinstance(value, list):
            item = value_info("", value[0], False).type if value else helper.make_tensor_type_proto(1, None)
            item.tensor_type.ClearField("shape")
            info.type.CopyFrom(helper.make_sequence_type_proto(item))
        else:
            info.type.CopyFrom(value_info("", np.asarray(value), False).type)
            if not (fixed and case.name != "graph"):
                info.type.tensor_type.ClearField("shape")


def write_case(folder, case, results):
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    for j, (name, array) in enumerate(case.feed.items()):
        (data / f"input_{j}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())
    if results is not None:
        declare_outputs(case, results)
        write_results(data, [info.name for info in case.model.graph.output], results)
        types = [np.asarray(value).dtype.name for value in results if not isinstance(value, list)]
        limits = [TOLERANCES.get(name, (0, 0)) for name in types] or [(1e-4, 1e-5)]
        rtol, atol = (max(given, *(limit[i] for limit in limits)) for i, given in ((0, case.rtol), (1, case.atol)))
        tolerance = {"rtol": rtol, "atol": atol, "quanta": case.quanta}
        (folder / "data.json").write_text(json.dumps(tolerance))
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())


def write_results(data, names, results):
    for j, (name, value) in enumerate(zip(names, results)):
        make = numpy_helper.from_list if isinstance(value, list) else numpy_helper.from_array
        value = value if isinstance(value, list) else np.asarray(value)
        (data / f"output_{j}.pb").write_bytes(make(value, name).SerializeToString())


UNIMPLEMENTED = re.compile("NOT_IMPLEMENTED|not implemented|[Uu]nsupported|not supported|only support|does not support", re.IGNORECASE)


def produce(kind, seed, numbers, only, root, report):
    """Writes cases below `root` and says how each went."""
    np.seterr(all="ignore")
    for number in numbers:
        report.send((number, "drawn", "", ""))
        case = draw_case(kind, seed, number, only)
        report.send((number, "drawn", case.name, case.what))
        try:
            results, state = run_onnxruntime(case), "compared"
        except Exception as error:  # ONNX Runtime's own, of many types
            text = str(error).splitlines()[0]
            results, state = None, "unimplemented" if UNIMPLEMENTED.search(text) else "refused"
            case.what += f" | {text[:300]}"
        write_case(root / state / f"{kind}_{number}", case, results)
        report.send((number, state, case.name, case.what))


def produce_contained(kind, seed, numbers, only, root):
    """`produce` in children: where ONNX Runtime ends the process, the next child goes on behind that case."""
    states, numbers = {}, list(numbers)
    while numbers:
        receive, send = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=produce, args=(kind, seed, numbers, only, root, send))
        child.start()
        send.close()
        try:
            while True:
                number, *state = receive.recv()
                states[number] = state
        except EOFError:
            child.join()
        numbers = [n for n in numbers if n not in states]
        last = next(reversed(states))
        if states[last][0] == "drawn":
            if not states[last][2]:
                sys.exit(f"{kind} {last} cannot be drawn")
            states[last][0] = "crashed"
    return states


# ---- running and judging


def run_byoc(arguments, root):
    command = [arguments.byoc, "conformance", root, "--json", root / "results.json", "--quiet", "--timeout", "20", "--check-types"]
    command += ["--jobs", "1", *(["--reference"] if arguments.reference else [])]
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((root / "results.json").read_text(encoding="utf-8"))["tests"]


def read_outputs(folder, model):
    """What ONNX Runtime gave: tensors and lists of them."""
    outputs = []
    for j, info in enumerate(model.graph.output):
        data = (folder / "test_data_set_0" / f"output_{j}.pb").read_bytes()
        if info.type.HasField("sequence_type"):
            outputs.append(numpy_helper.to_list(onnx.SequenceProto.FromString(data)))
        else:
            outputs.append(numpy_helper.to_array(TensorProto.FromString(data)))
    return outputs


def evaluate(folder):
    """What the standard's evaluator gives for a case, in ONNX Runtime's element types, and what that gave."""
    data = folder / "test_data_set_0"
    model = onnx.load(folder / "model.onnx")
    feed = [onnx.load_tensor(data / f"input_{j}.pb") for j in range(len(list(data.glob("input_*"))))]
    feed = {tensor.name: numpy_helper.to_array(tensor) for tensor in feed}
    results = onnx.reference.ReferenceEvaluator(model).run(None, feed)
    wanted = read_outputs(folder, model)
    return [r if isinstance(r, list) else np.asarray(r).astype(w.dtype) for r, w in zip(results, wanted)], wanted


def standard_opinion(folder):
    """What the standard's evaluator says of the outputs that ONNX Runtime gave."""
    try:
        for result, want in zip(*evaluate(folder)):
            for r, w in zip(result, want, strict=True) if isinstance(want, list) else [(result, want)]:
                np.testing.assert_equal(np.shape(r), w.shape)
                if w.dtype == object:
                    np.testing.assert_equal(r, w)
                else:
                    np.testing.assert_allclose(np.asarray(r, np.float64), w.astype(np.float64), 1e-3, 1e-4)
        return "agrees with ONNX Runtime"
    except (AssertionError, ValueError):
        return "differs from ONNX Runtime"
    except Exception as error:  # whatever an evaluator in Python may raise
        return f"cannot tell ({type(error).__name__})"


def call_witness(folder, judged):
    """The case with the evaluator's results as the expected ones; says what hinders it."""
    try:
        results, _ = evaluate(folder)
    except Exception as error:  # whatever an evaluator in Python may raise
        return f"the standard's evaluator cannot tell: {type(error).__name__}"
    shutil.copytree(folder, judged)
    model = onnx.load(folder / "model.onnx")
    for info in model.graph.output:
        # The shape that is declared is ONNX Runtime's.
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    (judged / "model.onnx").write_bytes(model.SerializeToString())
    write_results(judged / "test_data_set_0", [info.name for info in model.graph.output], results)
    return ""


def lost(reason):
    return "it crashed" in reason or "it took longer" in reason or "panicked" in reason


class Tally:
    def __init__(self, arguments):
        self.arguments = arguments
        self.known = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))["difference"]
        self.by_state = collections.defaultdict(collections.Counter)
        self.examples, self.differences, self.excused = {}, 0, collections.Counter()
        self.called = {}

    def compared(self):
        return sum(self.by_state["compared"].values())

    def count(self, state, name, what):
        self.by_state[state][name] += 1
        self.examples.setdefault((state, name), what)

    def judge(self, kind, number, state, name, what, result, root):
        reason = result.get("reason", "")
        if state == "compared" and result["outcome"] == "passed" or state != "compared" and not lost(reason):
            return
        line, folder = f"{what} | {reason}", root / state / f"{kind}_{number}"
        for entry in self.known:
            if re.search(entry["case"], line):
                doubt = ""
                if entry["witness"] == "evaluator":
                    doubt = call_witness(folder, root / "judged" / "witness" / folder.name)
                    self.called[folder.name] = (kind, number, line, folder)
                if doubt:
                    line += f" | listed ({entry['reason']}), but {doubt}"
                    break
                self.excused[entry["reason"]] += 1
                return
        self.differs(kind, number, line, folder)

    def hear_witnesses(self, root):
        """What is listed with the standard's evaluator as witness agrees with it."""
        if not (root / "judged").exists():
            return
        for result in run_byoc(self.arguments, root / "judged"):
            if result["outcome"] != "passed":
                kind, number, line, folder = self.called[result["name"]]
                line += f" | listed, but the standard's evaluator differs, too: {result.get('reason', '')}"
                self.differs(kind, number, line, folder)
        self.called.clear()

    def differs(self, kind, number, line, folder):
        self.differences += 1
        kept = self.arguments.keep / "cases" / folder.name
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        again = f"{sys.argv[0]} {self.arguments.byoc} --seed {self.arguments.seed} --{kind}s 1 --first {number}"
        print(f"DIFFERS {line}\n        the standard's evaluator {standard_opinion(kept)}")
        print(f"        {kept}: {again}", flush=True)

    def show(self, kind, first):
        for state in ("unimplemented", "refused", "crashed"):
            counts = self.by_state[state]
            print(f"{kind}s, {state} by ONNX Runtime: {sum(counts.values())}")
            for name, count in counts.most_common():
                print(f"    {name}: {count}" + (f", as {self.examples[state, name]}" if state != "unimplemented" else ""))
        for reason, count in self.excused.items():
            print(f"{kind}s, known to differ: {count}: {reason}")
        print(f"{kind}s: {self.compared()} compared, {self.differences} differ; go on with --first {first}", flush=True)


def fuzz(kind, wanted, arguments):
    tally, first = Tally(arguments), arguments.first
    while tally.compared() < wanted:
        size = min(1000, wanted - tally.compared())
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            states = produce_contained(kind, arguments.seed, range(first, first + size), arguments.only, root)
            results = {result["name"]: result for result in run_byoc(arguments, root)}
            for number, (state, name, what) in states.items():
                tally.count(state, name, what)
                if f"{kind}_{number}" in results:
                    tally.judge(kind, number, state, name, what, results[f"{kind}_{number}"], root)
            tally.hear_witnesses(root)
        first += size
    tally.show(kind, first)
    return tally.differences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc")
    parser.add_argument("--operators", type=int, default=0, help="models of one operator that are compared")
    parser.add_argument("--graphs", type=int, default=0, help="random graphs that are compared")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", nargs="*", help="operators to draw from")
    parser.add_argument("--reference", action="store_true", help="with the reference kernels alone")
    parser.add_argument("--keep", type=pathlib.Path, default=pathlib.Path("target/fuzz-differences"))
    arguments = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    print(f"seed {arguments.seed}, ONNX Runtime {onnxruntime.__version__}, onnx {onnx.__version__}", flush=True)
    counts = {"operator": arguments.operators, "graph": arguments.graphs}
    found = [fuzz(kind, count, arguments) for kind, count in counts.items() if count]
    sys.exit(any(found))


if __name__ == "__main__":
    main()
