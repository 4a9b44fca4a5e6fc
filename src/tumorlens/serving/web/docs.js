// Shows openapi.json to people. No library: our OpenAPI document uses few of its features.

const place = document.getElementById("routes");

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function exampleOf(media) {
  if (media.example !== undefined) return media.example;
  const first = Object.values(media.examples ?? {})[0];
  return first?.value;
}

function answer(status, response) {
  const box = element("section", "answer-kind");
  const title = element("h3");
  title.append(element("span", `status ${status < 400 ? "ok" : "no"}`, status), response.description);
  box.append(title);
  for (const [kind, media] of Object.entries(response.content ?? {})) {
    box.append(element("p", "muted small mono", kind));
    const kinds = Object.keys(media.examples ?? {});
    if (kinds.length > 1) box.append(element("p", "muted small", `One of: ${kinds.join(", ")}`));
    const example = exampleOf(media);
    if (example !== undefined && status < 400) {
      const text = typeof example === "string" ? example : JSON.stringify(example, null, 2);
      const block = element("pre");
      block.tabIndex = 0;
      block.append(element("code", "", text));
      box.append(block);
    }
  }
  return box;
}

function route(path, method, operation) {
  const box = element("details", "route");
  const head = element("summary");
  head.append(
    element("span", `method ${method}`, method.toUpperCase()),
    element("span", "path", path),
    element("span", "what", operation.summary ?? ""),
  );
  const body = element("div", "body");
  for (const parameter of operation.parameters ?? []) {
    body.append(element("p", "muted small", `${parameter.in} ${parameter.name}: ${parameter.description ?? "text"}`));
  }
  if (operation.requestBody) {
    body.append(element("p", "muted small mono", `request body: ${Object.keys(operation.requestBody.content).join(", ")}`));
  }
  for (const [status, response] of Object.entries(operation.responses)) body.append(answer(status, response));
  box.append(head, body);
  return box;
}

async function load() {
  const document_ = await (await fetch("openapi.json")).json();
  document.getElementById("version").textContent = `version ${document_.info.version}`;
  document.getElementById("version").hidden = false;
  const groups = new Map();
  for (const [path, item] of Object.entries(document_.paths)) {
    if (path.startsWith("/assets/")) continue; // parts of the page, of no use to a program
    for (const [method, operation] of Object.entries(item)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, operation));
    }
  }
  place.replaceChildren();
  for (const tag of new Set(["predict", "model", "service", "page", ...groups.keys()])) {
    if (groups.has(tag)) place.append(element("h2", "group", tag), ...groups.get(tag));
  }
}

document.getElementById("origin").textContent = location.href.replace(/\/docs.*$/, "");
load().catch(() => place.replaceChildren(element("p", "muted", "The server does not respond; reload the page to try again.")));
