// Finding nodes.
let results = [], marked = -1;
const every = data.graphs.flatMap((g, i) => g.nodes.map((n, node) => ({ graph: i, node, name: n.name, op: n.op || n.kind,
  text: `${n.name} ${n.op || n.kind}`.toLowerCase() })));
$("search").addEventListener("input", () => {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  results = words.length ? every.filter((x) => words.every((w) => x.text.includes(w))).slice(0, 50) : [];
  marked = results.length ? 0 : -1;
  showFound();
});
function showFound() {
  $("found").replaceChildren(...results.map((r, i) => {
    const item = el("li", { id: `found${i}`, onpointerdown: (e) => { e.preventDefault(); go(r); } },
      el("span", { textContent: r.name }), el("span", { textContent: r.op }));
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(i === marked));
    return item;
  }));
  $("found").hidden = results.length === 0;
  $("search").setAttribute("aria-expanded", String(results.length > 0));
  $("search").setAttribute("aria-activedescendant", marked >= 0 ? `found${marked}` : "");
  if (marked >= 0) $(`found${marked}`).scrollIntoView({ block: "nearest" });
}
$("search").addEventListener("keydown", (e) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (by && results.length) { marked = (marked + by + results.length) % results.length; showFound(); e.preventDefault(); }
  if (e.key === "Enter" && results[marked]) go(results[marked]);
  if (e.key === "Escape") { results = []; marked = -1; showFound(); }
});
$("search").addEventListener("blur", () => { results = []; marked = -1; showFound(); });
function go(result) {
  show("graph");
  if (data.graphs[result.graph] !== graph) openGraph(result.graph);
  const region = graph.picture.nodes[result.node].region;
  if (region !== null && folded[region]) fold(region, false);
  select(result.node);
  canvas.focus();
}
const find = (name) => every.find((x) => x.name === name && !data.graphs[x.graph].nodes[x.node].kind);
