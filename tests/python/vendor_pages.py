"""Renders what vendor_coverage.py has measured, and the sizes of the plugins, into the pages of vendors.

    python3 tests/python/vendor_pages.py RESULTS.json DOCS

Of `DOCS/vendors/<name>.md` and `DOCS/vendors.md` only what lies between the marks `<!-- NAME: … -->` and
`<!-- end of NAME -->` is written.
"""

import json
import pathlib
import re
import statistics
import sys
import tomllib

ROOT = pathlib.Path(__file__).parent.parent.parent
TOGETHER = "all together"
PEERS = {"host": "host ÷", "onnxruntime": "ONNX Runtime ÷", "openvino": "OpenVINO ÷"}

# What a plugin's files are for, by the beginning of their names below `src`; what is not listed is the interface.
PARTS = {
    "onednn": {
        "code generation": ["lower", "fuse", "layer", "shape", "quantised", "network.cc", "primitives"],
        "run time": ["executable", "bridge", "network.h"],
    },
    "openvino": {"code generation": ["check"], "run time": ["executable", "runtime", "api", "find"]},
    "refnpu": {
        "code generation": ["region/", "codegen/", "layer", "layout", "quant"],
        "run time": ["program"],
        "the device, simulated": ["isa/", "sim/", "device"],
        "faults": ["fault"],
    },
}


def lines(path):
    """Lines of a file that are neither blank nor comments, tests apart."""
    code = path.read_text().split("#[cfg(test)]")[0].splitlines()
    comment = "#" if path.suffix == ".toml" else "//"
    return sum(1 for line in code if line.strip() and not line.strip().startswith(comment))


def sizes(vendor):
    """Lines by part: the table, what `PARTS` says, and the interface."""
    source = ROOT / "plugins" / vendor / "src"
    counted = dict.fromkeys(["table", *PARTS[vendor], "interface"], 0)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source).as_posix()
        if path.suffix == ".toml":
            part = "table"
        elif path.suffix in (".rs", ".cc", ".h"):
            parts = PARTS[vendor].items()
            part = next((part for part, starts in parts if any(map(name.startswith, starts))), "interface")
        else:
            continue
        counted[part] += lines(path)
    return counted


def operators(vendor):
    """Operators that the vendor's patterns name."""
    table = tomllib.loads((ROOT / "plugins" / vendor / "src/table.toml").read_text())
    matches = (re.sub(r"\"[^\"]*\"|'[^']*'|#.*", "", pattern["match"]) for pattern in table["pattern"])
    return sorted({name for match in matches for name in re.findall(r"(?:[a-z]+\.)*\b[A-Z]\w+", match)})


def size_section(vendor):
    counted = sizes(vendor)
    code = sum(counted.values()) - counted["table"]
    named = operators(vendor)
    parts = "\n".join(f"| {part} | {count} |" for part, count in counted.items())
    return (
        f"| part | lines |\n|---|---|\n{parts}\n\n{code} lines of code beside the table; blank lines, comments and tests "
        f"are not counted. The patterns name {len(named)} operators: {', '.join(named)}."
    )


def share(row):
    flops = row["offloaded_flops"]
    return "–" if flops is None else f"{100 * flops:.1f} %"


def figures(row):
    """Latency and ratios, as cells; those of simulated devices are the device's own time."""
    ratio = lambda value: "–" if value is None else f"{value:.2f}"
    if "ms" not in row:
        return ["–"] * 4
    return [f"{row['ms']:.3g}", *(ratio(row[peer]) for peer in PEERS)]


def device(row):
    took = sum(row.get("device_ms", {}).values())
    return [f"{took:.3g}" if took else "–"]


def table(measured, title):
    """One vendor's rows; a column is left out where nothing was measured for it."""
    rows = {name: cases[title] for name, cases in measured.items() if title in cases}
    cells, names = lambda row: [], []
    if title == "refnpu" and any("ms" in row for row in rows.values()):
        cells, names = device, ["device ms"]
    elif any("ms" in row for row in rows.values()):
        cells, names = figures, ["ms", *PEERS.values()]
    head = ["model", "nodes", "arithmetic", "regions", "same", *names, "why not the rest"]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        if "error" in row:
            text.append(f"| {name} | failed: {row['error']} |" + " |" * (len(head) - 2))
            continue
        same, reason = "yes" if row["same"] else "**no**", row["why"].replace("|", "\\|") or "–"
        line = [name, f"{row['offloaded']} of {row['nodes']}", share(row), row["regions"], same, *cells(row), reason]
        text.append("| " + " | ".join(map(str, line)) + " |")
    return "\n".join(text)


def summary(measured):
    """All vendors beside each other: models, arithmetic, speed."""
    titles = list(dict.fromkeys(title for cases in measured.values() for title in cases))
    head = ["vendor", "same", "whole", "half the arithmetic or more", *PEERS.values()]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for title in titles:
        rows = [cases[title] for cases in measured.values() if title in cases]
        count = lambda has: f"{sum(map(has, rows))} of {len(rows)}"
        whole = count(lambda row: row.get("offloaded") == row.get("nodes"))
        most = count(lambda row: (row.get("offloaded_flops") or 0) >= 0.5)
        ratios = ["–"] * len(PEERS)
        if title not in ("refnpu", TOGETHER):
            each = [[row[peer] for row in rows if row.get(peer)] for peer in PEERS]
            ratios = [f"{statistics.geometric_mean(of):.2f} ({len(of)})" if of else "–" for of in each]
        same = count(lambda row: row.get("same") is True)
        text.append("| " + " | ".join([title, same, whole, most, *ratios]) + " |")
    return "\n".join(text)


def put(page, name, text):
    """Writes a page's part of that name, where the page has one."""
    content = page.read_text()
    part = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.S)
    if not part.search(content):
        sys.exit(f"{page} has no part `{name}`")
    page.write_text(part.sub(lambda marks: f"{marks[1]}\n{text}\n\n{marks[2]}", content))


def write(docs, measured):
    for vendor in PARTS:
        page = docs / "vendors" / f"{vendor}.md"
        put(page, "size", size_section(vendor))
        put(page, "coverage", table(measured, vendor))
    put(docs / "vendors.md", "summary", summary(measured))
    put(docs / "vendors.md", "coverage", table(measured, TOGETHER))


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[2]), json.loads(pathlib.Path(sys.argv[1]).read_text()))
