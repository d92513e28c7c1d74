// A sentence, its translation, where each word looked, and the beam; they move with the beam's width.
import { json, route } from "../api.js";
import { Answers, text_form } from "../form.js";

export default function (model, box, state) {
  const answers = new Answers();
  const { form, values } = text_form(model, state, "source", "translate", (input) => {
    if (!input.trim()) return answers.clear();
    answers.run(async (signal) => {
      const found = await json(route(model, "explain"), { input, options: values() }, signal);
      return () => {
        answers.say(found.translation);
        answers.draw(found);
      };
    });
  });
  box.append(form, answers.box);
  return () => answers.clear();
}
