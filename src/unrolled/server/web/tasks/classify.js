// A text, its label, its words coloured by what they add to it, and how the answer turns as the text unfolds.
import { json, route } from "../api.js";
import { text_task } from "../form.js";
import { t } from "../words.js";

const { element } = window;

export default function (model, box, state) {
  const ask = async (input, options, signal, answers) => {
    const [{ outputs: [one] }, found] = await Promise.all([
      json(route(model, "predict"), { inputs: input, options }, signal),
      json(route(model, "explain"), { input }, signal),
    ]);
    return () => {
      answers.say(one.labels.join(", ") || t("unsure"));
      answers.draw(found, coloured(found));
    };
  };
  return text_task(model, box, state, { key: "text", question: "predict", ask });
}

// Red speaks for the answer, blue against it.
function coloured(found) {
  const rows = found.contributions, of = Math.max(0, found.outputs.indexOf(found.label));
  const mean = (row) => (row.length > 1 ? row.reduce((a, b) => a + b, 0) / row.length : 0);
  const sign = found.outputs.length === 1 && found.label !== found.outputs[0] ? -1 : 1;
  const values = rows.map((row) => sign * (row[of] - mean(row))), most = Math.max(1e-9, ...values.map(Math.abs));
  return element("p", { class: "words", dir: "auto" }, ...found.tokens.flatMap((token, i) => {
    const colour = values[i] < 0 ? "--cool" : "--warm", strength = (0.6 * Math.abs(values[i])) / most;
    return [element("span", { style: `background:rgba(var(${colour}), ${strength.toFixed(3)})`, title: values[i].toFixed(3) }, token), " "];
  }));
}
