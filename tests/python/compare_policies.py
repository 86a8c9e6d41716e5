"""Compares the placement policies over models: is cost ever worse than greedy, predicted or measured?

usage: compare_policies.py BYOC MODELS_DIR... --plugin NAME|PATH [--plugin-option VENDOR.KEY=VALUE]... [--json OUT]
MODELS_DIR holds <name>/model.onnx, with test_data_set_0/input_K.pb beside it where shapes are not fixed.

Calibrates once with a home of its own (on byoc's own samples, or on each model with --each), then asks
`byoc partition --compare` for every model; prints a table in Markdown and exits with 1 where cost is worse than
greedy beyond the tolerance.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import onnx

POLICIES = ("greedy", "cost", "measured")


def input_shapes(folder):
    """`--input-shape` for every input with a dimension that the model leaves open."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    constant = {i.name for i in model.graph.initializer}
    words = []
    inputs = [v for v in model.graph.input if v.name not in constant]
    for k, value in enumerate(inputs):
        dims = value.type.tensor_type.shape.dim
        file = folder / "test_data_set_0" / f"input_{k}.pb"
        if all(d.HasField("dim_value") for d in dims) or not file.exists():
            continue
        tensor = onnx.TensorProto.FromString(file.read_bytes())
        words += ["--input-shape", f"{value.name}={'x'.join(str(d) for d in tensor.dims)}"]
    return words


def rows(args, env):
    vendors = [w for name in args.plugin for w in ("--plugin", name)]
    vendors += [w for option in args.plugin_option for w in ("--plugin-option", option)]
    if not args.each:
        subprocess.run([args.byoc, "calibrate", "--quiet", *vendors], env=env, check=True)
    folders = sorted(f for root in args.models for f in pathlib.Path(root).iterdir() if (f / "model.onnx").exists())
    for folder in folders:
        if args.only and folder.name not in args.only:
            continue
        words = [*vendors, *input_shapes(folder)]
        model = str(folder / "model.onnx")
        shapes = [w for w in words[len(vendors):]]
        if args.each:
            subprocess.run([args.byoc, "calibrate", model, "--quiet", *vendors, *shapes], env=env)
        done = subprocess.run([args.byoc, "partition", model, "--compare", "--json", "--quiet", *words],
                              env=env, capture_output=True, text=True, timeout=args.timeout)
        if done.returncode:
            yield folder.name, None, done.stderr.strip().splitlines()[-1:]
        else:
            yield folder.name, json.loads(done.stdout), done.stderr.strip().splitlines()


def figure(us, partial=False):
    return "–" if us is None else f"{'≥ ' if partial else ''}{us:,.0f}"


def is_worse(better, worse, share):
    return better is not None and worse is not None and worse > better * (1 + share) + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--plugin-option", action="append", default=[])
    parser.add_argument("--each", action="store_true", help="calibrate on every model before it is compared")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--tolerance", type=float, default=0.10, help="share of a measured time that may be chance")
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--json", metavar="OUT")
    args = parser.parse_args()
    found, worse = {}, []
    print("| model | regions greedy / cost / measured | predicted µs greedy | cost | measured | measured µs greedy | cost | measured |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"XDG_CONFIG_HOME": f"{home}/config", "XDG_CACHE_HOME": f"{home}/cache"}
        for name, compared, notes in rows(args, env):
            found[name] = compared or {"error": notes}
            if compared is None:
                print(f"| {name} | failed: {' '.join(notes)} |", flush=True)
                worse.append(f"{name}: failed")
                continue
            get = lambda key: [compared[policy].get(key) for policy in POLICIES]
            predicted, measured = get("predicted_us"), get("measured_us")
            cells = ["/".join(str(n) for n in get("regions"))]
            cells += [figure(us, p) for us, p in zip(predicted, get("predicted_partial"))]
            cells += [figure(us) for us in measured]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            if is_worse(predicted[0], predicted[1], 1e-9):
                worse.append(f"{name}: cost is predicted {predicted[1]:.1f} µs, greedy {predicted[0]:.1f}")
            for policy, us in zip(POLICIES[1:], measured[1:]):
                if is_worse(measured[0], us, args.tolerance):
                    worse.append(f"{name}: {policy} takes {us:.1f} µs, greedy {measured[0]:.1f}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(found, indent=1))
    print(f"\n{len(found)} models, {len(worse)} worse than greedy")
    for line in worse:
        print(f"- {line}")
    sys.exit(bool(worse))


if __name__ == "__main__":
    main()
