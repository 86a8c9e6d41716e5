// Placement, costs, road map, and what the command line adds.
function table(columns, rows) {
  const cell = (kind, c, content) => {
    const e = el(kind, { className: c.kind || "" }, content);
    if (kind === "td") e.dataset.label = c.name;
    return e;
  };
  // Where there is much to read, or much side by side, rows become cards on a narrow page.
  const stacks = columns.length > 4 || columns.some((c) => c.kind === "wide");
  return el("div", { className: "scroll" }, el("table", { className: stacks ? "stacks" : "" },
    el("thead", {}, el("tr", {}, ...columns.map((c) => Object.assign(cell("th", c, c.name), { scope: "col" })))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((x, i) => cell("td", columns[i], x)))))));
}
const word = (name) => ({ name }), number = (name) => ({ name, kind: "number" }), wide = (name) => ({ name, kind: "wide" });
const link = (name, found) => found ? el("button", { className: "link", textContent: name, onclick: () => go(found) }) : name;
// Rows of lists that may be as long as the model.
const ROWS = 200;
const more = (n) => n > ROWS ? el("p", { textContent: `${(n - ROWS).toLocaleString("en")} more; all of them in the report.` }) : null;
const regionLink = (g, region) => el("button", { className: "link", textContent: g.regions[region].name, onclick: () => {
  show("graph");
  if (g !== graph) openGraph(data.graphs.indexOf(g));
  choose({ region }, true);
  canvas.focus();
} });
const heading = (title, note) => [el("h2", { textContent: title }), note ? el("p", { textContent: note }) : null];

function placement() {
  const nodes = data.graphs.flatMap((g) => g.nodes.filter((n) => !n.kind)), all = sum(nodes, (n) => n.flops);
  const targets = [...data.vendors.map((_, i) => i), null];
  const rows = targets.map((t) => {
    const own = nodes.filter((n) => n.vendor === t), work = sum(own, (n) => n.flops);
    const regions = sum(data.graphs, (g) => g.regions.filter((r) => r.vendor === t).length);
    return [tag(t), own.length, t === null ? "" : regions, flops(work), share(all ? work / all : null)];
  });
  const ops = [...new Set(nodes.map((n) => n.op))].sort();
  const byOp = ops.map((op) => [op, ...targets.map((t) => nodes.filter((n) => n.op === op && n.vendor === t).length || "")]);
  return [
    ...heading("Targets", `${bytes(data.summary.boundary_bytes)} cross between targets in one run.`),
    table([word("target"), number("nodes"), number("regions"), number("arithmetic"), number("share")], rows),
    ...heading("Operators", "Nodes of each operator by target."),
    table([word("operator"), ...targets.map((t) => number(target(t)))], byOp),
    ...(data.removed.length ? [...heading("Taken away before matching", ""),
      table([word("node"), word("operator"), word("why")], data.removed.slice(0, ROWS).map((r) => [r.name, r.op, r.why])),
      more(data.removed.length)] : []),
  ];
}
function share(x) {
  const bar = el("span", { className: "bar" });
  bar.style.width = `${Math.round(60 * (x || 0))}px`;
  return el("span", {}, percent(x), bar);
}
function costs() {
  const regions = data.graphs.flatMap((g) => g.regions.map((r, i) => [
    regionLink(g, i), tag(r.vendor), r.nodes, partly(flops, r.flops), partly(bytes, r.bytes_in), partly(bytes, r.bytes_out),
    partly(bytes, r.bytes_constant), micros(r.predicted_us)]));
  const node = (x) => data.graphs[x.graph].nodes[x.node];
  const host = every.filter((x) => node(x).vendor === null && !node(x).kind);
  host.sort((a, b) => (node(b).flops || 0) - (node(a).flops || 0));
  const { predicted_us, greedy_predicted_us, predicted_partial } = data.summary;
  const whole = (us) => us === null ? "unknown" : partly(micros, [us, !predicted_partial]);
  return [
    ...heading("Prediction", ""),
    table([word("plan"), number("predicted")], [["this one", whole(predicted_us)], ["greedy", whole(greedy_predicted_us)]]),
    ...(regions.length ? [...heading("Regions", "What each computes, and what crosses its border in one run."),
      table([word("region"), word("target"), number("nodes"), number("arithmetic"), number("in"), number("out"),
        number("constants"), number("predicted")], regions)] : []),
    ...(host.length ? [...heading("Heaviest on the host", "The first 50 by arithmetic."),
      table([word("node"), word("operator"), number("arithmetic"), number("traffic")],
        host.slice(0, 50).map((x) => [link(x.name, x), x.op, flops(node(x).flops), bytes(node(x).bytes)]))] : []),
  ];
}
const missed = (o) => !o.pattern || o.detail.startsWith(`\`${o.pattern}\``) ? o.detail : `\`${o.pattern}\`: ${o.detail}`;
function roadMap() {
  const rows = data.road_map.obstacles.map((o) => [o.vendor, o.op, o.nodes,
    o.unknown === o.nodes ? "unknown" : share(o.share),
    el("span", {}, ...prose(missed(o))),
    el("span", {}, ...prose(o.change)), link(o.example, find(o.example))]);
  return [
    ...heading("What keeps arithmetic on the host", "By vendor, operator and nearest miss, the most arithmetic first."),
    table([word("vendor"), word("operator"), number("nodes"), number("arithmetic"), wide("nearest miss"),
      wide("it would take"), word("for example")], rows),
  ];
}
const section = (s) => [...heading(s.title, s.note), table(s.heading.map((h, i) => i ? number(h) : word(h)), s.rows)];
