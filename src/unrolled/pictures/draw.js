// Draws an explanation, {blocks: [...]}, into <main>. One function a kind of block:
//   facts   rows: [[name, value]]                       texts   rows: [[name, text]]
//   lines   x, series: [{name, points: [[x, y]]}], log  heat    columns, rows, values[row][column], range: [low, high]
//   tokens  tokens, values, alternatives: [[[token, probability]]]
//   tree    steps: [[{parent, token, log_probability, fate: live | ended | pruned, paths: [best, reference]}]]
//   raster  rows: names or none, values[row][step], range, step: seconds, spans: [{text, begin, end}]
//   map     words, places: [[x, y]] in -1..1, neighbors: [[[word, cosine]]]
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["rgb(var(--cool))", "rgb(var(--warm))", "#7a9a01", "#8e63b0"];

// A style is set as a property: pages that allow no style in their markup allow that.
function dressed(made, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") made.style.cssText = value;
    else made.setAttribute(key, value);
  }
  return made;
}

function element(name, attributes = {}, ...children) {
  const made = dressed(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = dressed(document.createElementNS(SVG, name), attributes);
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
    element("tr", {}, element("th", { scope: "row" }, name), element("td", { dir: "auto" }, String(number(value))))));
}

function texts(block) {
  return element("table", {}, ...block.rows.map(([name, text]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, element("pre", { dir: "auto" }, text)))));
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
      box.append(shape("title", {}, `${name} at “${visible(token)}”: ${Number(value.toPrecision(4))}`));
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

// A name, a part of the whole as a bar, and what is written behind it.
function bar(name, part, shown) {
  return element("div", { class: "bar" }, element("span", {}, name), element("div", { style: `width:${Math.max(0.5, 100 * part)}%` }), element("span", {}, shown));
}

function chance(token, probability) {
  return bar(visible(token), probability, `${(100 * probability).toFixed(1)} %`);
}

function tokens(block) {
  const most = Math.max(8, ...block.values);
  const detail = element("div", { "aria-live": "polite" });
  const show = (i) => {
    const bars = block.alternatives[i].map(([token, probability]) => chance(token, probability));
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

// What keys do on a map: they move it, right and up, and make it larger; Enter takes the word in its middle.
const KEYS = { ArrowLeft: [-1, 0, 1], ArrowRight: [1, 0, 1], ArrowUp: [0, 1, 1], ArrowDown: [0, -1, 1],
  "+": [0, 0, 1.2], "=": [0, 0, 1.2], "-": [0, 0, 1 / 1.2], Enter: [0, 0, 1] };

// A map to search, zoom and drag: a word is written where there is room for it, the others are dots.
function map(block) {
  const width = 960, height = 640, ratio = window.devicePixelRatio || 1;
  const canvas = element("canvas", { width: width * ratio, height: height * ratio, tabindex: 0, role: "img", "aria-label": `${block.title}; arrows move it, + and - zoom, Enter takes the word in the middle`,
    style: `width:${width}px;height:${height}px` });
  const rows = new Map(block.words.map((word, i) => [word, i]));
  const list = element("datalist", { id: "words" }, ...block.words.map((word) => element("option", { value: word })));
  const search = element("input", { type: "search", placeholder: "a word", list: "words", "aria-label": "Search a word" });
  const detail = element("p", { class: "note", "aria-live": "polite" });
  const view = { x: 0, y: 0, zoom: 1 }, pen = canvas.getContext("2d");
  let chosen = -1, near = new Set();
  const place = (i) => [width / 2 + (block.places[i][0] - view.x) * view.zoom * width * 0.48,
    height / 2 - (block.places[i][1] - view.y) * view.zoom * height * 0.48];

  function paint() {
    const style = getComputedStyle(document.body), ink = style.color, soft = style.getPropertyValue("--soft");
    const warm = `rgb(${style.getPropertyValue("--warm")})`, taken = [];
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const order = block.words.map((_, i) => i).sort((a, b) => rank(a) - rank(b));
    for (const i of order) {
      const [x, y] = place(i);
      if (x < -50 || x > width + 50 || y < -20 || y > height + 20) continue;
      pen.font = `${i === chosen ? "bold 14px" : near.has(i) ? "bold 12px" : "11px"} system-ui, sans-serif`;
      pen.fillStyle = i === chosen ? warm : near.has(i) ? ink : soft;
      const half = pen.measureText(block.words[i]).width / 2, box = [x - half, y - 12, x + half, y + 3];
      const free = taken.every((other) => box[0] > other[2] || box[2] < other[0] || box[1] > other[3] || box[3] < other[1]);
      if (free || i === chosen) {
        taken.push(box);
        pen.fillText(block.words[i], x - half, y);
      } else pen.fillRect(x - 1, y - 1, 2, 2);
    }
  }
  const zoomed = (factor) => { view.zoom = Math.min(60, Math.max(0.8, view.zoom * factor)); };
  const nearest = (x, y, most) => block.words.map((_, i) => {
    const [own, high] = place(i);
    return [Math.hypot(own - x, high - 5 - y), i];
  }).reduce((best, one) => (one[0] < best[0] ? one : best), [most, -1])[1];
  const rank = (i) => (i === chosen ? -2e9 : near.has(i) ? -1e9 : 0) + i;

  function choose(i) {
    chosen = i;
    near = new Set(i < 0 ? [] : block.neighbors[i].map(([word]) => rows.get(word)).filter((row) => row !== undefined));
    detail.textContent = i < 0 ? "" : `${block.words[i]}: ${block.neighbors[i].map(([word, cosine]) => `${word} ${cosine}`).join(", ")}`;
    paint();
  }
  search.addEventListener("input", () => {
    const i = rows.get(search.value) ?? -1;
    if (i < 0 && search.value) {
      detail.textContent = "not on the map";
      return;
    }
    if (i >= 0) [view.x, view.y] = block.places[i];
    choose(i);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const bounds = canvas.getBoundingClientRect(), before = view.zoom;
    zoomed(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    const grow = 1 / before - 1 / view.zoom;
    view.x += (event.clientX - bounds.left - width / 2) / (width * 0.48) * grow;
    view.y -= (event.clientY - bounds.top - height / 2) / (height * 0.48) * grow;
    paint();
  }, { passive: false });
  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = { x: event.clientX, y: event.clientY, moved: false }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.abs(dx) + Math.abs(dy) < 4) return;
    view.x -= dx / (width * 0.48 * view.zoom);
    view.y += dy / (height * 0.48 * view.zoom);
    held = { x: event.clientX, y: event.clientY, moved: true };
    paint();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) {
      const bounds = canvas.getBoundingClientRect();
      choose(nearest(event.clientX - bounds.left, event.clientY - bounds.top, 20));
    }
    held = null;
  });
  canvas.addEventListener("keydown", (event) => {
    const done = KEYS[event.key];
    if (!done || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [dx, dy, factor] = done;
    zoomed(factor);
    view.x += 0.2 * dx / view.zoom;
    view.y += 0.2 * dy / view.zoom;
    if (event.key === "Enter") choose(nearest(width / 2, height / 2, Infinity));
    else paint();
  });
  paint();
  return element("div", {}, element("p", {}, search, list), detail, element("div", { class: "scroll" }, canvas));
}

// A beam: a column a step, a row a hypothesis, a line to what it continues.
function tree(block) {
  const column = 96, row = 20, top = 14;
  const most = Math.max(...block.steps.map((nodes) => nodes.length));
  const width = column * (block.steps.length + 1), height = top + row * most + 10;
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": block.title });
  const x = (t) => 20 + column * (t + 1), y = (i) => top + row * i, is = (node, path) => node.paths.includes(path);
  const colour = (node) => is(node, "best") ? COLOURS[1] : is(node, "reference") ? COLOURS[0] : "var(--line)";
  block.steps.forEach((nodes, t) => nodes.forEach((node, i) => {
    const from = t ? [x(t - 1) + column - 34, y(node.parent)] : [20, y(0)];
    svg.append(shape("path", { d: `M${from} C${from[0] + 16},${from[1]} ${x(t) - 20},${y(i)} ${x(t) - 3},${y(i)}`, fill: "none",
      stroke: colour(node), "stroke-width": node.paths.length ? 2 : 1, opacity: node.fate === "pruned" ? 0.5 : 1 }));
  }));
  block.steps.forEach((nodes, t) => nodes.forEach((node, i) => {
    if (node.fate === "ended") svg.append(shape("rect", { x: x(t) - 2, y: y(i) - 9, width: column - 36, height: 17, fill: "none", stroke: colour(node) }));
    const word = shape("text", { x: x(t), y: y(i) + 4, opacity: node.fate === "pruned" ? 0.55 : 1,
      style: `${is(node, "best") ? "font-weight:bold;fill:var(--ink);" : ""}${is(node, "reference") ? "text-decoration:underline;" : ""}` },
      visible(node.token).slice(0, 9));
    word.append(shape("title", {}, `“${visible(node.token)}”, ${node.fate}: log P ${node.log_probability}`));
    svg.append(word);
  }));
  return element("div", { class: "scroll" }, svg);
}

// An image, and once more for each word with the regions it did not look at in the dark.
function photo(block) {
  const size = 168, side = block.side, cell = size / side;
  const one = (word, values) => {
    const svg = shape("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": word });
    svg.append(shape("image", { href: block.image, width: size, height: size }));
    const most = Math.max(...values);
    values.forEach((value, i) => {
      const box = shape("rect", { x: cell * (i % side), y: cell * Math.floor(i / side), width: cell + 0.5, height: cell + 0.5,
        fill: "black", "fill-opacity": (0.8 * (1 - value / most)).toFixed(3) });
      box.append(shape("title", {}, `${word}: ${value}`));
      svg.append(box);
    });
    return element("figure", {}, svg, element("figcaption", {}, visible(word)));
  };
  return element("div", { class: "photos" }, one("the image", []), ...block.words.map((word, t) => one(word, block.values[t])));
}

// Rows of values over time, dark where they are high; words beneath, each where it is heard.
function raster(block) {
  const steps = block.values[0].length, named = block.rows.length > 0;
  const left = 92, tall = named ? 16 : Math.max(2, Math.floor(160 / block.values.length));
  const seconds = steps * block.step, wide = block.step * Math.min(350, Math.max(60, 840 / seconds));
  const below = 20 + (block.spans.length ? 26 : 0), width = left + wide * steps + 20, height = tall * block.values.length;
  const pixels = element("canvas", { width: steps, height: block.values.length });
  const [low, high] = block.range, ink = pixels.getContext("2d");
  ink.fillStyle = "rgb(178, 24, 43)";
  block.values.forEach((row, r) => row.forEach((value, t) => {
    ink.globalAlpha = Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
    ink.fillRect(t, r, 1, 1);
  }));
  const svg = shape("svg", { width, height: height + below, viewBox: `0 0 ${width} ${height + below}`, role: "img", "aria-label": block.title });
  svg.append(shape("image", { href: pixels.toDataURL(), x: left, y: 0, width: wide * steps, height, preserveAspectRatio: "none",
    style: "image-rendering: pixelated" }));
  svg.append(shape("rect", { x: left, y: 0, width: wide * steps, height, fill: "none", stroke: "var(--line)" }));
  block.rows.forEach((name, r) => svg.append(shape("text", { x: left - 6, y: tall * r + 12, "text-anchor": "end" }, name)));
  const px = (time) => left + wide * time / block.step;
  for (const time of ticks(0, seconds, 0.1)) {
    svg.append(shape("text", { x: px(time), y: height + 14, "text-anchor": "middle" }, `${time} s`));
  }
  for (const span of block.spans) {
    const x = px(span.begin), y = height + 20;
    svg.append(shape("line", { x1: x, x2: px(span.end), y1: y, y2: y, stroke: "rgb(var(--cool))", "stroke-width": 4 }));
    svg.append(shape("text", { x: (x + px(span.end)) / 2, y: y + 18, "text-anchor": "middle" }, span.text));
  }
  return element("div", { class: "scroll" }, svg);
}

const KINDS = { facts, lines, heat, tokens, texts, tree, map, photo, raster };

function draw(explanation, into) {
  for (const block of explanation.blocks) {
    into.append(element("h2", {}, block.title));
    if (block.note) into.append(element("p", { class: "note" }, block.note));
    into.append(KINDS[block.kind](block));
  }
}
