// The model's card as a panel to read: what it is for, how it was tested, where it fails.

import { el } from "./dom.js";
import { known, number, percent, t } from "./i18n.js";

const SHOWN = ["roc_auc", "sensitivity", "specificity", "precision", "balanced_accuracy", "accuracy", "f1", "mcc", "brier", "ece_width"];

/** Fill the dialog with a card and open it. */
export function showCard(dialog, card) {
  const close = el("button", { type: "button", class: "button small", id: "card-close", textContent: t("card.close"), onclick: () => dialog.close() });
  dialog.replaceChildren(el("div", { class: "card-head" }, el("h2", { id: "card-title", tabIndex: -1, textContent: `${card.name} ${card.version}` }), close),
    el("div", { class: "card-body" },
      el("p", { class: "reminder" }, el("strong", { textContent: t("banner.strong") }), " ", t("banner.rest")),
      el("p", { lang: "en", textContent: card.intended_use }),
      facts(card), results(card), domain(card),
      card.limitations.length ? section("card.limitations", el("ul", { lang: "en" }, ...card.limitations.map((text) => el("li", { textContent: text })))) : "",
      card.data.length ? section("card.data", el("ul", { lang: "en" }, ...card.data.map(({ source, n, licence, citation }) => el("li", { textContent: `${source}: ${number(n)} (${licence})${citation ? ` · ${citation}` : ""}` })))) : "",
      el("p", { class: "muted small" }, el("a", { href: "model", textContent: t("card.json") }))));
  dialog.showModal();
  dialog.scrollTop = 0;
}

const section = (title, ...content) => el("section", {}, el("h3", { textContent: t(title) }), ...content);

function facts(card) {
  const rows = [
    ["card.created", card.created], ["SHA-256", el("span", { class: "mono", textContent: card.sha256 })],
    ["card.network", card.architecture], ["card.input", `${card.preprocess?.size ?? "–"} × ${card.preprocess?.size ?? "–"}`],
    ["card.threshold", [percent(card.threshold.value, 1), " ", el("span", { class: "muted", lang: "en", textContent: card.threshold.origin })]],
    ["card.series", card.series ? el("span", { lang: "en", textContent: card.series.origin }) : t("card.series.none")],
    ["card.error", card.conformal?.length ? percent(card.conformal[0].alpha) : "–"], ["card.licence", card.licence],
  ];
  if (card.site) rows.push(["card.site", `${card.site.date}: ${card.site.kind}${card.site.n ? `, ${card.site.n}` : ""}`]);
  return el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", { textContent: known(name) ? t(name) : name }), el("dd", {}, ...[value].flat())]));
}

function results(card) {
  const test = card.metrics.filter((each) => each.split === "test");
  const parts = card.metrics.filter((each) => each.split !== "test" && SHOWN.slice(0, 3).includes(each.name));
  if (!card.metrics.length) return section("card.results", el("p", { class: "muted", textContent: t("card.noresults") }));
  const order = (each) => SHOWN.indexOf(each.name);
  const main = test.filter((each) => order(each) >= 0).sort((a, b) => order(a) - order(b));
  return section("card.results", el("p", { class: "muted small", textContent: t("card.results.text") }),
    table(["card.metric", "card.value", "card.interval", "n"], main.map((each) => [metric(each.name), number(each.value, 3), interval(each), number(each.n)]), "card-results"),
    parts.length ? el("details", { class: "more" }, el("summary", { textContent: t("card.parts") }),
      table(["card.part", "card.metric", "card.value", "card.interval", "n"], parts.map((each) => [each.split, metric(each.name), number(each.value, 3), interval(each), number(each.n)]))) : "");
}

function domain(card) {
  const checks = [...(card.ood?.checks ?? []), ...(card.brain?.checks ?? [])];
  if (!checks.length) return "";
  return section("card.domain", el("p", { class: "muted small", textContent: t("card.domain.text") }),
    table(["card.images", "card.refused", "card.interval", "n"], checks.map((each) => [el("span", { lang: "en", textContent: each.images }), percent(each.refused, 1), `${percent(each.low, 1)} – ${percent(each.high, 1)}`, number(each.n)])));
}

const metric = (name) => (known(`metric.${name}`) ? t(`metric.${name}`) : name);
const interval = ({ low, high }) => `${number(low, 3)} – ${number(high, 3)}`;

function table(heads, rows, id) {
  return el("div", { class: "table-box", tabIndex: 0, role: "region", "aria-label": t("card.table") }, el("table", { class: "plain-table", ...(id ? { id } : {}) },
    el("thead", {}, el("tr", {}, ...heads.map((name) => el("th", { scope: "col", textContent: known(name) ? t(name) : name })))),
    el("tbody", {}, ...rows.map(([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((value) => el("td", { class: "number" }, value)))))));
}
