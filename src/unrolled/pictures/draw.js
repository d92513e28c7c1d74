// Draws an explanation, {blocks: [...]}, into <main>. One function a kind of block:
//   facts   rows: [[name, value]]                       texts   rows: [[name, text]]
//   lines   x, series: [{name, points: [[x, y]]}], log  heat    columns, rows, values[row][column], range: [low, high]
//   tokens  tokens, values, alternatives: [[[token, probability]]]
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["rgb(var(--cool))", "rgb(var(--warm))", "#7a9a01", "#8e63b0"];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function number(value) {
  return typeof value !== "number" ? value : Number.isInteger(value) ? value.toLocaleString("en") : Number(value.toPrecision(5));
}

function visible(token) {
  return token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");
}

function facts(block) {
  return element("table", {}, ...block.rows.map(([name, value]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, String(number(value))))));
}

function texts(block) {
  return element("table", {}, ...block.rows.map(([name, text]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, element("pre", {}, text)))));
}

// Round numbers from low to high, about five of them, no closer than `least`.
function ticks(low, high, least) {
  const rough = Math.max((high - low) / 5, least) || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function lines(block) {
  const width = 760, height = 300, left = 62, bottom = 34, top = 10;
  const scale = block.log ? Math.log10 : (value) => value;
  const all = block.series.flatMap((s) => s.points);
  if (!all.length) return element("p", { class: "note" }, "No values yet.");
  const xs = all.map((p) => p[0]), ys = all.map((p) => scale(p[1]));
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const px = (x) => left + (width - left - 12) * (x1 > x0 ? (x - x0) / (x1 - x0) : 0.5);
  const py = (y) => height - bottom - (height - bottom - top) * (y1 > y0 ? (scale(y) - y0) / (y1 - y0) : 0.5);
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": block.title });
  for (const value of ticks(y0, y1, block.log ? 1 : 0)) {
    const shown = block.log ? 10 ** value : value, y = py(shown);
    svg.append(shape("line", { x1: left, x2: width - 12, y1: y, y2: y, stroke: "var(--line)" }));
    svg.append(shape("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, block.log ? `1e${value}` : Number(shown.toPrecision(6))));
  }
  for (const value of ticks(x0, x1, 1)) {
    svg.append(shape("text", { x: px(value), y: height - bottom + 16, "text-anchor": "middle" }, value.toLocaleString("en")));
  }
  svg.append(shape("text", { x: width / 2, y: height - 3, "text-anchor": "middle" }, block.x));
  block.series.forEach((series, i) => {
    const points = series.points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ");
    svg.append(shape("polyline", { points, fill: "none", stroke: COLOURS[i % 4], "stroke-width": 2 }));
    if (series.points.length < 40) for (const [x, y] of series.points) {
      const dot = shape("circle", { cx: px(x), cy: py(y), r: 3, fill: COLOURS[i % 4] });
      dot.append(shape("title", {}, `${series.name}: ${number(y)} at ${block.x} ${number(x)}`));
      svg.append(dot);
    }
  });
  const legend = element("div", { class: "legend" }, ...block.series.map((series, i) =>
    element("span", {}, element("i", { style: `background:${COLOURS[i % 4]}` }), series.name)));
  return element("div", { class: "scroll" }, legend, svg);
}

function colour(value, [low, high]) {
  const reach = Math.max(Math.abs(low), Math.abs(high)) || 1;
  const strength = Math.min(1, Math.abs(value) / reach);
  return `rgba(var(${value < 0 ? "--cool" : "--warm"}), ${strength.toFixed(3)})`;
}

function heat(block) {
  const cell = 18, left = 92, top = 6, label = 46;
  const width = left + cell * block.columns.length + 10, height = top + cell * block.rows.length + label;
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": block.title });
  block.rows.forEach((name, r) => {
    svg.append(shape("text", { x: left - 6, y: top + cell * r + 13, "text-anchor": "end" }, name));
    block.columns.forEach((token, c) => {
      const value = block.values[r][c];
      const box = shape("rect", { x: left + cell * c, y: top + cell * r, width: cell - 1, height: cell - 1,
        fill: colour(value, block.range), stroke: "var(--line)", "stroke-width": 0.5 });
      box.append(shape("title", {}, `${name} at “${visible(token)}”: ${value}`));
      svg.append(box);
    });
  });
  const turn = block.columns.some((token) => token.length > 2) ? " rotate(60)" : "";
  block.columns.forEach((token, c) => {
    const x = left + cell * c + 5, y = height - label + 12;
    svg.append(shape("text", { transform: `translate(${x},${y})${turn}` }, visible(token).slice(0, 7)));
  });
  return element("div", { class: "scroll" }, svg);
}

function tokens(block) {
  const most = Math.max(8, ...block.values);
  const detail = element("div", { "aria-live": "polite" });
  const show = (i) => {
    const bars = block.alternatives[i].map(([token, probability]) =>
      element("div", { class: "bar" }, element("span", {}, visible(token)),
        element("div", { style: `width:${Math.max(0.5, 100 * probability)}%` }), element("span", {}, `${(100 * probability).toFixed(1)} %`)));
    const heading = element("p", { class: "note" }, `“${visible(block.tokens[i])}” cost ${block.values[i]} bits. Expected here:`);
    detail.replaceChildren(heading, ...bars);
  };
  const row = element("div", { class: "tokens" }, ...block.tokens.map((token, i) => {
    const button = element("button", { type: "button",
      style: `background:rgba(var(--warm), ${(0.75 * block.values[i] / most).toFixed(3)})` }, visible(token));
    button.addEventListener("focus", () => show(i));
    button.addEventListener("mouseenter", () => show(i));
    return button;
  }));
  show(block.tokens.length - 1);
  return element("div", {}, row, detail);
}

const KINDS = { facts, lines, heat, tokens, texts };

function draw(explanation, into) {
  for (const block of explanation.blocks) {
    into.append(element("h2", {}, block.title));
    if (block.note) into.append(element("p", { class: "note" }, block.note));
    into.append(KINDS[block.kind](block));
  }
}

draw(JSON.parse(document.getElementById("explanation").textContent), document.querySelector("main"));
