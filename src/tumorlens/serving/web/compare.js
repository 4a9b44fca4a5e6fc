// Two scans side by side, or one beside itself without the map.

import { el } from "./dom.js";
import { onLanguage, probability, t } from "./i18n.js";
import { describeSlice, sliceLine } from "./answer.js";
import { Viewer } from "./viewer.js";

export class Compare {
  #busy = false;

  constructor(place, queue) {
    Object.assign(this, { place, queue, sides: [], linked: true });
    onLanguage(() => { if (place.checkVisibility()) this.open(this.sides[0].item, this.sides[1].item, this.sides[1].bare); });
  }

  /** Show two finished items; the same twice is shown without its map on the right. */
  open(first, second, bare = first === second) {
    this.close();
    this.sides = [this.#side(0), this.#side(1)];
    this.link = el("input", { type: "checkbox", id: "link", checked: this.linked, onchange: () => { this.linked = this.link.checked; if (this.linked) this.#follow(this.sides[0]); } });
    this.place.replaceChildren(
      el("div", { class: "compare-head" }, el("h1", { id: "compare-title", tabIndex: -1, textContent: t("compare.title") }),
        el("label", { class: "check" }, this.link, el("span", { textContent: t("compare.link") }))),
      el("div", { class: "sides" }, ...this.sides.map((side) => side.element)),
      el("div", { class: "viewer" }, this.sides[0].viewer.controls.element)); // one set for both
    return Promise.all([this.#load(this.sides[0], first, false), this.#load(this.sides[1], second, bare)]);
  }

  /** Free the viewers. */
  close() {
    for (const side of this.sides) { side.viewer.clear(); Viewer.all.delete(side.viewer); if (side.item) side.item.shown = false; }
  }

  #side(n) {
    const side = { item: null, bare: false };
    side.select = el("select", { "aria-label": t(n ? "compare.right" : "compare.left"), "data-side": n, onchange: () => {
      const bare = side.select.value === "bare";
      this.#load(side, bare ? this.sides[0].item : this.queue.items.find((item) => String(item.id) === side.select.value), bare);
    } });
    side.place = el("div", { class: "viewer-box" });
    side.viewer = new Viewer(side.place, { plain: n > 0 });
    side.viewer.onchange = () => this.#follow(side);
    side.line = el("p", { class: "slice-line" });
    side.verdict = el("p", { class: "side-verdict" });
    side.element = el("section", { class: "side", "aria-label": t(n ? "compare.right" : "compare.left") }, side.select, side.verdict, el("div", { class: "viewer" }, side.place, side.line));
    return side;
  }

  async #load(side, item, bare) {
    if (side.item) side.item.shown = false;
    Object.assign(side, { item, bare });
    item.shown = true;
    this.#fillSelects();
    await this.queue.pixels(item);
    if (side.item !== item || !item.study) return;
    side.verdict.replaceChildren(el("span", { class: `tag ${item.answer.decision}`, textContent: t(`verdict.${item.answer.decision}`) }), " ", item.answer.prob === null ? "" : probability(item.answer.prob));
    side.viewer.bare = bare;
    side.viewer.describe = (index) => describeSlice(item, index);
    side.viewer.onslice = (index) => { side.line.textContent = sliceLine(item, index); };
    side.viewer.show(item.study, bare ? this.sides[0].viewer.index : item.first);
  }

  #fillSelects() {
    const done = this.queue.items.filter((item) => item.status === "done");
    this.sides.forEach((side, n) => {
      const options = done.map((item) => el("option", { value: item.id, textContent: item.name }));
      if (n) options.push(el("option", { value: "bare", textContent: t("compare.bare") }));
      side.select.replaceChildren(...options);
      if (side.item) side.select.value = side.bare ? "bare" : side.item.id;
    });
  }

  /** Bring the other side to the place, zoom and window of this one. */
  #follow(side) {
    const other = this.sides.find((each) => each !== side);
    if (this.#busy || !this.linked || !side.viewer.study || !other?.viewer.study) return;
    this.#busy = true;
    const from = side.viewer, to = other.viewer;
    to.zoom = from.zoom;
    to.pan = [from.pan[0] / from.study.width * to.study.width, from.pan[1] / from.study.height * to.study.height];
    const [a, b] = from.study.window, [c, d] = to.study.window;
    const mapped = from.window.map((value) => c + ((value - a) / (b - a || 1)) * (d - c));
    to.setWindow(...mapped);
    if (to.several > 1 && from.several > 1) to.jump(sameplace(side, other, from.index));
    this.#busy = false;
  }
}

/** The slice of `other` at the place of slice `index`: by millimetres where both have the same plane. */
function sameplace(side, other, index) {
  const slices = side.item.answer.slices, wanted = other.item.answer.slices;
  const comparable = side.item.answer.plane === other.item.answer.plane && side.item.answer.geometry.oriented && other.item.answer.geometry.oriented;
  const at = slices[index].position_mm;
  const within = comparable && at >= wanted[0].position_mm - 5 && at <= wanted.at(-1).position_mm + 5;
  if (!within) return Math.round((index / Math.max(slices.length - 1, 1)) * (wanted.length - 1));
  return wanted.reduce((best, each) => (Math.abs(each.position_mm - at) < Math.abs(best.position_mm - at) ? each : best)).index;
}
