// A sentence, its translation, where each word looked, and the beam; they move with the beam's width.
import { json, route } from "../api.js";
import { shared, text_task } from "../form.js";

const { element } = window;

export default function (model, box, state) {
  const ask = async (input, options, signal, answers) => {
    const pictures = { input, options: shared(model, "explain", options) };
    const [{ outputs: [one] }, found] = await Promise.all([
      json(route(model, "predict"), { inputs: input, options }, signal),
      json(route(model, "explain"), pictures, signal).catch((error) => error), // of a long text there are none
    ]);
    return () => {
      answers.say(...[one, ...(one.others ?? [])].map((each) => element("div", {}, each.translation)));
      if (found.blocks) answers.draw(found);
      else answers.more.replaceChildren(element("p", { class: "note" }, found.message));
    };
  };
  return text_task(model, box, state, { key: "source", question: "predict", ask });
}
