// Tabs, and the start.
const views = [["graph", "Graph", null], ["placement", "Placement", placement], ["costs", "Costs", costs],
  ["road-map", "Road map", roadMap], ...data.sections.map((s, i) => [`section${i}`, s.title, () => section(s)])];
function show(name) {
  const [, , make] = views.find(([id]) => id === name);
  for (const tab of $("tabs").children) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  $("graph").hidden = make !== null;
  $("tables").hidden = make === null;
  if (make) { choose(null); $("tables").replaceChildren(...make().filter(Boolean)); $("tables").scrollTop = 0; }
  redraw();
}
$("tabs").append(...views.map(([id, title]) => {
  const tab = el("button", { id: `tab-${id}`, textContent: title, onclick: () => show(id) });
  tab.setAttribute("role", "tab");
  return tab;
}));
$("tabs").addEventListener("keydown", (e) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[e.key], tabs = [...$("tabs").children];
  if (!by) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
  next.click();
  next.focus();
});

function openGraph(index) {
  graph = data.graphs[index];
  folded = graph.regions.map(() => false);
  $("which").value = String(index);
  chosen = null;
  $("panel").hidden = true;
  measure();
  labelFold();
  fit(0.8);
}
$("which").append(...data.graphs.map((g, i) => el("option", { value: String(i), textContent: g.name })));
$("which").hidden = data.graphs.length < 2;
$("which").onchange = () => openGraph(Number($("which").value));
$("in").onclick = () => zoom(1.4);
$("out").onclick = () => zoom(1 / 1.4);
$("fit").onclick = () => fit();
$("fold").onclick = () => {
  const to = !folded.every(Boolean);
  folded = folded.map(() => to);
  measure();
  labelFold();
  fit(0.3);
};

const name = data.model.split("/").slice(-2).join("/");
document.title = `Partition of ${name}`;
$("title").textContent = name;
const { nodes, offloaded, regions, offloaded_flops } = data.summary;
$("summary").textContent = [`${offloaded.toLocaleString("en")} of ${count(nodes, "node")} offloaded`, count(regions, "region"),
  offloaded_flops === null ? null : `${percent(offloaded_flops)} of the arithmetic`].filter(Boolean).join(" · ");
function showLegend() {
  const swatch = (t) => {
    const e = el("span", { className: "swatch" });
    e.style.background = colour(t) || "var(--line)";
    return e;
  };
  $("legend").replaceChildren(...[...data.vendors.map((_, i) => i), null].map((t) => el("span", {}, swatch(t), target(t))));
}
night.addEventListener("change", () => { readInk(); showLegend(); redraw(); });
new ResizeObserver(redraw).observe(canvas);
readInk();
showLegend();
show("graph");
openGraph(0);
