// What the panel says of one node or region.
function choose(what, focus = false) {
  chosen = what;
  $("panel").hidden = !what;
  if (what) {
    $("story").replaceChildren(...(what.node !== undefined ? nodeStory(graph.nodes[what.node], what.node) : regionStory(what.region)));
    $("panel").scrollTop = 0;
    if (focus) centre(placeOf(what));
  }
  redraw();
}
function tag(vendor) {
  const e = el("span", { className: "tag", textContent: target(vendor) });
  e.style.background = vendor === null ? "var(--host)" : `color-mix(in srgb, ${colour(vendor)} 30%, var(--card))`;
  return e;
}
function facts(pairs) {
  return el("dl", {}, ...pairs.filter(([, v]) => v !== null).flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]));
}
function list(title, items) {
  return items.length ? [el("h3", { textContent: title }), el("ul", {}, ...items)] : [];
}
const operand = (o) => el("li", {}, `${o.name} `,
  el("span", { className: "type", textContent: `${o.type || "type unknown"}${o.constant ? ", constant" : ""}` }));
const reason = (r) => el("li", { className: "reason" },
  el("div", {}, el("strong", { textContent: r.vendor }), r.pattern ? el("code", { textContent: ` ${r.pattern}` }) : "",
    el("span", { className: "kind", textContent: ` ${r.kind.replace("_", " ")}` })),
  el("p", {}, ...prose(r.detail)), r.besides ? el("p", {}, "And then: ", ...prose(r.besides)) : null,
  el("p", { className: "change" }, ...prose(`It would take ${r.change}.`)));
const toNode = (n) => el("li", {}, el("button", { className: "link", textContent: graph.nodes[n].name, onclick: () => select(n) }),
  el("span", { className: "type", textContent: ` ${graph.nodes[n].op || graph.nodes[n].kind}` }));
const ends = (index, mine, other) => [...new Set(graph.edges.filter((e) => e[mine] === index).map((e) => e[other]))];
const before = (index) => ends(index, 1, 0).map(toNode);
const after = (index) => ends(index, 0, 1).map(toNode);

function nodeStory(node, index) {
  if (isEnd(node)) return endStory(node, index);
  const region = graph.picture.nodes[index].region;
  const open = region === null ? null : el("button", { className: "link", textContent: graph.regions[region].name,
    onclick: () => choose({ region }) });
  const copy = node.kind === "copy" ? el("p", { className: "note" },
    "The region's own copy of a node that others use as well; the model's node counts where it is.") : null;
  return [
    el("h2", { textContent: node.name }), el("div", {}, `${node.op} on `, tag(node.vendor)), copy,
    facts([["Pattern", node.pattern], ["Region", open], ["Arithmetic", flops(node.flops)], ["Traffic", bytes(node.bytes)]]),
    ...list(node.vendor === null ? "Why it stays on the host" : "What else was considered", node.reasons.map(reason)),
    ...list("Inputs", node.inputs.map(operand)), ...list("Outputs", node.outputs.map(operand)),
    ...list("Comes from", before(index)), ...list("Goes to", after(index)),
    ...list("Attributes", node.attributes.map(([k, v]) => el("li", {}, `${k} `, el("code", { textContent: v })))),
  ].filter(Boolean);
}
function endStory(node, index) {
  return [
    el("h2", { textContent: node.name }), el("div", {}, `${node.kind} of ${graph.name === "main" ? "the model" : graph.name}`),
    facts([["Type", endType(node)]]), ...list("Comes from", before(index)), ...list("Goes to", after(index)),
  ];
}
function regionStory(index) {
  const r = graph.regions[index];
  const button = el("button", { textContent: folded[index] ? "Open" : "Fold", onclick: () => {
    fold(index);
    choose({ region: index });
    $("story").querySelector("button").focus();
  } });
  return [
    el("h2", { textContent: r.name }), el("div", {}, "region of ", tag(r.vendor)),
    facts([["Nodes", String(r.nodes)], ["Arithmetic", partly(flops, r.flops)], ["Comes in", partly(bytes, r.bytes_in)],
      ["Goes out", partly(bytes, r.bytes_out)], ["Constants", partly(bytes, r.bytes_constant)], ["Predicted", micros(r.predicted_us)]]),
    button, ...list("Composites", Object.entries(r.composites).map(([name, n]) => el("li", {}, `${n} × `, el("code", { textContent: name })))),
  ];
}
$("close").onclick = () => { choose(null); canvas.focus(); };
