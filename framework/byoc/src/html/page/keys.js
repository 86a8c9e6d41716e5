// The keyboard goes from node to node.
const step = {
  ArrowDown: (n) => graph.edges.find(([from]) => from === n)?.[1],
  ArrowUp: (n) => graph.edges.find(([, to]) => to === n)?.[0],
  ArrowRight: (n) => beside(n, 1),
  ArrowLeft: (n) => beside(n, -1),
};
// Another way out of the node above, else the next node of the model.
function beside(n, by) {
  const above = graph.edges.find(([, to]) => to === n)?.[0];
  const row = above === undefined ? [] : [...new Set(graph.edges.filter(([from]) => from === above).map(([, to]) => to))];
  const near = row.sort((a, b) => shape.place[a].x - shape.place[b].x);
  return near.length > 1 ? near[(near.indexOf(n) + by + near.length) % near.length] : n + by;
}
canvas.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (step[e.key]) {
    const next = chosen?.node === undefined ? 0 : step[e.key](chosen.node);
    if (graph.nodes[next]) select(next);
  } else if (e.key === "Enter" || e.key === " ") {
    const region = chosen?.region ?? (chosen && graph.picture.nodes[chosen.node].region);
    if (region !== null && region !== undefined) fold(region);
  } else if (e.key === "+" || e.key === "=") zoom(1.3);
  else if (e.key === "-") zoom(1 / 1.3);
  else if (e.key === "0") fit();
  else return;
  e.preventDefault();
});
document.addEventListener("keydown", (e) => {
  if (e.key === "Escape" && !$("panel").hidden) $("close").click();
  if (e.key === "/" && document.activeElement !== $("search")) { e.preventDefault(); $("search").focus(); }
});
function select(node) {
  choose({ node });
  centre(placeOf(chosen));
}
