// Questions to the server. A problem it answers with is thrown as an Error with its detail, and `fields`: [{field, message}].
import { t } from "./words.js";

let token = sessionStorage.getItem("token") ?? "";

export const hasToken = () => token !== "";

export function setToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

export async function ask(path, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const form = body instanceof FormData;
  if (body !== undefined && !form) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, signal, body: body === undefined || form ? body : JSON.stringify(body) });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(t("lost"));
  }
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({ detail: answer.statusText }));
  throw Object.assign(new Error(found.detail), { status: answer.status, fields: found.errors ?? [] });
}

export const json = async (path, body, signal) => (await ask(path, body, signal)).json();

export const route = (model, what) => `/v1/models/${encodeURIComponent(model.name)}/${what}`;

// The events of a stream: [name, data].
export async function* events(path, body, signal) {
  const reader = (await ask(path, body, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const [name, data] = part.split("\n").map((line) => line.slice(line.indexOf(":") + 2));
      yield [name, JSON.parse(data)];
    }
  }
}

// A file and options, as the routes for files take them.
export function parcel(file, name, options) {
  const body = new FormData();
  body.append("file", file, file.name ?? name);
  body.append("options", JSON.stringify(options));
  return body;
}
