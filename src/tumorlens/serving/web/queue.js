// The scans of this tab: sent a few at a time, each with its state. Nothing outlives the tab.

import { Refusal, Silence, explain, explainSeries, patiently } from "./api.js";
import { drawThumbnail } from "./thumbnail.js";
import { Study } from "./study.js";

const AT_ONCE = 2, KEPT_SERIES = 3; // series whose pixels stay; others are read again when opened

export const isOver = (item) => item.status !== "waiting" && item.status !== "running";

export class Queue {
  constructor(onchange) {
    Object.assign(this, { items: [], card: null, onchange, running: 0, recent: [] });
  }

  add(items) {
    this.items.push(...items);
    for (const item of items) this.onchange(item);
  }

  remove(item) {
    item.abort?.abort("removed");
    this.items = this.items.filter((each) => each !== item);
  }

  /** Send what waits. */
  start() {
    while (this.running < AT_ONCE) {
      const next = this.items.find((each) => each.status === "waiting");
      if (!next) return;
      this.running += 1;
      this.run(next).finally(() => { this.running -= 1; this.start(); });
    }
  }

  cancel() {
    for (const item of this.items) {
      if (item.status === "waiting") this.#set(item, { status: "cancelled" });
      else if (item.status === "running") item.abort.abort("cancelled");
    }
  }

  retry(wanted = ["failed", "cancelled"]) {
    for (const item of this.items) if (wanted.includes(item.status)) this.#set(item, { status: "waiting", error: null, problem: null });
    this.start();
  }

  /** Send one item and wait for its answer. Errors become its state. */
  async run(item) {
    const abort = new AbortController();
    this.#set(item, { status: "running", abort, done: 0, of: 0, error: null, problem: null });
    try {
      this.#checkSize(item);
      const waiting = () => this.#set(item, { busy: true });
      await patiently(() => this.#ask(item, abort.signal), abort.signal, waiting);
    } catch (error) {
      if (error instanceof Refusal && error.slug === "unsupported-format" && item.kind === "series" && item.files.length > 1) {
        return this.#split(item);
      }
      this.#fail(item, error, abort.signal);
    }
    return item;
  }

  // DICOM files that do not say which series they are of, and are none: pictures after all.
  #split(item) {
    const [first, ...rest] = item.files;
    const nameOf = (file) => file.path || file.webkitRelativePath || file.name;
    const made = rest.map((file, n) => ({ id: item.id + (n + 1) / 10_000, kind: "picture", name: nameOf(file), files: [file], size: file.size, status: "waiting" }));
    Object.assign(item, { kind: "picture", name: nameOf(first), files: [first] });
    this.items.splice(this.items.indexOf(item) + 1, 0, ...made);
    for (const each of made) this.onchange(each);
    return this.run(item).finally(() => this.start());
  }

  /** Make sure that a finished item has its pixels; asks the server again where they were dropped. */
  async pixels(item) {
    if (item.study || item.status !== "done" || (item.kind === "picture" && !this.card?.has_map)) return item;
    return this.run(item);
  }

  async #ask(item, signal) {
    if (item.kind === "picture") {
      const answer = await explain(item.files[0], this.card?.has_map ?? true, signal);
      const study = answer.scan ? Study.picture(answer) : null;
      for (const name of ["scan", "heatmap", "evidence"]) delete answer[name];
      await this.#finish(item, answer, study, 0);
      return;
    }
    let study = null;
    const part = item.part ?? 0;
    const ends = await explainSeries(item.files, part, {
      view: (view) => { study = new Study(view); },
      slice: (slice) => study.add(slice),
      progress: (done, of) => this.#set(item, { done, of, busy: false }),
    }, signal);
    if (item.part === undefined && ends.length > 1) this.#others(item, ends.slice(1));
    const { prediction, problem } = ends[part];
    if (problem) throw new Refusal(problem.status, problem);
    study.setFindings(prediction.findings);
    this.#keep(item);
    await this.#finish(item, prediction, study, keySlice(prediction));
  }

  async #finish(item, answer, study, index) {
    const thumb = study ? await drawThumbnail(study, index) : null;
    if (study) { study.decoded.clear(); study.bytes = 0; }
    this.#set(item, { status: "done", answer, study, thumb, first: index, busy: false });
  }

  // One file may hold several series: the others become items of their own.
  #others(item, ends) {
    const made = ends.map(({ prediction, problem }, n) => ({
      id: item.id + (n + 1) / 1000, kind: "series", name: `${item.name} #${n + 2}`, files: item.files, part: n + 1, several: true, size: item.size,
      status: prediction ? "done" : "refused", answer: prediction, problem, thumb: null, study: null, first: prediction ? keySlice(prediction) : 0,
    }));
    Object.assign(item, { part: 0, several: true }); // a report takes one series alone
    this.items.splice(this.items.indexOf(item) + 1, 0, ...made);
    for (const each of made) this.onchange(each);
  }

  #keep(item) {
    this.recent = [...this.recent.filter((each) => each !== item), item];
    for (const old of this.recent.splice(0, this.recent.length - KEPT_SERIES)) if (!old.shown) old.study = null;
  }

  #checkSize(item) {
    const limits = this.card?.limits;
    if (!limits) return;
    const most = item.kind === "series" ? limits.batch_max_bytes : limits.max_upload_bytes;
    const size = item.files.reduce((sum, file) => sum + file.size, 0);
    if (size <= most && item.files.length <= limits.series_max_files) return;
    throw Object.assign(new Refusal(413, { type: "/problems/too-large" }), { size, most });
  }

  #fail(item, error, signal) {
    const refused = error instanceof Refusal;
    const state = { busy: false, error, problem: refused ? error.problem : null };
    if (signal.aborted) this.#set(item, { ...state, status: "cancelled" });
    else if (refused && error.status < 500 && ![401, 429].includes(error.status)) this.#set(item, { ...state, status: "refused" });
    else if (refused || error instanceof Silence) this.#set(item, { ...state, status: "failed" });
    else {
      this.#set(item, { ...state, status: "failed" });
      throw error; // a fault of this page: the console has it
    }
  }

  #set(item, change) {
    Object.assign(item, change);
    this.onchange(item);
  }
}

/** The slice to show first: the peak of the largest finding, or the most suspicious one. */
export function keySlice(answer) {
  if (answer.findings.length) return answer.findings[0].peak;
  const answered = answer.slices.filter((each) => each.prob !== null);
  if (!answered.length) return Math.floor(answer.slices.length / 2);
  return answered.reduce((best, each) => (each.prob > best.prob ? each : best)).index;
}
