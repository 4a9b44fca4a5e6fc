// The probability on its scale, and the threshold as a line to drag: "what would 0.5 say?"

import { el, svg } from "./dom.js";
import { percent, probability, t } from "./i18n.js";

/** Build the gauge of an answer. */
export function gauge(answer, subject) {
  const mark = answer.threshold * 1000;
  const bar = svg("svg", { class: "gauge-bar", viewBox: "0 0 1000 44", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "gauge-track", x: 0, y: 12, width: 1000, height: 20, rx: 10 }),
    svg("rect", { class: "gauge-fill", x: 0, y: 12, width: Math.max(12, answer.prob * 1000), height: 20, rx: 10 }),
    svg("rect", { class: "gauge-mark", x: mark - 2, y: 2, width: 4, height: 40, rx: 2 }));
  const said = el("output", { class: "whatif-said", id: "whatif-said" });
  const line = el("input", { type: "range", id: "whatif", class: "whatif", min: 1, max: 99, step: 1, value: Math.round(answer.threshold * 100), "aria-label": t("whatif.label"), "aria-describedby": "whatif-said" });
  const back = el("button", { type: "button", class: "link", hidden: true, onclick: reset, textContent: t("whatif.reset") });
  const tell = () => {
    const value = Number(line.value) / 100;
    const moved = Math.abs(value - answer.threshold) >= 0.005;
    back.hidden = !moved;
    said.classList.toggle("moved", moved);
    line.setAttribute("aria-valuetext", percent(value));
    said.textContent = moved ? whatIf(answer, value) : t("whatif.hint");
  };
  function reset() {
    line.value = Math.round(answer.threshold * 100);
    tell();
    line.focus();
  }
  line.addEventListener("input", tell);
  tell();
  return el("div", { class: "gauge" },
    el("div", { class: "gauge-head" }, el("span", { textContent: t(`gauge.${subject}`) }),
      el("strong", { id: "probability", "data-value": answer.prob, textContent: probability(answer.prob) })),
    el("div", { class: "gauge-box" }, bar, line),
    el("p", { class: "gauge-foot", id: "threshold-text", textContent: t("threshold.text", { value: percent(answer.threshold) }) }),
    el("p", { class: "origin muted small", lang: "en", textContent: answer.threshold_origin }),
    el("p", { class: "whatif-text" }, said, " ", back));
}

function whatIf(answer, value) {
  const label = answer.prob >= value ? "tumor" : "healthy";
  const same = label === answer.label ? "same" : "other";
  return t(`whatif.${same}`, { value: percent(value), label: t(`label.${label}`) });
}

/** What many answers would say at a threshold: `{ tumor, of }`. */
export function countAt(answers, value) {
  const known = answers.filter((each) => typeof each.prob === "number");
  return { tumor: known.filter((each) => each.prob >= value).length, of: known.length };
}

/** A hundred dots, as many filled as scans of a hundred show a tumour. */
export function hundred(answer) {
  const percents = answer.prob * 100;
  const filled = Math.round(percents);
  const dots = Array.from({ length: 100 }, (_, n) =>
    svg("circle", { cx: 5 + (n % 20) * 10, cy: 5 + Math.floor(n / 20) * 10, r: 3.4, class: n < filled ? "dot on" : "dot" }));
  return el("div", { class: "hundred" }, svg("svg", { id: "dots", viewBox: "0 0 200 50", "aria-hidden": "true" }, ...dots),
    el("p", { id: "frequency", textContent: inWords(percents) }));
}

function inWords(percents) {
  if (percents < 0.5) return t("frequency.none");
  if (percents > 99.5) return t("frequency.all");
  const share = Math.min(99, Math.max(1, Math.round(percents)));
  return t(share === 1 ? "frequency.one" : "frequency.some", { share, rest: 100 - share });
}
