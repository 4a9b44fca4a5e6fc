// The panel beside a scan: the answer, what it means, what was read, and what to take along.

import { el } from "./dom.js";
import { gauge, hundred } from "./gauge.js";
import { known, number, percent, probability, t } from "./i18n.js";
import { reason, setAside, uncertainty } from "./reasons.js";
import { takeAlong } from "./takeaway.js";

/** Fill `place` with the answer of an item. `act` has `go(index)`, `again()`, `viewer`, `card`. */
export function showAnswer(place, item, act) {
  const { answer } = item;
  const series = item.kind === "series";
  place.dataset.decision = answer.decision;
  place.replaceChildren(
    el("p", { class: "eyebrow", textContent: t("result.eyebrow") }),
    el("h1", { id: "headline", tabIndex: -1, textContent: t(`headline.${answer.decision}`) }),
    el("p", { class: "lead", id: "lead", textContent: t(`lead.${answer.decision}${series ? ".series" : ""}`) }),
    ...(answer.decision === "uncertain" ? [because(uncertainty(answer, act.card))] : []),
    ...(answer.prob === null ? [] : [gauge(answer, item.kind)]),
    ...(series ? [findings(answer, act.go), aside(answer)] : [hundred(answer)]),
    asRead(item),
    details(item),
    takeAlong(item, act),
    el("p", { class: "reminder", id: "disclaimer" }, t("banner.strong"), " ", t("footer.stored")),
    el("button", { type: "button", class: "button primary", "data-action": "again", onclick: act.again, textContent: t("again") }),
  );
}

const because = ({ text, todo }) => el("div", { class: "because", id: "because" }, el("p", { textContent: text }), el("p", { class: "todo", textContent: todo }));

function findings(answer, go) {
  if (!answer.findings.length) return el("p", { class: "muted", id: "no-findings", textContent: t("findings.none") });
  return el("div", { class: "findings" }, el("h2", { textContent: t("findings.title") }),
    el("ol", { id: "findings" }, ...answer.findings.map((finding, n) => el("li", {},
      el("button", { type: "button", class: "finding", "data-finding": n, onclick: () => go(finding.peak) },
        el("span", { class: "finding-head" }, el("strong", { textContent: t("finding.name", { n: n + 1 }) }),
          el("span", { textContent: t("finding.slices", { first: finding.first + 1, last: finding.last + 1 }) })),
        el("span", { class: "finding-facts", textContent: factsOf(finding) }))))),
    el("p", { class: "muted small", textContent: t("findings.measures") }));
}

export function factsOf(finding) {
  return [
    t(`side.${finding.laterality}`), t("measure.mm", { n: number(finding.diameter_mm, 0) }),
    t("measure.ml", { n: number(finding.volume_ml, 1) }), t("measure.mm2", { n: number(finding.area_mm2, 0) }), probability(finding.prob),
  ].join(" · ");
}

function aside(answer) {
  const groups = setAside(answer.slices);
  if (!groups.length) return "";
  const n = groups.reduce((sum, each) => sum + each.n, 0);
  return el("details", { class: "more", id: "aside" }, el("summary", { textContent: t("aside.title", { n, of: answer.slices.length }) }),
    el("ul", { class: "plain" }, ...groups.map((each) => el("li", {}, el("strong", { textContent: `${each.n} × ` }), each.text, " ", el("span", { class: "muted block", textContent: each.todo })))));
}

/** Sequence, plane and geometry as they were read. */
function asRead(item) {
  const { answer, study } = item;
  const rows = [[t("read.sequence"), known(`sequence.${answer.sequence}`) ? t(`sequence.${answer.sequence}`) : answer.sequence]];
  if (item.kind === "series") {
    const { shape, spacing_mm: spacing, slice_mm: slice, oriented } = answer.geometry;
    const answered = answer.slices.filter((each) => each.set_aside === null).length;
    rows.push(
      [t("read.plane"), t(`plane.${answer.plane}`)],
      [t("read.slices"), t("read.slices.value", { answered, of: answer.slices.length, mm: number(slice, 1) })],
      [t("read.voxels"), `${shape.join(" × ")} · ${spacing.map((each) => number(each, 2)).join(" × ")} mm`],
      [t("read.orientation"), t(oriented ? "read.oriented" : "read.unoriented")]);
  } else {
    rows.push([t("read.size"), study ? `${study.width} × ${study.height}` : "–"],
      [t("read.pixel"), study?.pixel_mm ? t("measure.mm", { n: number(study.pixel_mm, 2) }) : t("read.unknown")]);
  }
  const remarks = answer.remarks ?? [];
  return el("details", { class: "more", id: "as-read" }, el("summary", { textContent: t("read.title") }), list(rows),
    remarks.length ? el("ul", { class: "plain muted small", lang: "en" }, ...remarks.map((text) => el("li", { textContent: text }))) : "");
}

function details(item) {
  const { answer } = item;
  const members = answer.prediction_set.map((label) => t(`label.${label}`));
  return el("details", { class: "more", id: "details" }, el("summary", { textContent: t("details.title") }), list([
    [t("details.label"), el("span", { id: "label", textContent: answer.label ? t(`label.${answer.label}`) : "–" })],
    [t("details.set"), el("span", { id: "set", textContent: members.length ? members.join(t("details.or")) : t("details.none") })],
    [t("details.model"), `${answer.model.name} ${answer.model.version}`],
    ["SHA-256", el("span", { class: "mono", id: "model-hash", textContent: answer.model.sha256 })],
    [t("details.time"), `${number(answer.latency_ms)} ms`],
    [t("details.request"), el("span", { class: "mono", id: "request-id", textContent: answer.request_id })],
  ]));
}

const list = (rows) => el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", {}, value)]));

/** What a slice is, in words: for the slider and for screen readers. */
export function describeSlice(item, index) {
  const { answer } = item;
  const each = answer.slices?.[index];
  if (!each) return t("slice.said", { n: index + 1, of: item.study?.slices ?? 1 });
  const state = each.set_aside ? t("slice.aside", { reason: reason(each.set_aside).text }) : t("slice.prob", { value: percent(each.prob) });
  return `${t("slice.said", { n: index + 1, of: answer.slices.length })}, ${state}`;
}

/** The line under the slices: position, probability, or why the slice was set aside. */
export function sliceLine(item, index) {
  const each = item.answer.slices?.[index];
  if (!each) return "";
  const state = each.set_aside ? reason(each.set_aside).text : `${probability(each.prob)} · ${t(`slice.decision.${each.decision}`)}`;
  return `${t("slice.position", { n: index + 1, mm: number(each.position_mm, 1) })} · ${state}`;
}
