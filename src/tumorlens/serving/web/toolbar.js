// Tools above a viewer, and the controls of picture and evidence below it.

import { SCALES, alpha, scale } from "./colours.js";
import { el, svg } from "./dom.js";
import { number, percent, t } from "./i18n.js";

const icon = (path) => svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true" }, svg("path", { d: path }));

export const TOOLS = [
  { name: "scroll", key: "s", path: "M12 3v18M8 7l4-4 4 4M8 17l4 4 4-4" },
  { name: "window", key: "w", path: "M12 3a9 9 0 1 0 0 18ZM12 3a9 9 0 0 1 0 18" },
  { name: "pan", key: "p", path: "M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3" },
  { name: "measure", key: "m", path: "M3 17 17 3l4 4L7 21ZM7 13l2 2M10 10l2 2M13 7l2 2" },
];
const ACTIONS = [
  { name: "zoomIn", path: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21M10.5 7.5v6M7.5 10.5h6", act: (viewer) => viewer.zoomBy(1.25) },
  { name: "zoomOut", path: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21M7.5 10.5h6", act: (viewer) => viewer.zoomBy(0.8) },
  { name: "reset", path: "M4 12a8 8 0 1 0 2.5-5.8M4 4v4.5h4.5", act: (viewer) => viewer.reset() },
  { name: "clear", path: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13", act: (viewer) => viewer.clearMeasures() },
];

/** The toolbar of a viewer: `{ element, update }`. */
export function buildToolbar(viewer) {
  const tools = TOOLS.map(({ name, path }) =>
    el("button", { type: "button", class: "tool", "data-tool": name, onclick: () => viewer.setTool(name) }, icon(path), el("span", { class: "tool-name" })));
  const actions = ACTIONS.map(({ name, path, act }) =>
    el("button", { type: "button", class: "tool", "data-act": name, onclick: () => act(viewer) }, icon(path)));
  const element = el("div", { class: "tools", role: "toolbar" }, el("div", { class: "tool-group" }, ...tools), el("div", { class: "tool-group" }, ...actions));
  function update() {
    element.setAttribute("aria-label", t("tools.label"));
    TOOLS.forEach(({ name, key }, n) => {
      tools[n].setAttribute("aria-pressed", String(viewer.tool === name));
      tools[n].title = `${t(`tool.${name}.title`)} (${key.toUpperCase()})`;
      tools[n].lastChild.textContent = t(`tool.${name}`);
      tools[n].hidden = name === "scroll" && viewer.several < 2;
    });
    ACTIONS.forEach(({ name }, n) => {
      actions[n].title = t(`act.${name}`);
      actions[n].setAttribute("aria-label", t(`act.${name}`));
      actions[n].hidden = name === "clear" && !viewer.rulers.length;
    });
  }
  return { element, update };
}

/** The controls below a viewer: `{ element, update }`. */
export function buildControls(viewer, settings) {
  const range = (role, attributes, act) => el("input", { type: "range", "data-role": role, ...attributes, oninput: (event) => act(Number(event.target.value)) });
  const opacity = range("opacity", { min: 0, max: 100, step: 5 }, (value) => viewer.set({ opacity: value / 100 }));
  const level = range("level", {}, (value) => centre(value, viewer.window[1] - viewer.window[0]));
  const width = range("width", {}, (value) => centre((viewer.window[0] + viewer.window[1]) / 2, value));
  const centre = (middle, span) => viewer.setWindow(middle - span / 2, middle + span / 2);
  const values = { opacity: el("output"), level: el("output"), width: el("output") };
  const colour = el("select", { "data-role": "colour", onchange: () => viewer.set({ colour: colour.value }) }, ...SCALES.map((name) => el("option", { value: name })));
  const outline = el("input", { type: "checkbox", "data-role": "outline", onchange: () => viewer.set({ outline: outline.checked }) });
  const names = Object.fromEntries(["opacity", "colour", "outline", "level", "width", "low", "high", "keys"].map((name) => [name, el("span")]));
  const legend = el("canvas", { width: 240, height: 8, "aria-hidden": "true" });
  const row = (name, control, output) => el("label", { class: "row" }, names[name], control, output ?? "");
  const map = el("div", { class: "map-controls" },
    row("opacity", opacity, values.opacity),
    el("div", { class: "row pair" }, el("label", {}, names.colour, colour), el("label", { class: "check" }, outline, names.outline)),
    el("div", { class: "legend", "aria-hidden": "true" }, names.low, legend, names.high));
  const noMap = el("p", { class: "no-map", "data-role": "no-map" });
  const keys = el("details", { class: "keys" }, el("summary", {}, names.keys), el("p", {}));
  const element = el("div", { class: "controls" }, map, noMap,
    el("div", { class: "window-controls" }, row("level", level, values.level), row("width", width, values.width)), keys);

  function update() {
    for (const [name, each] of Object.entries(names)) each.textContent = t(`control.${name}`);
    keys.lastChild.textContent = t(viewer.several > 1 ? "keys.series" : "keys.picture");
    for (const option of colour.options) option.textContent = t(`colour.${option.value}`);
    const study = viewer.study;
    const mapped = study.encoded.some((each) => each?.evidence) || !study.complete;
    map.hidden = !mapped;
    noMap.hidden = mapped;
    noMap.textContent = t("control.nomap");
    opacity.value = settings.opacity * 100;
    values.opacity.textContent = percent(settings.opacity);
    colour.value = settings.colour;
    outline.checked = settings.outline;
    const [least, most] = study.range, [low, high] = viewer.window;
    const step = (most - least) / 255;
    Object.assign(level, { min: least, max: most, step, value: (low + high) / 2 });
    Object.assign(width, { min: step, max: (most - least) * 1.5, step, value: high - low });
    values.level.textContent = number((low + high) / 2);
    values.width.textContent = number(high - low);
    paintLegend(legend, settings);
  }
  return { element, update };
}

function paintLegend(canvas, { colour, opacity }) {
  const context = canvas.getContext("2d");
  const table = scale(colour);
  for (let x = 0; x < canvas.width; x += 1) {
    const level = Math.round((x / (canvas.width - 1)) * 255);
    context.clearRect(x, 0, 1, canvas.height);
    context.fillStyle = `rgb(${table[3 * level]} ${table[3 * level + 1]} ${table[3 * level + 2]} / ${alpha(level) * Math.max(opacity, 0.4)})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}
