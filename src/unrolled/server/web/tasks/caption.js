// An image, dropped, pasted, chosen or taken; its caption, and where each word looked.
import { json, parcel, route } from "../api.js";
import { Answers, button, settings } from "../form.js";
import { t } from "../words.js";

const { element } = window;

export default function (model, box, state) {
  const answers = new Answers(), preview = element("img", { class: "preview", alt: "", hidden: "" });
  const video = element("video", { class: "preview", hidden: "", playsinline: "", muted: "" });
  const chooser = element("input", { type: "file", accept: "image/*", "aria-label": t("image"), name: "file" });
  let image = null, stream = null, left = false;

  function ask() {
    if (!image) return;
    answers.run(async (signal) => {
      const found = await json(route(model, "explain/file"), parcel(image, "photo.jpg", own.values()), signal);
      return () => {
        answers.say(found.caption);
        answers.draw(found);
      };
    });
  }

  function given(file) {
    if (!file) return;
    image = file;
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    ask();
  }

  async function camera() {
    close();
    opener.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      answers.problem.textContent = t("nocamera") + (window.isSecureContext ? error.message : t("secure"));
      return;
    } finally {
      opener.disabled = false;
    }
    if (left) return close();
    video.srcObject = stream;
    video.hidden = false;
    await video.play();
    shoot.hidden = false;
  }

  function taken() {
    const canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    close();
    canvas.toBlob(given, "image/jpeg", 0.92);
  }

  function close() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.hidden = shoot.hidden = true;
  }

  const own = settings(model, "explain", state, ask), shoot = button("shoot", taken, true), opener = button("camera", camera);
  shoot.hidden = true;
  chooser.addEventListener("change", () => given(chooser.files[0]));
  const zone = element("div", { class: "drop" }, element("p", {}, t("drop")), element("div", { class: "row" }, chooser, opener, shoot), video, preview);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    given(event.dataTransfer.files[0]);
  });
  const pasted = (event) => given([...(event.clipboardData?.files ?? [])][0]);
  document.addEventListener("paste", pasted);
  box.append(zone, own.box, answers.box);
  return () => {
    left = true;
    document.removeEventListener("paste", pasted);
    close();
    answers.clear();
  };
}
