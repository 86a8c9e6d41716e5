"use strict";
// Words and elements.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const LAYER_GAP = 44, BAR = 26;
const PALETTE = {
  light: ["#2470bd", "#b96512", "#2b834a", "#9248b5", "#b83f5d", "#157d81", "#776b1f", "#5a5fc9"],
  dark: ["#64abf0", "#e9a45e", "#62c485", "#c592e2", "#ea839d", "#52c2c6", "#bcae5a", "#9ba0f5"],
};
const night = matchMedia("(prefers-color-scheme: dark)");
const colour = (vendor) => vendor === null ? null : PALETTE[night.matches ? "dark" : "light"][vendor % 8];
const target = (vendor) => vendor === null ? "host" : data.vendors[vendor];

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
  return `${digits(n)} ${units[i]}`;
};
// Three digits, and no fewer than a whole number has.
const digits = (n) => Number.isInteger(n) || n >= 100 ? Math.round(n).toLocaleString("en") : n.toPrecision(3);
const flops = (n) => n === null ? "unknown" : scaled(n, 1000, ["op", "kop", "Mop", "Gop", "Top", "Pop"]);
const bytes = (n) => n === null ? "unknown" : scaled(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
const micros = (n) => n === null || n === undefined ? "unknown" : scaled(n, 1000, ["µs", "ms", "s"]);
// A sum, of which something may not be known.
const partly = (words, [n, whole]) => whole ? words(n) : n === 0 ? "unknown" : `≥ ${words(n)}`;
const percent = (share) => share === null ? "–" : `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
// Ends are what comes into the graph and goes out; copies and ends are no nodes of the model.
const isEnd = (node) => node.kind === "input" || node.kind === "output";
const endType = (node) => [...node.inputs, ...node.outputs][0].type || "type unknown";
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const sum = (list, f) => list.reduce((n, x) => n + (f(x) || 0), 0);
