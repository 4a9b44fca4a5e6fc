// The list of all scans of this tab: progress, states, sorting, filter, comparison and tables.

import { announce, download, el } from "./dom.js";
import { countAt } from "./gauge.js";
import { known, number, percent, probability, t } from "./i18n.js";
import { isOver } from "./queue.js";
import { problem, reason } from "./reasons.js";
import { factsOf } from "./answer.js";
import { listCsv, listJson } from "./takeaway.js";

const COLUMNS = ["name", "kind", "decision", "prob", "facts"];
const ORDER = ["tumor", "uncertain", "healthy", "refused", "failed", "cancelled", "running", "waiting"];

/** What an item is filtered and sorted by: its decision once it has one, else its state. */
export const verdict = (item) => (item.status === "done" ? item.answer.decision : item.status);

export class Worklist {
  /** `act` has `open(item)`, `add()`, `compare(a, b)`, `retry()`, `cancel()`. */
  constructor(place, queue, act) {
    Object.assign(this, { place, queue, act, sorted: null, down: false, filter: "all", chosen: new Set(), rows: new Map(), said: false });
  }

  /** Build everything anew: on opening, and when the language changes. */
  build() {
    this.rows.clear();
    this.title = el("h1", { id: "list-title", tabIndex: -1, textContent: t("list.title") });
    this.summary = el("p", { class: "muted", id: "list-summary" });
    this.bar = el("progress", { id: "list-progress", "aria-labelledby": "list-title" });
    const press = (name, act, more = {}) => el("button", { type: "button", class: "button small", "data-list": name, textContent: t(`list.${name}`), onclick: act, ...more });
    this.buttons = {
      cancel: press("cancel", this.act.cancel), retry: press("retry", this.act.retry), add: press("add", this.act.add),
      compare: press("compare", () => this.act.compare(...this.#chosenItems())),
      csv: press("csv", () => download("tumorlens-worklist.csv", listCsv(this.shown()), "text/csv")),
      json: press("json", () => download("tumorlens-worklist.json", listJson(this.shown()), "application/json")),
      clear: press("clear", this.act.clear),
    };
    this.select = el("select", { id: "list-filter", onchange: () => { this.filter = this.select.value; this.refresh(); this.#sayShown(); } },
      ...["all", ...ORDER].map((name) => el("option", { value: name })));
    this.whatif = el("input", { type: "range", min: 1, max: 99, id: "list-whatif", value: 50, oninput: () => this.#tellWhatIf(), "aria-describedby": "list-whatif-said" });
    this.whatifSaid = el("output", { id: "list-whatif-said", class: "whatif-said" });
    this.heads = COLUMNS.map((name) => el("button", { type: "button", class: "sort", "data-sort": name, onclick: () => this.#sortBy(name) }, t(`column.${name}`), el("span", { "aria-hidden": "true" })));
    this.body = el("tbody", { id: "list-body" });
    this.empty = el("p", { class: "muted", id: "list-empty", textContent: t("list.empty") });
    this.place.replaceChildren(
      el("div", { class: "list-head" }, el("div", {}, this.title, this.summary), el("div", { class: "button-row" }, this.buttons.add, this.buttons.compare, this.buttons.csv, this.buttons.json, this.buttons.clear)),
      el("div", { class: "list-progress" }, this.bar, this.buttons.cancel, this.buttons.retry),
      el("div", { class: "list-tools" }, el("label", {}, el("span", { textContent: t("list.filter") }), this.select),
        el("label", { class: "grow" }, el("span", { textContent: t("list.whatif") }), this.whatif), this.whatifSaid),
      el("div", { class: "table-box", tabIndex: 0, role: "region", "aria-label": t("list.caption") }, el("table", {}, el("caption", { class: "visually-hidden", textContent: t("list.caption") }),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, el("span", { class: "visually-hidden", textContent: t("column.choose") })), el("th", { scope: "col" }, el("span", { class: "visually-hidden", textContent: t("column.thumb") })),
          ...this.heads.map((head) => el("th", { scope: "col" }, head)))), this.body)), this.empty,
      el("p", { class: "muted small", textContent: t("privacy.short") }));
    this.whatif.value = Math.round((this.queue.card?.threshold.value ?? 0.5) * 100);
    this.refresh();
  }

  shown() {
    const items = this.queue.items.filter((item) => this.filter === "all" || verdict(item) === this.filter);
    if (!this.sorted) return items;
    const value = VALUES[this.sorted];
    const sign = this.down ? -1 : 1;
    return items.map((item, at) => [value(item), at, item]).sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j; // without a value: last, either way
      return sign * (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b) || i - j;
    }).map(([, , item]) => item);
  }

  /** An item changed: redraw its row, and soon the rest. */
  changed(item) {
    const row = this.rows.get(item);
    if (row?.isConnected) this.#fill(row, item);
    if (this.pending) return;
    this.pending = setTimeout(() => { this.pending = 0; if (this.place.checkVisibility()) this.refresh(); }, 80);
  }

  refresh() {
    if (!this.body) return;
    const shown = this.shown();
    const rows = shown.map((item) => this.rows.get(item) ?? this.#row(item));
    rows.forEach((row, at) => { if (this.body.children[at] !== row) this.body.insertBefore(row, this.body.children[at] ?? null); });
    while (this.body.children.length > rows.length) this.body.lastChild.remove();
    this.empty.hidden = shown.length > 0;
    COLUMNS.forEach((name, n) => {
      const on = this.sorted === name;
      this.heads[n].parentElement.setAttribute("aria-sort", on ? (this.down ? "descending" : "ascending") : "none");
      this.heads[n].lastChild.textContent = on ? (this.down ? "▼" : "▲") : "";
    });
    this.#summarise();
  }

  #summarise() {
    const { items } = this.queue;
    const counts = Object.fromEntries(ORDER.map((name) => [name, items.filter((item) => verdict(item) === name).length]));
    const over = items.filter(isOver).length;
    this.summary.textContent = [t("list.done", { n: over, of: items.length }), ...ORDER.filter((name) => counts[name] && name !== "waiting" && name !== "running").map((name) => `${counts[name]} ${t(`verdict.${name}`)}`)].join(" · ");
    Object.assign(this.bar, { max: Math.max(items.length, 1), value: over + items.reduce((sum, item) => sum + (item.status === "running" && item.of ? item.done / item.of : 0), 0) });
    const busy = over < items.length;
    this.bar.hidden = this.buttons.cancel.hidden = !busy;
    this.buttons.retry.hidden = busy || !(counts.failed || counts.cancelled);
    this.buttons.compare.disabled = this.#chosenItems().length !== 2;
    this.buttons.clear.hidden = busy;
    for (const option of this.select.options) option.textContent = option.value === "all" ? t("filter.all", { n: items.length }) : `${capital(t(`verdict.${option.value}`))} (${counts[option.value]})`;
    this.select.value = this.filter;
    if (busy) this.said = false;
    else if (!this.said && items.length) { this.said = true; announce(`${t("list.over")} ${this.summary.textContent}.`); }
    this.#tellWhatIf();
  }

  #tellWhatIf() {
    const value = this.whatif.value / 100;
    const { tumor, of } = countAt(this.queue.items.filter((item) => item.answer).map((item) => item.answer), value);
    this.whatif.setAttribute("aria-valuetext", percent(value));
    this.whatifSaid.textContent = t("list.whatif.said", { value: percent(value), n: tumor, of });
  }

  #chosenItems() {
    return this.queue.items.filter((item) => this.chosen.has(item) && item.status === "done");
  }

  #sayShown() {
    announce(t("list.shown", { n: this.shown().length }));
  }

  #sortBy(name) {
    if (this.sorted !== name) [this.sorted, this.down] = [name, name === "prob"];
    else if (this.down === (name === "prob")) this.down = !this.down;
    else [this.sorted, this.down] = [null, false];
    this.refresh();
    announce(this.sorted ? t(this.down ? "list.sorted.down" : "list.sorted.up", { column: t(`column.${name}`) }) : t("list.unsorted"));
  }

  #row(item) {
    const row = el("tr", { "data-id": item.id });
    this.rows.set(item, row);
    this.#fill(row, item);
    return row;
  }

  #fill(row, item) {
    const name = verdict(item);
    const key = [name, item.kind, item.done, item.of, item.busy, item.thumb ? 1 : 0].join(" ");
    if (row.dataset.key === key) return;
    const focused = row.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    Object.assign(row.dataset, { key, verdict: name });
    const choose = el("input", { type: "checkbox", "data-act": "choose", checked: this.chosen.has(item), disabled: item.status !== "done", "aria-label": t("list.choose", { name: item.name }), onchange: () => {
      if (choose.checked) this.chosen.add(item);
      else this.chosen.delete(item);
      this.refresh();
    } });
    const opened = isOver(item) && item.status !== "cancelled";
    row.replaceChildren(
      el("td", { class: "cell-choose" }, choose),
      el("td", { class: "cell-thumb" }, item.thumb ?? el("span", { class: "thumb blank", "aria-hidden": "true" })),
      el("th", { scope: "row", class: "cell-name" }, opened ? el("button", { type: "button", class: "link", "data-act": "open", textContent: item.name, onclick: () => this.act.open(item) }) : item.name),
      el("td", { class: "cell-kind", textContent: t(`kind.${item.kind}`) }),
      el("td", { class: "cell-decision" }, el("span", { class: `tag ${name}`, textContent: t(`verdict.${name}`) })),
      el("td", { class: "cell-prob number", textContent: item.status === "done" && item.answer.prob !== null ? probability(item.answer.prob) : "" }),
      el("td", { class: "cell-facts" }, ...facts(item)));
    if (focused) row.querySelector(`[data-act=${focused}]`)?.focus();
  }
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The last column: the largest finding, the reason for no answer, or the progress. */
function facts(item) {
  if (item.status === "running") {
    const text = item.busy ? t("list.busy") : item.of ? t("list.slices", { n: item.done, of: item.of }) : t("list.sent");
    return [el("span", { class: "muted", textContent: text })];
  }
  if (item.status === "refused") return [problem(item.problem ?? {}, item.error?.slug ?? (item.problem?.type ?? "").split("/").pop()).title, " ", el("span", { class: "muted small", textContent: detailOf(item) })];
  if (item.status === "failed") return [t(item.problem ? "list.failed.server" : "list.failed")];
  if (item.status !== "done") return [""];
  const { answer } = item;
  const sequence = known(`sequence.${answer.sequence}`) && answer.sequence !== "unknown" ? t(`sequence.${answer.sequence}`) : "";
  const plane = answer.plane ? t(`plane.${answer.plane}`) : "";
  const slices = answer.slices ? t("list.of", { n: number(answer.slices.length) }) : "";
  const finding = answer.findings?.[0];
  return [el("span", { class: "muted", textContent: [plane, sequence, slices].filter(Boolean).join(" · ") }), finding ? el("span", { class: "line", textContent: factsOf(finding) }) : ""];
}

function detailOf(item) {
  const text = item.problem?.detail ?? "";
  return (item.problem?.type ?? "").endsWith("not-brain-mri") ? reason(text).text : "";
}

const VALUES = {
  name: (item) => item.name,
  kind: (item) => item.kind,
  decision: (item) => ORDER.indexOf(verdict(item)),
  prob: (item) => item.answer?.prob ?? null,
  facts: (item) => item.answer?.findings?.[0]?.volume_ml ?? null,
};
