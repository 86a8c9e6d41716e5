"use strict";
// Draws on a canvas, and of that only what is in view, so that thousands of nodes can be moved about.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const LAYER_GAP = 44, BAR = 26, PALETTE =
  ["#2f7fd1", "#d9822b", "#3a9d5d", "#a45bc4", "#c94f6d", "#23979b", "#8a7d2f", "#6a6fd6"];
const colour = (vendor) => vendor === null ? null : PALETTE[vendor % PALETTE.length];
const target = (vendor) => vendor === null ? "host" : data.vendors[vendor];

// ---- words

function el(tag, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}
// What stands between backticks is code.
const prose = (text) => text.split("`").map((part, i) => i % 2 ? el("code", { textContent: part }) : part);
const scaled = (n, step, units) => {
  let i = 0;
  while (n >= step && i < units.length - 1) { n /= step; i++; }
  return `${i === 0 ? n : n.toPrecision(3)} ${units[i]}`;
};
const flops = (n) => n === null ? "unknown" : scaled(n, 1000, ["op", "kop", "Mop", "Gop", "Top", "Pop"]);
const bytes = (n) => n === null ? "unknown" : scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const micros = (n) => n === null || n === undefined ? "unknown" : `${n.toPrecision(3)} µs`;
const percent = (share) => share === null ? "–" : `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const sum = (list, f) => list.reduce((n, x) => n + (f(x) || 0), 0);

// ---- geometry of the graph at hand

let graph, folded, shape, view = { x: 0, y: 0, k: 1 }, chosen = null;

function measure() {
  const { boxes, lines, layers, nodes } = graph.picture;
  const all = folded.length > 0 && folded.every(Boolean);
  const shut = (b) => b.region !== null && folded[b.region];
  const at = boxes.map((b) => ({ x: all ? b.fx : b.x, w: shut(b) ? b.fw : b.w, h: shut(b) ? b.fh : b.h }));
  const height = new Array(layers).fill(0);
  boxes.forEach((b, i) => { height[b.layer] = Math.max(height[b.layer], at[i].h); });
  const top = [];
  let y = 0;
  height.forEach((h, l) => { top[l] = y; y += h + LAYER_GAP; });
  boxes.forEach((b, i) => { at[i].y = top[b.layer] + height[b.layer] / 2; });
  const port = (i, offset) => at[i].x + (shut(boxes[i]) ? 0 : offset);
  const paths = lines.map((line) => {
    const a = boxes[line.from], b = boxes[line.to];
    const sx = port(line.from, line.leaves), ex = port(line.to, line.enters);
    const points = [[sx, at[line.from].y + at[line.from].h / 2], [sx, top[a.layer] + height[a.layer]]];
    for (const [l, open, closed] of line.bends) {
      const x = all ? closed : open;
      points.push([x, top[l]], [x, top[l] + height[l]]);
    }
    if (b.layer > a.layer) points.push([ex, top[b.layer]]);
    points.push([ex, at[line.to].y - at[line.to].h / 2]);
    return path(points);
  });
  const inside = graph.picture.inside.map((list) => list.map((line) => path(line.points)));
  const left = Math.min(...at.map((a) => a.x - a.w / 2)), right = Math.max(...at.map((a) => a.x + a.w / 2));
  const place = nodes.map((n) => {
    const a = at[n.box], b = boxes[n.box];
    return shut(b) ? { x: a.x, y: a.y, w: a.w, h: a.h, hidden: true }
      : { x: a.x - a.w / 2 + n.x, y: a.y - a.h / 2 + n.y, w: n.w, h: n.h, hidden: false };
  });
  shape = { at, paths, inside, place, shut, left: at.length ? left : 0, right: at.length ? right : 0, bottom: y };
}

function path(points) {
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  return { points, x0: Math.min(...xs), x1: Math.max(...xs), y0: Math.min(...ys), y1: Math.max(...ys) };
}

// ---- drawing

const canvas = $("canvas"), pen = canvas.getContext("2d");
let ink = {}, waiting = false;

function readInk() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "card", "ink", "soft", "rule", "line", "accent", "host", "host-ink"]) {
    ink[name] = style.getPropertyValue(`--${name}`).trim();
  }
}
function redraw() {
  if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); }
}

function draw() {
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (!w || !h) return;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = ink.paper;
  pen.fillRect(0, 0, w, h);
  pen.translate(view.x, view.y);
  pen.scale(view.k, view.k);
  const seen = { x0: -view.x / view.k, y0: -view.y / view.k, x1: (w - view.x) / view.k, y1: (h - view.y) / view.k };
  const fine = view.k > 0.3, { boxes } = graph.picture;
  const visible = (x, y, w, h) => x + w / 2 >= seen.x0 && x - w / 2 <= seen.x1 && y + h / 2 >= seen.y0 && y - h / 2 <= seen.y1;
  drawPaths(shape.paths, seen, 0, 0, fine);
  boxes.forEach((b, i) => {
    const a = shape.at[i];
    if (b.region !== null && visible(a.x, a.y, a.w, a.h)) drawRegion(graph.regions[b.region], a, shape.shut(b), fine);
  });
  boxes.forEach((b, i) => {
    const a = shape.at[i];
    if (b.region !== null && !shape.shut(b) && a.w * view.k >= 12 && visible(a.x, a.y, a.w, a.h)) {
      drawPaths(shape.inside[b.region], seen, a.x - a.w / 2, a.y - a.h / 2, fine);
      if (fine) drawTitle(graph.regions[b.region], a);
    }
  });
  shape.place.forEach((p, n) => { if (!p.hidden && visible(p.x, p.y, p.w, p.h)) drawNode(graph.nodes[n], p, fine); });
  if (chosen) drawChosen();
}

function drawPaths(paths, seen, dx, dy, fine) {
  pen.strokeStyle = ink.line;
  pen.lineWidth = Math.max(1.2, 0.7 / view.k);
  pen.beginPath();
  for (const p of paths) {
    if (p.x1 + dx < seen.x0 || p.x0 + dx > seen.x1 || p.y1 + dy < seen.y0 || p.y0 + dy > seen.y1) continue;
    trace(p.points, dx, dy, fine);
  }
  pen.stroke();
}
function trace(points, dx, dy, fine) {
  let [px, py] = points[0];
  // From afar, points that fall together are one.
  const least = fine ? 0 : 3 / view.k;
  pen.moveTo(px + dx, py + dy);
  for (let i = 1; i < points.length; i++) {
    const [x, y] = points[i], mid = (py + y) / 2;
    if (i < points.length - 1 && Math.abs(x - px) + Math.abs(y - py) < least) continue;
    if (!fine || x === px) pen.lineTo(x + dx, y + dy);
    else pen.bezierCurveTo(px + dx, mid + dy, x + dx, mid + dy, x + dx, y + dy);
    [px, py] = [x, y];
  }
}

function card(p, radius, fill, shade, border, width) {
  pen.beginPath();
  pen.roundRect(p.x - p.w / 2, p.y - p.h / 2, p.w, p.h, radius);
  pen.fillStyle = fill;
  pen.fill();
  if (shade) { pen.globalAlpha = shade[1]; pen.fillStyle = shade[0]; pen.fill(); pen.globalAlpha = 1; }
  if (border) { pen.strokeStyle = border; pen.lineWidth = width; pen.stroke(); }
}
function write(text, x, y, font, fill, room, align = "center") {
  pen.font = font; pen.fillStyle = fill; pen.textAlign = align; pen.textBaseline = "middle";
  if (pen.measureText(text).width > room) {
    let keep = text.length;
    while (keep > 1 && pen.measureText(`${text.slice(0, keep / 2)}…${text.slice(text.length - keep / 2)}`).width > room) keep--;
    text = `${text.slice(0, keep / 2)}…${text.slice(text.length - keep / 2)}`;
  }
  pen.fillText(text, x, y);
}
function drawRegion(region, a, shut, fine) {
  const tone = colour(region.vendor);
  if (a.w * view.k < 12) {
    pen.fillStyle = tone;
    pen.fillRect(a.x - a.w / 2, a.y - a.h / 2, a.w, a.h);
    return;
  }
  card(a, 10, ink.paper, [tone, shut ? 0.3 : fine ? 0.1 : 0.22], tone, Math.max(shut ? 2 : 1.2, 0.8 / view.k));
  if (!fine) return;
  if (shut) {
    write(region.name, a.x, a.y - 9, "600 13px system-ui, sans-serif", ink.ink, a.w - 20);
    write(count(region.nodes, "node"), a.x, a.y + 10, "12px system-ui, sans-serif", ink.soft, a.w - 20);
  }
}
function drawTitle(region, a) {
  const x = a.x - a.w / 2 + 12, y = a.y - a.h / 2 + BAR / 2 + 2, text = `▾ ${region.name}`;
  pen.font = "600 12px system-ui, sans-serif";
  card({ x: x + pen.measureText(text).width / 2, y, w: pen.measureText(text).width + 8, h: 18 }, 4, ink.paper, [colour(region.vendor), 0.1]);
  write(text, x, y, pen.font, colour(region.vendor), a.w - 24, "left");
}
function drawNode(node, p, fine) {
  const tone = colour(node.vendor);
  if (!fine) {
    pen.fillStyle = tone || ink.line;
    pen.fillRect(p.x - p.w / 2, p.y - p.h / 2, p.w, p.h);
    return;
  }
  card(p, 7, tone ? ink.card : ink.host, tone && [tone, 0.28], tone || ink.line, 1.2);
  write(node.op, p.x, p.y - 8, "600 13px system-ui, sans-serif", ink.ink, p.w - 12);
  write(node.name, p.x, p.y + 9, "11px system-ui, sans-serif", tone ? ink.ink : ink["host-ink"], p.w - 12);
}
function drawChosen() {
  pen.strokeStyle = ink.accent;
  pen.lineWidth = Math.max(2.5, 2.5 / view.k);
  if (chosen.node !== undefined) {
    pen.globalAlpha = 0.75;
    for (const [from, to] of graph.edges) {
      if (from !== chosen.node && to !== chosen.node) continue;
      const a = shape.place[from], b = shape.place[to];
      if (a.hidden && b.hidden && a.x === b.x && a.y === b.y) continue;
      pen.beginPath();
      trace([[a.x, a.y + a.h / 2], [b.x, b.y - b.h / 2]], 0, 0, true);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }
  const p = placeOf(chosen);
  pen.beginPath();
  pen.roundRect(p.x - p.w / 2 - 3, p.y - p.h / 2 - 3, p.w + 6, p.h + 6, 10);
  pen.stroke();
}
const placeOf = (c) => c.node !== undefined ? shape.place[c.node]
  : shape.at[graph.picture.boxes.findIndex((b) => b.region === c.region)];

// ---- moving about

function zoom(factor, cx = canvas.clientWidth / 2, cy = canvas.clientHeight / 2) {
  const k = Math.min(4, Math.max(0.005, view.k * factor));
  view.x = cx - (cx - view.x) * k / view.k;
  view.y = cy - (cy - view.y) * k / view.k;
  view.k = k;
  redraw();
}
function fit(least = 0) {
  const w = canvas.clientWidth, h = canvas.clientHeight, width = shape.right - shape.left + 60, height = shape.bottom + 70;
  const k = Math.min(w / width, h / height, 1.3);
  view.k = Math.max(k, Math.min(least, 1));
  view.x = w / 2 - (shape.left + shape.right) / 2 * view.k;
  // What does not fit in whole starts at its first node.
  const first = shape.at[graph.picture.boxes.findIndex((b) => b.layer === 0)];
  if (k < view.k && first && width * view.k > w) view.x = w / 2 - first.x * view.k;
  view.y = k < view.k ? 60 : (h - height * view.k) / 2 + 45 * view.k;
  redraw();
}
function centre(p) {
  view.k = Math.max(view.k, 0.8);
  const sheet = matchMedia("(max-width: 720px)").matches && !$("panel").hidden;
  view.x = canvas.clientWidth / 2 - p.x * view.k;
  view.y = canvas.clientHeight * (sheet ? 0.2 : 0.5) - p.y * view.k;
  redraw();
}
function fold(region, to = !folded[region]) {
  const box = graph.picture.boxes.findIndex((b) => b.region === region), before = shape.at[box];
  folded[region] = to;
  measure();
  // The region's head stays where it is.
  view.x += (before.x - shape.at[box].x) * view.k;
  view.y += ((before.y - before.h / 2) - (shape.at[box].y - shape.at[box].h / 2)) * view.k;
  labelFold();
  redraw();
}
const labelFold = () => {
  $("fold").hidden = folded.length === 0;
  $("fold").textContent = folded.every(Boolean) ? "Open all" : "Fold all";
};
function hit(x, y) {
  const gx = (x - view.x) / view.k, gy = (y - view.y) / view.k;
  const inside = (p) => Math.abs(gx - p.x) <= p.w / 2 && Math.abs(gy - p.y) <= p.h / 2;
  const node = shape.place.findIndex((p) => !p.hidden && inside(p));
  if (node >= 0) return { node };
  const box = graph.picture.boxes.findIndex((b, i) => b.region !== null && inside(shape.at[i]));
  return box >= 0 ? { region: graph.picture.boxes[box].region } : null;
}

const fingers = new Map();
let moved = 0;
canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  if (fingers.size === 0) moved = 0;
  fingers.set(e.pointerId, [e.offsetX, e.offsetY]);
});
canvas.addEventListener("pointermove", (e) => {
  const old = fingers.get(e.pointerId);
  if (!old) return;
  const now = [e.offsetX, e.offsetY], others = [...fingers].filter(([id]) => id !== e.pointerId);
  moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
  if (others.length === 1) {
    const other = others[0][1], gap = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
    zoom(gap(now) / gap(old), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    view.x += (now[0] - old[0]) / 2; view.y += (now[1] - old[1]) / 2;
  } else if (others.length === 0) {
    view.x += now[0] - old[0]; view.y += now[1] - old[1];
    canvas.classList.add("dragging");
  }
  fingers.set(e.pointerId, now);
  redraw();
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (e) => {
    const was = fingers.delete(e.pointerId);
    canvas.classList.remove("dragging");
    if (name === "pointerup" && was && fingers.size === 0 && moved < 6) choose(hit(e.offsetX, e.offsetY));
  });
}
canvas.addEventListener("dblclick", (e) => {
  const found = hit(e.offsetX, e.offsetY);
  if (found && found.region !== undefined) fold(found.region);
});
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.offsetX, e.offsetY);
}, { passive: false });

// ---- one node's story

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
function nodeStory(node, index) {
  const place = graph.picture.nodes[index], region = place.region;
  const operand = (o) => el("li", {}, `${o.name} `,
    el("span", { className: "type", textContent: `${o.type || "type unknown"}${o.constant ? ", constant" : ""}` }));
  const reason = (r) => el("li", { className: "reason" },
    el("div", {}, el("strong", { textContent: r.vendor }), r.pattern ? el("code", { textContent: ` ${r.pattern}` }) : "",
      el("span", { className: "kind", textContent: ` ${r.kind.replace("_", " ")}` })),
    el("p", {}, ...prose(r.detail)), el("p", { className: "change" }, ...prose(`It would take ${r.change}.`)));
  const open = region === null ? null : el("button", { className: "link", textContent: graph.regions[region].name,
    onclick: () => choose({ region }) });
  return [
    el("h2", { textContent: node.name }), el("div", {}, `${node.op} on `, tag(node.vendor)),
    facts([["Pattern", node.pattern], ["Region", open], ["Arithmetic", flops(node.flops)], ["Traffic", bytes(node.bytes)]]),
    ...list(node.vendor === null ? "Why it stays on the host" : "What else was considered", node.reasons.map(reason)),
    ...list("Inputs", node.inputs.map(operand)), ...list("Outputs", node.outputs.map(operand)),
    ...list("Attributes", node.attributes.map(([k, v]) => el("li", {}, `${k} `, el("code", { textContent: v })))),
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
    facts([["Nodes", String(r.nodes)], ["Arithmetic", flops(r.flops)], ["Comes in", bytes(r.bytes_in)],
      ["Goes out", bytes(r.bytes_out)], ["Constants", bytes(r.bytes_constant)], ["Predicted", micros(r.predicted_us)]]),
    button, ...list("Composites", Object.entries(r.composites).map(([name, n]) => el("li", {}, `${n} × `, el("code", { textContent: name })))),
  ];
}
$("close").onclick = () => { choose(null); canvas.focus(); };

// ---- keys

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

// ---- search

let results = [], marked = -1;
const every = data.graphs.flatMap((g, i) => g.nodes.map((n, node) => ({ graph: i, node, name: n.name, op: n.op,
  text: `${n.name} ${n.op}`.toLowerCase() })));
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
const find = (name) => every.find((x) => x.name === name);

// ---- tables

function table(columns, rows) {
  const cell = (kind, c, content) => el(kind, { className: c.kind || "" }, content);
  return el("div", { className: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, ...columns.map((c) => Object.assign(cell("th", c, c.name), { scope: "col" })))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((x, i) => cell("td", columns[i], x)))))));
}
const word = (name) => ({ name }), number = (name) => ({ name, kind: "number" }), wide = (name) => ({ name, kind: "wide" });
const link = (name, found) => found ? el("button", { className: "link", textContent: name, onclick: () => go(found) }) : name;
const heading = (title, note) => [el("h2", { textContent: title }), note ? el("p", { textContent: note }) : null];

function placement() {
  const nodes = data.graphs.flatMap((g) => g.nodes), all = sum(nodes, (n) => n.flops);
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
      table([word("node"), word("operator"), word("why")], data.removed.map((r) => [r.name, r.op, r.why]))] : []),
  ];
}
function share(x) {
  const bar = el("span", { className: "bar" });
  bar.style.width = `${Math.round(60 * (x || 0))}px`;
  return el("span", {}, percent(x), bar);
}
function costs() {
  const regions = data.graphs.flatMap((g) => g.regions.map((r) => [r.name, tag(r.vendor), r.nodes, flops(r.flops),
    bytes(r.bytes_in), bytes(r.bytes_out), bytes(r.bytes_constant), micros(r.predicted_us)]));
  const host = every.filter((x) => data.graphs[x.graph].nodes[x.node].vendor === null);
  const node = (x) => data.graphs[x.graph].nodes[x.node];
  host.sort((a, b) => (node(b).flops || 0) - (node(a).flops || 0));
  const { predicted_us, greedy_predicted_us } = data.summary;
  return [
    ...heading("Prediction", ""),
    table([word("plan"), number("predicted")], [["this one", micros(predicted_us)], ["greedy", micros(greedy_predicted_us)]]),
    ...(regions.length ? [...heading("Regions", "What each computes, and what crosses its border in one run."),
      table([word("region"), word("target"), number("nodes"), number("arithmetic"), number("in"), number("out"),
        number("constants"), number("predicted")], regions)] : []),
    ...(host.length ? [...heading("Heaviest on the host", "The first 50 by arithmetic."),
      table([word("node"), word("operator"), number("arithmetic"), number("traffic")],
        host.slice(0, 50).map((x) => [link(x.name, x), x.op, flops(node(x).flops), bytes(node(x).bytes)]))] : []),
  ];
}
function roadMap() {
  const rows = data.road_map.obstacles.map((o) => [o.vendor, o.op, o.nodes,
    o.unknown === o.nodes ? "unknown" : share(o.share),
    el("span", {}, ...prose(`${o.pattern ? `\`${o.pattern}\`: ` : ""}${o.detail}`)),
    el("span", {}, ...prose(o.change)), link(o.example, find(o.example))]);
  return [
    ...heading("What keeps arithmetic on the host", "By vendor, operator and nearest miss, the most arithmetic first."),
    table([word("vendor"), word("operator"), number("nodes"), number("arithmetic"), wide("nearest miss"),
      wide("it would take"), word("for example")], rows),
  ];
}
const section = (s) => [...heading(s.title, s.note), table(s.heading.map((h, i) => i ? number(h) : word(h)), s.rows)];

// ---- views

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
  fit(0.55);
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
$("legend").append(...[...data.vendors.map((_, i) => i), null].map((t) => {
  const swatch = el("span", { className: "swatch" });
  swatch.style.background = colour(t) || "var(--line)";
  return el("span", {}, swatch, target(t));
}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readInk(); redraw(); });
new ResizeObserver(redraw).observe(canvas);
readInk();
show("graph");
openGraph(0);
