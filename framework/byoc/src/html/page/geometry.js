// Where everything of the graph at hand is.
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
