// Moving about, folding, and what is under the pointer.
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
