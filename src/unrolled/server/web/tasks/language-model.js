// A beginning, and what the model writes on from it, token by token; behind each token the words it did not choose.
import { events, json, route } from "../api.js";
import { Answers, button, field, form, settings } from "../form.js";
import { t } from "../words.js";

const { chance, element } = window;

export default function (model, box, state) {
  const input = element("textarea", { maxlength: model.limits.text, dir: "auto", name: "input" });
  const answers = new Answers(), detail = element("div", { "aria-live": "polite" });
  const written = element("div", { class: "written", dir: "auto", "aria-busy": "false" });
  const own = settings(model, "generate", state, () => {});
  input.value = state.get("input") ?? "";
  input.addEventListener("input", () => state.set("input", input.value));

  function write() {
    state.set("input", input.value || " ");
    detail.replaceChildren();
    answers.more.replaceChildren();
    written.replaceChildren();
    written.setAttribute("aria-busy", "true");
    answers.run(async (signal) => {
      try {
        await written_out(signal);
      } finally {
        written.setAttribute("aria-busy", "false");
      }
      return () => {};
    });
  }

  async function written_out(signal) {
    const asked = { prompt: input.value.trim() ? input.value : "", options: own.values() };
    for await (const [name, data] of events(route(model, "generate"), asked, signal)) {
      if (name === "error") throw new Error(data.detail);
      if (name === "token") written.append(...token(data));
      else if (data.text) written.append(data.text);
    }
  }

  // A token as a button, and the ends of lines behind it: within a button they would not break the line.
  function token(data) {
    const text = data.text.replace(/\n+$/, "");
    const made = element("button", { type: "button", tabindex: written.querySelector("button") ? -1 : 0, style: `background:rgba(var(--warm), ${(0.45 * (1 - data.probability)).toFixed(3)})` }, text);
    const show = () => detail.replaceChildren(element("p", { class: "note" }, t("instead")), ...data.others.map(([name, p]) => chance(name, p)));
    made.addEventListener("focus", show);
    made.addEventListener("mouseenter", show);
    return [made, data.text.slice(text.length)];
  }

  // One stop of the Tab key; arrows go from token to token.
  written.addEventListener("keydown", (event) => {
    const way = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
    document.activeElement[way]?.focus();
  });

  function read() {
    const text = written.textContent || input.value;
    answers.run(async (signal) => {
      const found = await json(route(model, "explain"), { input: text }, signal);
      return () => answers.draw(found);
    });
  }

  const asking = form(write, field("prompt", input), own.box,
    element("div", { class: "row" }, element("button", { class: "first" }, t("language-model")), button("stop", () => answers.asked?.abort()), button("read", read)));
  box.append(asking, written, detail, answers.box);
  if (state.get("input")) write();
  return () => answers.clear();
}
