// A text, and the label of every word; or the text with its capitals and marks.
import { json, route } from "../api.js";
import { Answers, text_form } from "../form.js";

const { element } = window;

export default function (model, box, state) {
  const answers = new Answers();
  const { form, stop } = text_form(model, "explain", state, "text", "tag", (input) => {
    if (!input.trim()) return answers.clear();
    answers.run(async (signal) => {
      const [{ outputs: [one] }, found] = await Promise.all([
        json(route(model, "predict"), { inputs: input }, signal),
        json(route(model, "explain"), { input }, signal),
      ]);
      return () => {
        answers.say(one.restored ?? labelled(one));
        answers.draw(found);
      };
    });
  });
  box.append(form, answers.box);
  return () => {
    stop();
    answers.clear();
  };
}

function labelled(one) {
  const plain = new Set(["O"]), words = one.words ?? one.tokens.map((each) => each.word), labels = one.labels ?? one.tokens.map((each) => each.label);
  return element("div", { class: "words" }, ...words.flatMap((word, i) => {
    const marked = !plain.has(labels[i]);
    return [element("span", marked ? { style: "background:rgba(var(--warm), .18)" } : {}, word, marked ? element("small", {}, labels[i]) : ""), " "];
  }));
}
