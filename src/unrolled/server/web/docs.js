// The API as it describes itself in /openapi.json.
const main = document.getElementById("main");
const token = sessionStorage.getItem("token");
const answer = await fetch("/openapi.json", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
const made = (name, text, ...children) => {
  const found = document.createElement(name);
  if (text) found.textContent = text;
  found.append(...children);
  return found;
};

if (!answer.ok) main.append(made("p", (await answer.json()).detail));
else {
  const document_ = await answer.json();
  const resolved = (schema) => (schema?.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema);
  const kind = (schema) => (schema.anyOf ? schema.anyOf.map(kind).join(" or ") : schema.$ref ? kind(resolved(schema)) : schema.enum ? schema.enum.join(" | ") : schema.type ?? "any");
  const bounds = (schema) => ["minimum", "maximum", "exclusiveMinimum", "maxLength", "minItems", "maxItems"].filter((key) => schema[key] !== undefined).map((key) => `${key} ${schema[key]}`).join(", ");
  const rows = (schema, before = "") => Object.entries(schema?.properties ?? {}).flatMap(([name, one]) => {
    const inner = resolved(one) ?? {};
    const row = made("tr", "", made("th", `${before}${name}`), made("td", kind(one)), made("td", [one.description ?? inner.description ?? "", bounds(inner.properties ? {} : one)].filter(Boolean).join(" ")));
    return [row, ...(inner.properties ? rows(inner, `${before}${name}.`) : [])];
  });
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      main.append(made("h2", `${method.toUpperCase()} ${path}`), made("p", operation.description ?? ""));
      const [type, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
      if (type) main.append(made("p", type), made("table", "", ...rows(resolved(content.schema))));
      main.append(made("table", "", ...Object.entries(operation.responses).map(([status, one]) => made("tr", "", made("th", status), made("td", one.description)))));
    }
  }
}
