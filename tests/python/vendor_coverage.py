"""Measures what each vendor takes of a folder of models, whether the results are right, and how fast that is.

    python3 tests/python/vendor_coverage.py BYOC MODELS --plugin PATH... [--all] [--rounds N] [--models NAME...]
                                            [--keep FILE.json] [--write DOCS]

MODELS holds `<name>/model.onnx` with `test_data_set_0` beside it, and a MANIFEST.toml with each model's family.
Every plugin is tried alone; with `--all` also all of them together, the first preferred. Models are placed greedily:
whatever a vendor's table and checks let it take, it takes.

With `--rounds`, each vendor alone, the host alone, ONNX Runtime and OpenVINO take turns of a fifth of a second on the same inputs;
a ratio is the median over the rounds of the peer's median latency by ours.

`--keep` adds to what a file has of other models, so that a long run can be made in parts. `--write` renders all
of it into the pages of vendors (see vendor_pages.py). Exits with 1 where a result differs from the reference.
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

import vendor_pages

TOLERANCES = pathlib.Path(__file__).parent.parent / "tolerances.toml"
TURN = 0.2


def byoc(args, *words):
    return subprocess.run([args.byoc, *map(str, words)], capture_output=True, text=True, timeout=600)


def tolerance(entry, paths):
    """As in the test suite, which shares the table of what needs more than the rest."""
    quanta, scale = 2 if entry["family"].startswith("quant-") else 0, 1e-4
    for more in tomllib.loads(TOLERANCES.read_text())["wider"]:
        several = len(paths) > 1 and more["who"] == "several vendors"
        if more["model"] == entry["name"] and (several or any(more["who"] in str(path) for path in paths)):
            quanta, scale = max(quanta, more.get("quanta", 0)), max(scale, more.get("scale", 0))
    return ["--rtol", "1e-3", "--atol", "1e-6", "--atol-scale", scale, "--quanta", quanta]


def placed(paths):
    return [word for path in paths for word in ("--plugin", path)] + ["--policy", "greedy"]


def why(report):
    """What keeps most nodes on the host, in the report's words."""
    def reason(node):
        first = node["reasons"][0]
        return f"{node['op']}: {first['detail']}"

    counted = collections.Counter(reason(node) for node in report["nodes"] if node["reasons"])
    text = "; ".join(f"{count} × {reason}" for reason, count in counted.most_common(2))
    return text if len(text) <= 160 else text[:159] + "…"


def shapes(entry):
    """The sizes that the reference data has, so that all arithmetic can be counted."""
    used = [(i["name"], i["used"]) for i in entry["inputs"] if i.get("used")]
    return [word for name, dims in used for word in ("--input-shape", f"{name}={'x'.join(map(str, dims))}")]


def coverage(args, folder, entry, paths):
    """What the partitioner gives to vendors, and whether the results are those of the reference."""
    model = folder / "model.onnx"
    partition = byoc(args, "partition", model, *placed(paths), *shapes(entry), "--json")
    if partition.returncode:
        return {"error": " ".join(partition.stderr.split())}
    report = json.loads(partition.stdout)
    run = byoc(args, "run", model, "--data", folder, "--quiet", *placed(paths), *tolerance(entry, paths))
    summary = {key: report["summary"][key] for key in ("offloaded", "nodes", "offloaded_flops", "regions")}
    return summary | {"same": run.returncode == 0, "why": why(report)}


def byoc_turn(args, folder, paths):
    """Milliseconds of a run, and those that devices say they took."""
    with tempfile.TemporaryDirectory() as out:
        out = pathlib.Path(out) / "bench.json"
        done = byoc(args, "bench", folder / "model.onnx", "--data", folder, "--seconds", TURN, "--quiet", "--json", out,
                    "--threads", args.threads, *placed(paths))
        if done.returncode:
            raise RuntimeError(done.stderr)
        measured = json.loads(out.read_text())
    return measured["median_ms"], measured["device_ms"]


def by_onnxruntime(path, threads, feed):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    # Its threads are not to look for work while others have their turns.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    named = dict(zip((value.name for value in session.get_inputs()), feed))
    return lambda: session.run(None, named)


def by_openvino(path, threads, feed):
    import openvino

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(path, "CPU", hints).create_infer_request()
    return lambda: request.infer(feed, share_inputs=True)


PEERS = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}


def peer_turn(peer, args, folder):
    """A turn of a peer, which is made ready once; none where it refuses the model."""
    import onnx
    from onnx import numpy_helper

    data = sorted((folder / "test_data_set_0").glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    feed = [numpy_helper.to_array(onnx.load_tensor(str(path))) for path in data]

    def turn():
        times, end = [], time.perf_counter() + TURN
        while time.perf_counter() < end or len(times) < 3:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3

    try:
        run = PEERS[peer](str(folder / "model.onnx"), args.threads, feed)
        turn()
    except Exception:
        return None
    return turn


def speed(args, folder, taking):
    """Of each vendor its latency, and those of the peers by its own; all take turns."""
    turns = {peer: peer_turn(peer, args, folder) for peer in PEERS} if taking else {}
    times, peers, devices = collections.defaultdict(list), collections.defaultdict(list), {}
    for _ in range(args.rounds):
        peers["host"].append(byoc_turn(args, folder, [])[0])
        for title, paths in taking.items():
            # A device's own time is the same each time.
            if devices.get(title):
                continue
            ms, devices[title] = byoc_turn(args, folder, paths)
            times[title].append(ms)
        for peer, turn in turns.items():
            if turn:
                peers[peer].append(turn())

    def by(peer, title):
        pairs = zip(peers[peer], times[title])
        return statistics.median(a / b for a, b in pairs) if peers[peer] else None

    return {
        title: {"ms": statistics.median(times[title]), "device_ms": devices[title],
                **{peer: by(peer, title) for peer in ("host", *PEERS)}}
        for title in taking
    }


def measure(args, entry, cases):
    folder = args.models_folder / entry["name"]
    rows = {title: coverage(args, folder, entry, paths) for title, paths in cases.items()}
    if args.rounds:
        # Together they have regions that are simulated.
        taking = {title: cases[title] for title, row in rows.items() if row.get("regions") and len(cases[title]) == 1}
        for title, figures in speed(args, folder, taking).items():
            rows[title] |= figures
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc")
    parser.add_argument("models_folder", type=pathlib.Path, metavar="MODELS")
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--all", action="store_true", help="also all plugins together")
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--rounds", type=int, default=0, help="turns that each has; 0: speed is not measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="a file of results to add to")
    parser.add_argument("--write", type=pathlib.Path, help="the folder of pages to write the tables into")
    args = parser.parse_args()
    entries = tomllib.loads((args.models_folder / "MANIFEST.toml").read_text())["model"]
    cases = {pathlib.Path(path).stem.removeprefix("libbyoc_"): [path] for path in args.plugin}
    if args.all:
        cases[vendor_pages.TOGETHER] = args.plugin
    results = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else {}
    # In the order of the folder, whatever was measured first.
    measured = {}
    for entry in entries:
        name = entry["name"]
        if not args.models or name in args.models:
            measured[name] = results.get(name, {}) | measure(args, entry, cases)
        elif name in results:
            measured[name] = results[name]
    if args.keep:
        args.keep.write_text(json.dumps(measured, indent=1))
    if args.write:
        vendor_pages.write(args.write, measured)
    else:
        for title in cases:
            print(f"### {title}\n\n{vendor_pages.table(measured, title)}\n")
    rows = [row for of_model in measured.values() for row in of_model.values()]
    sys.exit(0 if all(row.get("same") for row in rows) else 1)


if __name__ == "__main__":
    main()
