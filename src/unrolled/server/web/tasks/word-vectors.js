// Words and their neighbours, analogies, and a map.
import { json, route } from "../api.js";
import { Answers, button, field, form, settings } from "../form.js";
import { t } from "../words.js";

const { bar, element } = window;

export default function (model, box, state) {
  const near = new Answers(), map = new Answers();
  const named = (key) => {
    const input = element("input", { type: "text", maxlength: 200, name: key, autocomplete: "off", autocapitalize: "off" });
    input.value = state.get(key) ?? "";
    return input;
  };
  const word = named("word"), three = ["a", "b", "c"].map(named);
  const own = settings(model, "predict", state, () => {}), drawn = settings(model, "explain", state, () => {});

  const asked = (inputs, pairs) => near.run(async (signal) => {
    const { outputs: [found] } = await json(route(model, "predict"), { inputs: [inputs], options: own.values() }, signal);
    return () => near.more.replaceChildren(...pairs(found).map(([name, cosine]) => bar(name, cosine, cosine.toFixed(3))));
  });
  const neighbors = () => {
    state.set("word", word.value.trim());
    three.forEach((input) => state.set(input.name, ""));
    asked(word.value.trim(), (found) => found.neighbors);
  };
  const analogy = () => {
    const words = three.map((input) => input.value.trim()), missing = three[words.indexOf("")];
    if (missing) return missing.focus();
    state.set("word", "");
    three.forEach((input, i) => state.set(input.name, words[i]));
    const [a, b, c] = words;
    asked({ a, b, c }, (found) => found.answers);
  };
  const first = form(neighbors, element("div", { class: "row" }, field("word", word), element("button", { class: "first" }, t("neighbors"))));
  const second = form(analogy, element("p", { class: "note" }, t("analogy")),
    element("div", { class: "row" }, ...three.map((input) => element("label", {}, input.name.toUpperCase(), input)), element("button", { class: "first" }, t("word-vectors"))));
  const third = element("div", { class: "row" }, button("map", () => map.run(async (signal) => {
    const found = await json(route(model, "explain"), { options: drawn.values() }, signal);
    return () => map.draw(found);
  })));
  box.append(first, second, own.box, near.box, third, drawn.box, map.box);
  if (word.value) neighbors();
  else if (three.every((input) => input.value)) analogy();
  return () => [near, map].forEach((answers) => answers.clear());
}
