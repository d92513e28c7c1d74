// The page: which model is shown stands behind the # of the address, with what is asked of it; each task has its module.
import { hasToken, json, setToken } from "./api.js";
import { field, form } from "./form.js";
import { choose, language, t } from "./words.js";

const { element } = window;
const main = document.getElementById("main"), nav = document.querySelector("nav");
let models = [], leave = () => {}, views = 0;

// "#/de-en?input=ein+Mann" -> what the address says; changes go back into it without a step in the history.
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const name = models.map((one) => one.name).find((one) => encodeURIComponent(one) === path) ?? path;
  return { name, given: new URLSearchParams(query) };
}

function remembered(name, given) {
  return {
    get: (key) => given.get(key),
    set(key, value) {
      if (value) given.set(key, value);
      else given.delete(key);
      history.replaceState(null, "", `#/${encodeURIComponent(name)}?${given}`);
    },
  };
}

async function show() {
  leave();
  leave = () => {};
  const { name, given } = place(), model = models.find((one) => one.name === name);
  for (const link of nav.children) {
    if (link.textContent === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = model ? `${name} · unrolled` : "unrolled";
  if (!model) {
    views++;
    main.replaceChildren(element("h1", {}, t("models")), name ? element("p", { class: "problem" }, t("none")) : "", cards());
    return;
  }
  const own = ++views;
  const { default: build } = await import(`./tasks/${model.task}.js`);
  if (own !== views) return; // another was chosen meanwhile
  const box = element("div");
  main.replaceChildren(element("h1", {}, model.name), element("p", { class: "note" }, t(`${model.task}.what`)), box, link());
  leave = build(model, box, remembered(name, given)) ?? (() => {});
}

function cards() {
  return element("ul", { class: "cards" }, ...models.map((model) => element("li", {},
    element("a", { href: `#/${encodeURIComponent(model.name)}` }, element("strong", {}, model.name), element("span", {}, t(`${model.task}.what`))))));
}

function link() {
  const made = element("button", { type: "button" }, t("link"));
  made.addEventListener("click", async () => {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(location.href);
      made.textContent = t("copied");
    } else window.prompt(t("link"), location.href);
  });
  return element("p", {}, made);
}

function ask_token(wrong) {
  const input = element("input", { type: "password", autocomplete: "off", name: "token" });
  const go_on = () => {
    setToken(input.value);
    begin();
  };
  const why = element("p", { class: "problem", role: "alert" }, wrong ? t("wrong") : "");
  main.replaceChildren(form(go_on, field("token", input), why, element("div", { class: "row" }, element("button", { class: "first" }, t("enter")))));
  input.focus();
}

async function begin() {
  document.documentElement.lang = language();
  const other = document.getElementById("language");
  [other.textContent, other.lang] = language() === "zh" ? ["English", "en"] : ["中文", "zh"];
  document.querySelector(".skip").textContent = t("skip");
  nav.setAttribute("aria-label", t("models"));
  if (location.hash.startsWith("#token=")) {
    setToken(location.hash.slice("#token=".length));
    history.replaceState(null, "", "#/");
  }
  try {
    ({ models } = await json("/v1/models"));
  } catch (error) {
    if (error.status === 401) ask_token(hasToken());
    else main.replaceChildren(element("p", { class: "problem", role: "alert" }, error.message));
    return;
  }
  nav.replaceChildren(...models.map((model) => element("a", { href: `#/${encodeURIComponent(model.name)}` }, model.name)));
  await show();
}

document.getElementById("language").addEventListener("click", () => {
  choose(language() === "zh" ? "en" : "zh");
  begin();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => (location.hash.startsWith("#token=") ? begin() : show()));
begin();
