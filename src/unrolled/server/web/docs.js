// The API as it describes itself in /openapi.json.
import { json } from "./api.js";

const { element } = window;
const main = document.getElementById("main");
const told = await json("/openapi.json").catch((error) => error);

if (!told.paths) main.append(element("p", {}, told.message));
else {
  const resolved = (schema) => (schema?.$ref ? told.components.schemas[schema.$ref.split("/").pop()] : schema);
  const kind = (schema) => (schema.anyOf ? schema.anyOf.map(kind).join(" or ") : schema.$ref ? kind(resolved(schema)) : schema.enum ? schema.enum.join(" | ") : schema.type ?? "any");
  const bounds = (schema) => ["minimum", "maximum", "exclusiveMinimum", "maxLength", "minItems", "maxItems"].filter((key) => schema[key] !== undefined).map((key) => `${key} ${schema[key]}`).join(", ");
  const rows = (schema, before = "") => Object.entries(schema?.properties ?? {}).flatMap(([name, one]) => {
    const inner = resolved(one) ?? {};
    const row = element("tr", {}, element("th", {}, `${before}${name}`), element("td", {}, kind(one)), element("td", {}, [one.description ?? inner.description ?? "", bounds(inner.properties ? {} : one)].filter(Boolean).join(" ")));
    return [row, ...(inner.properties ? rows(inner, `${before}${name}.`) : [])];
  });
  for (const [path, methods] of Object.entries(told.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      main.append(element("h2", {}, `${method.toUpperCase()} ${path}`), element("p", {}, operation.description ?? ""));
      const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
      if (type) main.append(element("p", {}, type), element("table", {}, ...rows(resolved(content.schema))));
      main.append(element("table", {}, ...Object.entries(operation.responses).map(([status, one]) => element("tr", {}, element("th", {}, status), element("td", {}, one.description)))));
    }
  }
}
