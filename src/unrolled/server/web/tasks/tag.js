// A text, and the label of every word; or the text with its capitals and marks.
import { json, route } from "../api.js";
import { text_task } from "../form.js";

const { element } = window;

export default function (model, box, state) {
  const ask = async (input, options, signal, answers) => {
    const [{ outputs: [one] }, found] = await Promise.all([
      json(route(model, "predict"), { inputs: input }, signal),
      json(route(model, "explain"), { input }, signal),
    ]);
    return () => {
      answers.say(one.restored ?? labelled(one));
      answers.draw(found);
    };
  };
  return text_task(model, box, state, { key: "text", question: "explain", ask });
}

function labelled(one) {
  return element("div", { class: "words" }, ...one.tokens.flatMap(({ word, label }) => {
    const marked = label !== "O";
    return [element("span", marked ? { style: "background:rgba(var(--warm), .18)" } : {}, word, marked ? element("small", {}, label) : ""), " "];
  }));
}
