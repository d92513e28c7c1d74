// A sentence, its translation, where each word looked, and the beam; they move with the beam's width.
import { json, route } from "../api.js";
import { Answers, shared, text_form } from "../form.js";

const { element } = window;

export default function (model, box, state) {
  const answers = new Answers();
  const { form, values, stop } = text_form(model, "predict", state, "source", "translate", (input) => {
    if (!input.trim()) return answers.clear();
    answers.run(async (signal) => {
      const options = values(), pictures = { input, options: shared(model, "explain", options) };
      const explained = json(route(model, "explain"), pictures, signal).catch((error) => error); // of a long text there are none
      const { outputs: [one] } = await json(route(model, "predict"), { inputs: input, options }, signal), found = await explained;
      return () => {
        answers.say(...[one, ...(one.others ?? [])].map((each) => element("div", {}, each.translation)));
        if (found.blocks) answers.draw(found);
        else answers.more.replaceChildren(element("p", { class: "note" }, found.message));
      };
    });
  });
  box.append(form, answers.box);
  return () => {
    stop();
    answers.clear();
  };
}
