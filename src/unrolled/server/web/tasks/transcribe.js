// A recording, spoken or chosen: its text, spectrogram and CTC spikes. While someone speaks, what has been said is asked again.
import { json, parcel, route } from "../api.js";
import { Answers, button, settings, shared } from "../form.js";
import { Microphone } from "../microphone.js";
import { t } from "../words.js";

const { element } = window;
const AGAIN = 1000; // milliseconds from one answer to the next question

export default function (model, box, state) {
  const answers = new Answers(), microphone = new Microphone();
  const chooser = element("input", { type: "file", accept: "audio/*", "aria-label": t("recording"), name: "file" });
  const player = element("audio", { controls: "", hidden: "", "aria-label": t("recording") });
  const status = element("span", { role: "status" });
  let sound = null, timer = null, left = false;

  function ask() {
    if (!sound) return Promise.resolve();
    return answers.run(async (signal) => {
      const options = own.values(), pictures = shared(model, "explain", options);
      const [{ outputs: [one] }, found] = await Promise.all([
        json(route(model, "predict/file"), parcel(sound, "microphone.wav", options), signal),
        json(route(model, "explain/file"), parcel(sound, "microphone.wav", pictures), signal),
      ]);
      return () => {
        answers.say(...[one.text, ...(one.others ?? []).map((other) => other.text)].map((text) => element("div", {}, text || t("nothing"))));
        answers.draw(found);
      };
    });
  }

  function given(file) {
    if (!file) return;
    sound = file;
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(file);
    player.hidden = false;
    ask();
  }

  async function speak() {
    if (microphone.on) return given(stopped());
    switched.disabled = true;
    try {
      await microphone.start();
    } catch (error) {
      answers.problem.textContent = t("nomicrophone") + (window.isSecureContext ? error.message : t("secure"));
      return;
    } finally {
      switched.disabled = false;
    }
    if (left) return microphone.stop();
    switched.textContent = t("stop");
    status.textContent = t("listening");
    const again = async () => {
      sound = microphone.wav();
      if (sound) await ask();
      if (microphone.on) timer = setTimeout(again, AGAIN);
    };
    timer = setTimeout(again, AGAIN);
  }

  function stopped() {
    clearTimeout(timer);
    const found = microphone.wav();
    microphone.stop();
    switched.textContent = t("speak");
    status.textContent = "";
    return found;
  }

  const own = settings(model, "predict", state, ask), switched = button("speak", speak, true);
  chooser.addEventListener("change", () => given(chooser.files[0]));
  box.append(element("div", { class: "row" }, switched, status, chooser), player, own.box, answers.box);
  return () => {
    left = true;
    if (microphone.on) stopped();
    answers.clear();
  };
}
