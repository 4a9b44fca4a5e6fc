// The page of TumorLens: a picture, a series or a list of many, sent to this server and shown. No
// library, and no request to any other address.

import { describeSlice, showAnswer, sliceLine } from "./answer.js";
import { Silence, getCard, setKey } from "./api.js";
import { showCard } from "./card.js";
import { Compare } from "./compare.js";
import { curve } from "./curve.js";
import { announce, byId, el } from "./dom.js";
import { megabytes, onLanguage, probability, startLanguage, t } from "./i18n.js";
import { Queue, isOver } from "./queue.js";
import { problem } from "./reasons.js";
import { listen, toItems } from "./upload.js";
import { Viewer } from "./viewer.js";
import { Worklist } from "./worklist.js";

const main = byId("work");
const EXAMPLES = { lesion: "lesion.png", healthy: "healthy.png", series: "series.nii.gz" };

let card = null; // GET /model, or null while unknown
let current = null; // the item on the screen
let preview = null; // object URL of the file as the browser shows it
let marks = null; // the curve of the series on the screen

const queue = new Queue(changed);
const viewer = new Viewer(byId("viewer"));
const list = new Worklist(byId("list"), queue, { open, add: () => byId("file").click(), compare, retry: () => queue.retry(), cancel: () => queue.cancel(), clear: again });
const comparison = new Compare(byId("compare-view"), queue);
const under = el("div", { class: "under" }, el("p", { class: "slice-line", id: "slice-line" }), el("div", { id: "curve-place" }));
byId("viewer").insertBefore(under, byId("viewer").querySelector(".controls"));

// ---- states

function show(state, focusOn) {
  if (main.dataset.state === "compare" && state !== "compare") comparison.close();
  main.dataset.state = state;
  if (state !== "result") {
    leaveViewer();
    document.querySelector(".still").hidden = false;
    byId("plain-note").hidden = true;
  }
  byId("to-list").hidden = queue.items.length < 2;
  byId("file-name").textContent = state === "compare" ? "" : (current?.name ?? "");
  showNeighbours(state);
  if (focusOn) byId(focusOn)?.focus({ preventScroll: false });
}

function leaveViewer() {
  if (viewer.study && current) current.shown = false;
  viewer.clear();
}

/** The finished items before and after the current one, in the order of the list. */
function neighbours() {
  const over = list.shown().filter((item) => isOver(item) && item.status !== "cancelled");
  const at = over.indexOf(current);
  return [over[at - 1], over[at + 1]];
}

function showNeighbours(state) {
  const several = queue.items.length > 1 && state !== "compare";
  const [before, after] = several ? neighbours() : [];
  Object.assign(byId("previous"), { hidden: !several, disabled: !before });
  Object.assign(byId("next"), { hidden: !several, disabled: !after });
}

function showPreview(item) {
  if (preview) URL.revokeObjectURL(preview);
  preview = null;
  const image = byId("preview");
  image.hidden = true;
  byId("no-picture").hidden = item.status === "running";
  if (item.kind !== "picture") return;
  preview = URL.createObjectURL(item.files[0]);
  image.alt = t("preview.alt");
  image.onload = () => { image.hidden = false; byId("no-picture").hidden = true; };
  image.onerror = () => { image.hidden = true; }; // DICOM and TIFF are drawn by the server
  image.src = preview;
}

// ---- from files to answers

async function take(files) {
  show("reading");
  byId("reading-text").textContent = t("reading.sorting");
  byId("reading-progress").removeAttribute("value");
  announce(t("reading.title"));
  const limits = card && { files: card.limits.series_max_files, bytes: 8 * card.limits.batch_max_bytes };
  const items = await toItems(files, limits ?? undefined);
  if (!items.length) { refuse({ problem: { title: t("refused.nothing"), detail: t("refused.nothing.detail") } }); return; }
  const first = queue.items.length === 0;
  if (!first || items.length > 1) await ensureCard();
  queue.add(items);
  if (first && items.length === 1) await analyse(items[0]);
  else { queue.start(); showList(); }
}

async function analyse(item) {
  current = item;
  showPreview({ ...item, status: "running" });
  show("reading");
  tellProgress(item);
  announce(t("reading.title"));
  await ensureCard();
  await queue.run(item);
  if (current === item && main.dataset.state === "reading") settle(item);
}

/** Show what became of an item. */
function settle(item) {
  if (item.status === "done") present(item);
  else if (item.status === "refused") refuse(item);
  else if (item.status === "failed") item.error?.status === 401 ? refuse(item) : offline(item);
  else if (queue.items.length > 1) showList();
  else again();
}

async function open(item) {
  current = item;
  if (item.status === "done" && !item.study && (item.kind === "series" || card?.has_map)) {
    await analyse(item); // its pixels were dropped to save memory
    return;
  }
  settle(item);
}

function changed(item) {
  list.changed(item);
  if (item === current && item.status === "running" && main.dataset.state === "reading") tellProgress(item);
  if (item.status !== "running" && main.dataset.state !== "list") showNeighbours(main.dataset.state);
}

function tellProgress(item) {
  const bar = byId("reading-progress");
  if (item.of) bar.value = item.done / item.of;
  else bar.removeAttribute("value");
  byId("reading-text").textContent = item.busy ? t("list.busy") : item.of ? t("list.slices", { n: item.done, of: item.of }) : t(`reading.${item.kind}`);
}

async function ensureCard() {
  if (card) return;
  try {
    card = queue.card = await getCard();
  } catch {
    card = null; // the first upload will say that the server does not respond
  }
  if (!card) return;
  const chip = byId("model-chip");
  chip.textContent = `${card.name} ${card.version} · ${card.sha256.slice(0, 8)}`;
  chip.title = t("card.open");
  if (card.site) chip.title += ` · ${t("card.site")}: ${card.site.date}`;
  chip.hidden = false;
}

// ---- showing an item

function present(item, focus = true) {
  current = item;
  const series = item.kind === "series";
  const plain = !item.study;
  byId("viewer").hidden = plain;
  document.querySelector(".still").hidden = !plain;
  if (plain) showPreview(item);
  byId("plain-note").hidden = !plain;
  show("result");
  marks = null;
  byId("curve-place").replaceChildren();
  byId("slice-line").hidden = !series;
  if (item.study) {
    item.shown = true;
    viewer.describe = (index) => describeSlice(item, index);
    viewer.onslice = (index) => { marks?.show(index); byId("slice-line").textContent = sliceLine(item, index); };
    if (series) {
      marks = curve(item.answer, item.study, (index) => viewer.jump(index));
      byId("curve-place").append(marks.element, el("p", { class: "curve-note", textContent: t("curve.note") }));
    }
    viewer.show(item.study, item.first ?? 0);
  }
  fillAnswer(item);
  if (!focus) return;
  byId("headline").focus();
  const { answer } = item;
  announce(`${t(`headline.${answer.decision}`)}. ${answer.prob === null ? "" : `${t(`gauge.${item.kind}`)}: ${probability(answer.prob)}. `}${t("banner.strong")}`);
}

function fillAnswer(item) {
  showAnswer(byId("result"), item, { go: goTo, again, viewer, card });
}

function goTo(index) {
  viewer.jump(index);
  announce(viewer.describe(index));
}

function refuse(item) {
  const found = problem(item.problem ?? {}, item.error?.slug ?? (item.problem?.type ?? "").split("/").pop());
  const { size, most } = item.error ?? {};
  byId("refused-title").textContent = found.title;
  byId("refused-detail").textContent = size ? t("refused.size", { size: megabytes(size), most: megabytes(most) }) : found.detail;
  byId("refused-advice").textContent = found.todo;
  byId("refused-advice").hidden = !found.todo;
  byId("refused-id").textContent = item.problem?.request_id ? t("refused.request", { id: item.problem.request_id }) : "";
  byId("key-form").hidden = item.error?.status !== 401;
  if (item.files) showPreview(item);
  else byId("no-picture").hidden = false;
  show("refused", "refused-title");
  announce(`${t("refused.eyebrow")}. ${found.title}. ${byId("refused-detail").textContent}`);
}

function offline(item) {
  const silent = item.error instanceof Silence || !item.problem;
  const busy = item.error?.status === 503 || item.error?.status === 429;
  byId("offline-eyebrow").textContent = t(silent ? "offline.eyebrow" : "offline.eyebrow.server");
  byId("offline-title").textContent = t(silent ? "offline.title" : busy ? "offline.busy" : "offline.error");
  byId("offline-detail").textContent = silent ? t("offline.detail")
    : [item.problem?.detail, item.error?.wait ? t("offline.wait", { n: item.error.wait }) : ""].filter(Boolean).join(" ");
  showPreview(item);
  show("offline", "offline-title");
  announce(`${byId("offline-title").textContent}. ${byId("offline-detail").textContent}`);
}

function showList() {
  current = null;
  show("list");
  list.build();
  byId("list-title").focus();
}

function compare(first, second = first) {
  show("compare");
  comparison.open(first, second);
  byId("compare-title").focus();
}

function again() {
  queue.cancel();
  for (const item of [...queue.items]) queue.remove(item);
  current = null;
  list.chosen.clear();
  show("empty");
  byId("file").focus();
  announce(t("again.said"));
}

// ---- what a person does

async function tryExample(kind) {
  const name = EXAMPLES[kind];
  try {
    const answer = await fetch(`examples/${name}`);
    await take([new File([await answer.blob()], `${t(`examples.${kind}.file`)}.${name.replace(/^\w+\./, "")}`)]);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    offline({ kind: "series", error: new Silence() });
  }
}

const openCard = async (event) => {
  await ensureCard();
  if (!card) return; // the link then shows the card as it is
  event.preventDefault();
  showCard(byId("card"), card);
};
byId("model-chip").addEventListener("click", openCard);
byId("card-link").addEventListener("click", (event) => { if (card) openCard(event); });
byId("card").addEventListener("click", (event) => { if (event.target === byId("card")) byId("card").close(); });
byId("cancel").addEventListener("click", () => { current?.abort?.abort("cancelled"); if (queue.items.length > 1) showList(); else again(); });
byId("retry").addEventListener("click", () => (current ? analyse(current) : again()));
byId("to-list").addEventListener("click", showList);
byId("add").addEventListener("click", () => byId("file").click());
byId("compare").addEventListener("click", () => {
  const done = queue.items.filter((item) => item.status === "done" && item !== current);
  compare(current, done[0] ?? current);
});
byId("previous").addEventListener("click", () => { const [before] = neighbours(); if (before) open(before); });
byId("next").addEventListener("click", () => { const [, after] = neighbours(); if (after) open(after); });
for (const button of document.querySelectorAll(".refused [data-action=again], .offline [data-action=again]")) {
  button.addEventListener("click", () => (queue.items.length > 1 ? showList() : again()));
}
for (const button of document.querySelectorAll("[data-example]")) button.addEventListener("click", () => tryExample(button.dataset.example));
byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setKey(byId("key").value.trim());
  await ensureCard();
  if (!current) return;
  if (queue.items.length > 1) { queue.retry(); showList(); } else await analyse(current);
});
onLanguage(() => {
  const state = main.dataset.state;
  if (state === "result") fillAnswer(current);
  if (state === "result" && marks) present(current, false);
  if (state === "list") list.build();
  if (state === "refused" && current) refuse(current);
  if (state === "offline" && current) offline(current);
});

startLanguage(byId("language"));
listen({ inputs: [byId("file"), byId("folder")], veil: byId("veil"), take });
performance.mark("interactive"); // for benchmarks: from here on the page takes scans
ensureCard().then(() => { document.documentElement.dataset.ready = "true"; });
