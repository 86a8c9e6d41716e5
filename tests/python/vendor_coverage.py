"""Writes what each vendor takes of a folder of models, as tables in Markdown.

    python3 tests/python/vendor_coverage.py BYOC MODELS --plugin PATH... [--all] [--write docs/vendors.md]

MODELS holds `<name>/model.onnx` with `test_data_set_0` beside it, and a MANIFEST.toml with each model's family.
Every plugin is tried alone; with `--all` also all of them together, the first preferred. Exits with 1 where a
result differs from the reference.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tomllib

BEGIN = "<!-- coverage: written by tests/python/vendor_coverage.py -->"
END = "<!-- end of coverage -->"
TOLERANCES = pathlib.Path(__file__).parent.parent / "tolerances.toml"


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


def plugins(paths):
    return [word for path in paths for word in ("--plugin", path)]


def why(report):
    """What keeps most nodes on the host, in the report's words."""
    def reason(node):
        first = node["reasons"][0]
        return f"{node['op']}: {first['detail']}"

    counted = collections.Counter(reason(node) for node in report["nodes"] if node["reasons"])
    text = "; ".join(f"{count} × {reason}" for reason, count in counted.most_common(2))
    return text.replace("|", "\\|")[:160] or "–"


def shapes(entry):
    """The sizes that the reference data has, so that all arithmetic can be counted."""
    used = [(i["name"], i["used"]) for i in entry["inputs"] if i.get("used")]
    return [word for name, dims in used for word in ("--input-shape", f"{name}={'x'.join(map(str, dims))}")]


def row(args, folder, entry, paths):
    model = folder / "model.onnx"
    words = [*plugins(paths), "--policy", "greedy"]
    partition = byoc(args, "partition", model, *words, *shapes(entry), "--json")
    if partition.returncode:
        return [entry["name"], "failed", "", "", "", partition.stderr.strip()], False
    report = json.loads(partition.stdout)
    summary = report["summary"]
    run = byoc(args, "run", model, "--data", folder, "--quiet", *words, *tolerance(entry, paths))
    same = run.returncode == 0
    flops = summary["offloaded_flops"]
    share = "–" if flops is None else f"{100 * flops:.1f} %"
    nodes = f"{summary['offloaded']} of {summary['nodes']}"
    return [entry["name"], nodes, share, summary["regions"], "yes" if same else "**no**", why(report)], same


def table(args, title, paths, entries):
    lines = [f"### {title}", "", "| model | nodes | arithmetic | regions | same | why not the rest |"]
    lines.append("|---|---|---|---|---|---|")
    good = True
    for entry in entries:
        cells, same = row(args, args.models / entry["name"], entry, paths)
        good &= same
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines + [""], good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("byoc")
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--plugin", action="append", default=[])
    parser.add_argument("--all", action="store_true", help="also all plugins together")
    parser.add_argument("--write", type=pathlib.Path, help="a page to write the tables into")
    args = parser.parse_args()
    entries = tomllib.loads((args.models / "MANIFEST.toml").read_text())["model"]
    cases = [([path], pathlib.Path(path).stem.removeprefix("libbyoc_")) for path in args.plugin]
    if args.all:
        cases.append((args.plugin, "all together: " + ", ".join(title for _, title in cases)))
    lines, good = [], True
    for paths, title in cases:
        part, same = table(args, title, paths, entries)
        lines += part
        good &= same
    text = "\n".join(lines)
    if args.write:
        page = args.write.read_text()
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        args.write.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    else:
        print(text)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
