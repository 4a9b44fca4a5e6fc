// The viewer of one picture or series: slices, window and level, zoom, evidence, outline, measurements.

import { SCALES } from "./colours.js";
import { announce, el } from "./dom.js";
import { listenTo } from "./gestures.js";
import { number, onLanguage, percent, t } from "./i18n.js";
import { Layer, lengthOf, paint, place, toPng } from "./paint.js";
import { heatTable, windowTable } from "./render.js";
import { TOOLS, buildControls, buildToolbar } from "./toolbar.js";

const LETTERS = { axial: ["R", "L", "A", "P"], coronal: ["R", "L", "S", "I"], sagittal: ["A", "P", "S", "I"] };
const MOST_ZOOM = 12;
const settings = { opacity: 0.65, colour: SCALES[0], outline: true }; // shared by all viewers of the page

export class Viewer {
  static all = new Set();
  #frame = 0;
  #size = [0, 0]; // of the stage: asked when it changes, since asking in each frame lays the page out anew
  #textScale = 1;
  #drawn = null;
  #said = 0;

  /** Build a viewer in `root`; with `plain` it has no controls, as beside another one. */
  constructor(root, { plain = false } = {}) {
    Object.assign(this, { root, study: null, index: 0, zoom: 1, pan: [0, 0], tool: "window", rulers: [], cursor: null });
    Object.assign(this, { onslice: () => {}, onchange: () => {}, describe: () => "", layer: new Layer() });
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.notes = Object.fromEntries(["tl", "tr", "bl"].map((name) => [name, el("p", { class: `note ${name}`, "aria-hidden": "true" })]));
    this.letters = ["w", "e", "n", "s"].map((side) => el("span", { class: `letter ${side}`, "aria-hidden": "true" }));
    this.stage = el("div", { class: "stage", tabIndex: 0, role: "application", "data-role": "stage" }, this.canvas, ...Object.values(this.notes), ...this.letters);
    this.slider = el("input", { type: "range", class: "slices", min: 0, step: 1, "data-role": "slice", oninput: () => this.jump(Number(this.slider.value)) });
    this.toolbar = buildToolbar(this);
    this.controls = plain ? null : buildControls(this, settings);
    root.replaceChildren(this.toolbar.element, this.stage, this.slider);
    if (this.controls) root.append(this.controls.element);
    Viewer.all.add(this);
    listenTo(this.stage, this);
    new ResizeObserver(() => { this.#measure(); this.draw(); }).observe(this.stage);
    onLanguage(() => this.relabel());
  }

  get several() {
    return this.study?.slices ?? 0;
  }

  /** Show a study from slice `index` on. */
  show(study, index = 0) {
    Object.assign(this, { study, index, rulers: [], cursor: null, window: [...study.window], zoom: 1, pan: [0, 0] });
    this.#drawn = null;
    const series = study.slices > 1;
    this.slider.hidden = !series;
    this.slider.max = study.slices - 1;
    const coarse = matchMedia("(pointer: coarse)").matches;
    this.tool = series && coarse ? "scroll" : "window";
    this.stage.style.setProperty("aspect-ratio", `${Math.min(1.35, Math.max(0.95, study.width / study.height))}`);
    this.relabel();
    this.jump(index);
    if (series) study.warm(index, () => this.study === study);
  }

  /** Forget the study, so that its pixels can be freed. */
  clear() {
    this.study = null;
    this.#drawn = null;
  }

  relabel() {
    if (!this.study) return;
    this.stage.setAttribute("aria-label", t(this.several > 1 ? "stage.series" : "stage.picture", { n: this.several }));
    this.slider.setAttribute("aria-label", t("slice.label"));
    const letters = this.study.oriented ? LETTERS[this.study.plane] : ["", "", "", ""];
    this.letters.forEach((each, n) => { each.textContent = letters[n]; });
    this.toolbar.update();
    this.controls?.update();
    this.draw();
  }

  // ---- slices

  step(n) {
    if (this.several > 1) this.jump(this.index + n);
  }

  jump(index) {
    if (!this.study) return;
    this.index = Math.min(this.several - 1, Math.max(0, index));
    this.slider.value = this.index;
    this.slider.setAttribute("aria-valuetext", this.describe(this.index));
    this.draw();
    this.onslice(this.index);
    this.onchange(this);
  }

  // ---- window, zoom, pan

  setWindow(low, high) {
    const [least, most] = this.study.range;
    const span = Math.max((most - least) / 255, high - low);
    this.window = [low, low + span];
    this.controls?.update();
    this.draw();
    this.onchange(this);
  }

  windowBy(dx, dy) {
    const [low, high] = this.window, [least, most] = this.study.range;
    const step = (most - least) / 400;
    const width = Math.min((most - least) * 1.5, Math.max(step, high - low + dx * step));
    const level = Math.min(most, Math.max(least, (low + high) / 2 + dy * step));
    this.setWindow(level - width / 2, level + width / 2);
  }

  zoomBy(factor, [x, y] = this.#size.map((side) => side / 2)) {
    const before = this.#toPixel(x, y);
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const after = this.#toPixel(x, y);
    this.#panTo(this.pan[0] + before[0] - after[0], this.pan[1] + before[1] - after[1]);
  }

  panBy(dx, dy) {
    const { scale } = this.#place();
    this.#panTo(this.pan[0] - dx / scale, this.pan[1] - dy / scale);
  }

  #panTo(x, y) {
    const { width, height } = this.study;
    const most = (side) => (side / 2) * (1 - 1 / this.zoom) + (this.zoom > 1 ? side * 0.1 : 0);
    this.pan = [Math.min(most(width), Math.max(-most(width), x)), Math.min(most(height), Math.max(-most(height), y))];
    this.draw();
    this.onchange(this);
  }

  reset() {
    [this.zoom, this.pan, this.window] = [1, [0, 0], [...this.study.window]];
    this.controls?.update();
    this.draw();
    this.onchange(this);
  }

  // ---- tools and settings

  setTool(name) {
    this.tool = name;
    this.cursor = name === "measure" ? [this.study.width / 2, this.study.height / 2] : null;
    this.toolbar.update();
    this.draw();
    announce(t(`tool.${name}.said`));
  }

  set(change) {
    Object.assign(settings, change);
    for (const each of Viewer.all) if (each.study) { each.controls?.update(); each.draw(); }
  }

  get settings() {
    return settings;
  }

  // ---- measurements, in pixels of the slice

  measureFrom([x, y]) {
    const point = this.#toPixel(x, y);
    this.open = { index: this.index, line: [...point, ...point] };
    this.rulers.push(this.open);
  }

  measureTo([x, y]) {
    if (!this.open) return;
    this.open.line.splice(2, 2, ...this.#toPixel(x, y));
    this.draw();
  }

  endMeasure() {
    if (!this.open) return;
    const [x0, y0, x1, y1] = this.open.line;
    if (Math.hypot(x1 - x0, y1 - y0) < 1) this.rulers.pop();
    else announce(t("measure.said", { length: lengthOf(this.study, this.open.line) }));
    this.open = null;
    this.toolbar.update();
    this.draw();
  }

  dropMeasure() {
    if (this.open) this.rulers.pop();
    this.open = null;
  }

  clearMeasures() {
    this.rulers = [];
    this.toolbar.update();
    this.draw();
  }

  /** Handle a key on the stage; returns whether it meant anything. */
  key(name, event) {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[name];
    if (arrow && this.tool === "measure" && this.cursor) return this.#moveCursor(arrow, event.shiftKey ? 10 : 1);
    if (arrow && (event.shiftKey || this.several < 2)) return this.panBy(-arrow[0] * 30, -arrow[1] * 30) ?? true;
    if (name === "Enter" && this.tool === "measure") return this.#setPoint();
    const tool = TOOLS.find((each) => each.key === name.toLowerCase());
    if (tool && (tool.name !== "scroll" || this.several > 1)) return this.setTool(tool.name) ?? true;
    const action = {
      ArrowUp: () => this.step(-1), ArrowLeft: () => this.step(-1), ArrowDown: () => this.step(1), ArrowRight: () => this.step(1),
      PageUp: () => this.step(-10), PageDown: () => this.step(10), Home: () => this.jump(0), End: () => this.jump(this.several - 1),
      "+": () => this.zoomBy(1.25), "=": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8), 0: () => this.reset(),
      "[": () => this.windowBy(-12, 0), "]": () => this.windowBy(12, 0), ",": () => this.windowBy(0, -12), ".": () => this.windowBy(0, 12),
      h: () => this.set({ opacity: settings.opacity ? 0 : 0.65 }), o: () => this.set({ outline: !settings.outline }),
      Delete: () => this.clearMeasures(), Escape: () => { if (this.open) { this.dropMeasure(); this.draw(); } },
    }[name];
    if (!action) return false;
    action();
    if (this.several > 1) this.#saySlice();
    return true;
  }

  #moveCursor([dx, dy], step) {
    const { width, height } = this.study;
    this.cursor = [Math.min(width, Math.max(0, this.cursor[0] + dx * step)), Math.min(height, Math.max(0, this.cursor[1] + dy * step))];
    if (this.open) this.open.line.splice(2, 2, ...this.cursor);
    this.draw();
    return true;
  }

  #setPoint() {
    if (this.open) { this.endMeasure(); return true; }
    this.open = { index: this.index, line: [...this.cursor, ...this.cursor] };
    this.rulers.push(this.open);
    announce(t("measure.started"));
    return true;
  }

  #saySlice() {
    clearTimeout(this.#said);
    this.#said = setTimeout(() => announce(this.describe(this.index)), 250);
  }

  // ---- drawing

  draw() {
    if (this.#frame || !this.study) return;
    this.#frame = requestAnimationFrame(() => { this.#frame = 0; this.#paint(); });
  }

  #measure() {
    this.#size = [this.stage.clientWidth, this.stage.clientHeight];
    this.#textScale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  }

  #place() {
    return place(this.study, ...this.#size, this.zoom, this.pan);
  }

  #toPixel(x, y) {
    const at = this.#place();
    return [(x - at.x) / at.scale, (y - at.y) / at.scale];
  }

  #paint() {
    const { study, canvas } = this;
    if (!this.#size[0]) this.#measure();
    if (!study || !this.#size[0]) return;
    const found = study.ready(this.index);
    if (!found) study.load(this.index).then((slice) => { if (slice && this.study === study) this.draw(); });
    const slice = found ?? this.#drawn;
    this.#note();
    if (!slice) return;
    this.#drawn = slice;
    const density = Math.min(devicePixelRatio, 3);
    const [width, height] = this.#size.map((side) => Math.round(side * density));
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.#fill(slice);
    const at = place(study, width, height, this.zoom, this.pan);
    const rulers = this.rulers.filter((each) => each.index === slice.index).map((each) => each.line);
    paint(this.context, { layer: this.layer, study, slice, at, outline: settings.outline && !this.bare, rulers, cursor: this.cursor, unit: density * this.#textScale, smooth: this.zoom < 6 });
    canvas.dataset.slice = slice.index; // what is on the screen, for tests and measurements
  }

  #fill(slice) {
    const grey = this.window.join();
    if (this.greyFor !== grey || this.greyOf !== this.study) {
      [this.grey, this.greyFor, this.greyOf] = [windowTable(this.study, this.window), grey, this.study];
    }
    const opacity = this.bare ? 0 : settings.opacity; // bare: beside itself, without the map
    const heat = `${settings.colour} ${opacity}`;
    if (this.heatFor !== heat) [this.heat, this.heatFor] = [heatTable(settings.colour, opacity), heat];
    this.layer.fill(slice, this.grey, this.heat);
  }

  #note() {
    const { tl, tr, bl } = this.notes;
    const [low, high] = this.window;
    tl.textContent = this.several > 1 ? `${number(this.index + 1)} / ${number(this.several)}` : "";
    tr.textContent = t("note.window", { width: number(high - low), level: number((low + high) / 2) });
    bl.textContent = this.zoom > 1.001 ? percent(this.zoom) : "";
  }

  /** The slice shown, as a PNG with `lines` of text below. */
  async png(lines) {
    const slice = await this.study.load(this.index);
    this.#fill(slice);
    const rulers = this.rulers.filter((each) => each.index === this.index).map((each) => each.line);
    return toPng({
      layer: this.layer, study: this.study, slice, outline: settings.outline, rulers,
      letters: this.letters.map((each) => each.textContent), lines,
    });
  }
}
