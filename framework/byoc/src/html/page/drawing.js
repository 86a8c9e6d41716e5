// Draws on a canvas, and of that only what is in view, so that thousands of nodes can be moved about.
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
  if (!performance.getEntriesByName("drawn").length) performance.mark("drawn");
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
  const tone = colour(node.vendor), end = isEnd(node);
  if (!fine) {
    pen.fillStyle = end ? ink.soft : tone || ink.line;
    pen.globalAlpha = node.kind === "copy" ? 0.45 : 1;
    pen.fillRect(p.x - p.w / 2, p.y - p.h / 2, p.w, p.h);
    pen.globalAlpha = 1;
    return;
  }
  if (end) {
    card(p, p.h / 2, ink.card, null, ink.soft, 1.2);
    write(node.name, p.x, p.y - 8, "600 12px system-ui, sans-serif", ink.ink, p.w - 22);
    write(endType(node), p.x, p.y + 8, "11px system-ui, sans-serif", ink.soft, p.w - 22);
    return;
  }
  if (node.kind === "copy") pen.setLineDash([5, 4]);
  card(p, 7, tone ? ink.card : ink.host, tone && [tone, node.kind === "copy" ? 0.1 : 0.28], tone || ink.line, 1.2);
  pen.setLineDash([]);
  write(node.op, p.x, p.y - 8, "600 13px system-ui, sans-serif", ink.ink, p.w - 12);
  write(node.name, p.x, p.y + 9, "11px system-ui, sans-serif", tone ? ink.ink : ink["host-ink"], p.w - 12);
}
function drawChosen() {
  pen.strokeStyle = ink.accent;
  pen.lineWidth = Math.max(2.5, 2.5 / view.k);
  if (chosen.node !== undefined) {
    pen.globalAlpha = 0.75;
    pen.beginPath();
    for (const [from, to, leaving, between, entering] of graph.edges) {
      if (from !== chosen.node && to !== chosen.node) continue;
      traceInside(from, leaving);
      if (between !== null) trace(shape.paths[between].points, 0, 0, view.k > 0.3);
      traceInside(to, entering);
    }
    pen.stroke();
    pen.globalAlpha = 1;
  }
  const p = placeOf(chosen);
  pen.beginPath();
  pen.roundRect(p.x - p.w / 2 - 3, p.y - p.h / 2 - 3, p.w + 6, p.h + 6, 10);
  pen.stroke();
}
// A line inside the open region that a node is in.
function traceInside(node, line) {
  const { box, region } = graph.picture.nodes[node], a = shape.at[box];
  if (line === null || shape.shut(graph.picture.boxes[box])) return;
  trace(shape.inside[region][line].points, a.x - a.w / 2, a.y - a.h / 2, view.k > 0.3);
}
const placeOf = (c) => c.node !== undefined ? shape.place[c.node]
  : shape.at[graph.picture.boxes.findIndex((b) => b.region === c.region)];
