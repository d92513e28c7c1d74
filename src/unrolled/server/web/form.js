// What the tasks' forms have in common: fields, settings from the server's own schema, one question at a time.
import { picture, t } from "./words.js";

const { element, draw } = window;

export function field(key, input) {
  return element("label", {}, t(key), input);
}

export function button(key, action, first = false) {
  const made = element("button", { type: "button", class: first ? "first" : "" }, t(key));
  made.addEventListener("click", action);
  return made;
}

// A control for each option of a question, as its schema says; `state` holds what differs from the default, for the link.
export function settings(model, question, state, changed) {
  const schema = model.options[question], names = Object.keys(schema);
  const controls = names.map((name) => control(name, { ...schema[name], default: schema[name].default ?? model.facts[name] }, state, changed));
  const box = element("details", {}, element("summary", {}, t("settings")), element("div", { class: "row" }, ...controls.map((c) => c.label)));
  box.open = names.length <= 4 || names.includes("beam") || names.some((name) => state.get(name));
  const values = () => Object.fromEntries(names.map((name, i) => [name, controls[i].value()]).filter(([, value]) => value !== undefined));
  return { box: names.length ? box : "", values };
}

function control(name, schema, state, changed) {
  const kind = schema.anyOf ? schema.anyOf.find((one) => one.type !== "null") : schema;
  const { input, read } = input_of(kind, schema, state.get(name));
  input.title = schema.description ?? "";
  const value = () => (input.type === "checkbox" ? (input.checked ? true : undefined) : input.value === "" ? undefined : read());
  const shown = element("output", {}, input.type === "range" ? input.value : "");
  input.addEventListener(input.type === "range" ? "input" : "change", () => {
    if (input.type === "range") shown.textContent = input.value;
    const found = value();
    state.set(name, found === undefined || found === schema.default ? "" : String(found));
    changed();
  });
  const label = element("label", input.type === "checkbox" ? { class: "tick" } : {}, t(name), input, input.type === "range" ? shown : "");
  return { label, value };
}

function input_of(kind, schema, given) {
  const start = given || schema.default;
  if (kind.enum) {
    const input = element("select", {}, element("option", { value: "" }, ""), ...kind.enum.map((name) => element("option", { value: name }, name)));
    input.value = start ?? "";
    return { input, read: () => input.value };
  }
  if (kind.type === "boolean") {
    const input = element("input", { type: "checkbox" });
    input.checked = start === true || start === "true";
    return { input, read: () => input.checked };
  }
  if (kind.type === "integer" || kind.type === "number") {
    const few = kind.type === "integer" && kind.maximum <= 100;
    const bounds = { ...(kind.minimum !== undefined && { min: kind.minimum }), ...(kind.maximum !== undefined && { max: few ? Math.min(kind.maximum, 20) : kind.maximum }) };
    const input = element("input", { type: few ? "range" : "number", step: kind.type === "integer" ? 1 : "any", ...bounds });
    input.value = start ?? "";
    return { input, read: () => Number(input.value) };
  }
  const list = kind.type === "array";
  const input = element("input", { type: "text" });
  input.value = Array.isArray(start) ? start.join(", ") : start ?? "";
  return { input, read: () => (list ? input.value.split(",").map((one) => one.trim()).filter(Boolean) : input.value) };
}

// Where an answer stands: what is said of it, what goes wrong, and pictures. `run` gives up what was asked before.
export class Answers {
  constructor() {
    this.said = element("div", { class: "answer", "aria-live": "polite", dir: "auto" });
    this.problem = element("p", { class: "problem", role: "alert" });
    this.more = element("div");
    this.box = element("section", {}, this.said, this.problem, this.more);
    this.asked = null;
  }

  async run(work) {
    this.asked?.abort();
    const own = (this.asked = new AbortController());
    this.problem.textContent = "";
    this.busy(true);
    try {
      const show = await work(own.signal);
      if (own === this.asked) show();
    } catch (error) {
      if (own !== this.asked || error.name === "AbortError") return;
      this.said.replaceChildren();
      this.more.replaceChildren();
      this.problem.textContent = error.message;
    } finally {
      if (own === this.asked) this.busy(false);
    }
  }

  busy(is) {
    this.box.classList.toggle("busy", is);
    this.box.setAttribute("aria-busy", is);
  }

  clear() {
    this.asked?.abort();
    this.asked = null;
    this.busy(false);
    for (const part of [this.said, this.problem, this.more]) part.replaceChildren();
  }

  say(...parts) {
    this.said.replaceChildren(...parts);
  }

  // Pictures of an explanation: the same that `unrolled explain` draws.
  draw(explanation, ...before) {
    this.more.replaceChildren(...before);
    const said = (block) => ({ ...block, title: picture(block.title), note: picture(block.note), ...(block.kind === "facts" && { rows: block.rows.map((row) => row.map(picture)) }) });
    if (explanation.cut) this.more.append(element("p", { class: "note" }, t("cut")));
    draw({ blocks: explanation.blocks.map(said) }, this.more);
  }
}

function later(work, milliseconds = 350) {
  let timer;
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
  soon.stop = () => clearTimeout(timer);
  return soon;
}

export function form(action, ...children) {
  const made = element("form", {}, ...children);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    action();
  });
  return made;
}

// A whole task: a text, asked about again while it is being typed, with the settings of `question`. `ask(input, options,
// signal, answers)` finds out, and returns what shows it.
export function text_task(model, box, state, { key, question, ask }) {
  const input = element("textarea", { maxlength: model.limits.text, dir: "auto", name: "input" }), answers = new Answers();
  input.value = state.get("input") ?? "";
  const soon = later(() => {
    state.set("input", input.value);
    if (input.value.trim()) answers.run((signal) => ask(input.value, own.values(), signal, answers));
    else answers.clear();
  });
  const own = settings(model, question, state, soon);
  input.addEventListener("input", soon);
  box.append(form(soon, field(key, input), own.box, element("div", { class: "row" }, element("button", { class: "first" }, t(model.task)))), answers.box);
  if (input.value) soon();
  return () => {
    soon.stop();
    answers.clear();
  };
}

// Of the values of settings those that another question knows too.
export const shared = (model, question, values) => Object.fromEntries(Object.entries(values).filter(([name]) => name in model.options[question]));
