// What can be taken along: picture, table, record, report, and the commands that do the same.

import { fetchReport, hasKey } from "./api.js";
import { announce, copy, download, el } from "./dom.js";
import { probability, t } from "./i18n.js";
import { problem } from "./reasons.js";

const DISCLAIMER = "Research tool, not a medical device: not for clinical use.";
const PICTURES = ["scan", "heatmap", "evidence"];

/** The buttons and snippets below an answer. */
export function takeAlong(item, act) {
  const said = el("p", { class: "muted small", role: "status", id: "take-said" });
  const button = (name, work) => el("button", { type: "button", class: "button small", "data-take": name, textContent: t(`take.${name}`), onclick: async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    said.textContent = name === "report" ? t("take.writing") : "";
    try { said.textContent = (await work()) ?? ""; } finally { pressed.disabled = false; }
  } });
  const kinds = act.viewer.study ? [button("png", () => savePng(item, act.viewer))] : [];
  return el("section", { class: "take", "aria-labelledby": "take-title" }, el("h2", { id: "take-title", textContent: t("take.title") }),
    el("div", { class: "button-row" }, ...kinds,
      button("csv", () => download(`${stem(item)}.csv`, itemCsv(item), "text/csv")),
      button("json", () => download(`${stem(item)}.json`, JSON.stringify(record(item), null, 2), "application/json")),
      ...(item.kind === "series" && !item.several ? [button("report", () => saveReport(item))] : [])),
    said, snippets(item));
}

/** A file name that tells a patient's from the next, without what file systems refuse. */
const stem = (item) => `tumorlens-${item.name.split("/").pop().replace(/\.(nii\.gz|[a-z0-9]{2,4})$/i, "").replace(/[^\p{L}\p{N}._-]+/gu, "_").slice(0, 60) || "scan"}`;

/** The answer as the server gave it, without its pictures. */
export function record(item) {
  const kept = Object.entries(item.answer).filter(([name]) => !PICTURES.includes(name));
  return { disclaimer: DISCLAIMER, ...Object.fromEntries(kept) };
}

async function savePng(item, viewer) {
  const { answer } = item;
  const where = item.kind === "series" ? ` · ${t("slice.said", { n: viewer.index + 1, of: viewer.several })}` : "";
  const lines = [
    `TumorLens · ${t(`headline.${answer.decision}`)}${answer.prob === null ? "" : ` · ${probability(answer.prob)}`}${where}`,
    `${answer.model.name} ${answer.model.version} · ${answer.model.sha256.slice(0, 16)}`,
  ];
  download(`${stem(item)}.png`, await viewer.png(lines), "image/png");
}

/** The server's report of one series, which names no patient. */
async function saveReport(item) {
  try {
    download(`${stem(item)}-report.html`, await fetchReport(item.files));
    return t("take.written");
  } catch (error) {
    return error.problem ? problem(error.problem, error.slug).title : t("offline.title");
  }
}

// ---- tables

// A spreadsheet runs what starts with these; a quote in front keeps it text.
const quoted = (value) => {
  if (value === null || value === undefined) return "";
  const text = typeof value === "number" ? String(value) : String(value).replace(/^(?=[=+\-@\t\r])/, "'");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export const toCsv = (columns, rows) => `${[columns, ...rows].map((row) => row.map(quoted).join(",")).join("\r\n")}\r\n`;

function itemCsv(item) {
  const { answer } = item;
  if (item.kind !== "series") return listCsv([item]);
  const columns = ["index", "position_mm", "prob", "decision", "set_aside", "disclaimer"];
  return toCsv(columns, answer.slices.map((each) => [...columns.slice(0, -1).map((name) => each[name]), DISCLAIMER]));
}

const COLUMNS = ["label", "prob", "decision", "threshold", "in_domain", "in_domain_reason", "sequence", "plane"];
const LARGEST = ["first", "last", "area_mm2", "volume_ml", "diameter_mm", "laterality"];

/** One row an item, as `tumorlens predict --format csv` has them; refused ones with their problem. */
export function listCsv(items) {
  const columns = ["path", ...COLUMNS, "n_slices", "n_findings", ...LARGEST, "model", "problem", "disclaimer"];
  return toCsv(columns, items.map((item) => {
    const answer = item.answer ?? {};
    const finding = answer.findings?.[0] ?? {};
    return [item.name, ...COLUMNS.map((name) => answer[name]), answer.slices?.length, answer.findings?.length,
      ...LARGEST.map((name) => finding[name]), answer.model?.sha256, item.problem?.title ?? (item.status === "done" ? null : item.status), DISCLAIMER];
  }));
}

export const listJson = (items) => JSON.stringify(items.map((item) => ({
  path: item.name, status: item.status, prediction: item.answer ? record(item) : null, problem: item.problem ?? null,
})), null, 2);

// ---- the same from a terminal

function snippets(item) {
  const base = new URL(".", location.href).href;
  const name = item.files.length > 1 ? `${item.name}/` : item.name;
  const key = hasKey() ? ' -H "Authorization: Bearer $TUMORLENS_KEY"' : "";
  const path = item.kind === "series" ? "predict/series" : "predict";
  const parts = item.files.length > 1 ? "-F file=@study.zip" : `-F ${shell(`file=@${name}`)}`;
  const zipped = item.files.length > 1 ? `zip -qr study.zip ${shell(name)} && ` : "";
  const method = item.kind === "series" ? `for line in client.predict_series(${literal(name)}):\n        print(line.prediction or line.problem)`
    : `print(client.predict(${literal(name)}))`;
  const given = hasKey() ? ', api_key=os.environ["TUMORLENS_KEY"]' : "";
  const python = `${hasKey() ? "import os\n\n" : ""}from tumorlens.client import Client  # pip install 'tumorlens[client]'\n\nwith Client(${literal(base)}${given}) as client:\n    ${method}\n`;
  return el("details", { class: "more", id: "snippets" }, el("summary", { textContent: t("take.code") }),
    snippet("curl", `${zipped}curl${key} ${parts} ${base}${path}`), snippet("Python", python));
}

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const literal = (text) => JSON.stringify(text);

function snippet(name, code) {
  const block = el("pre", { tabIndex: 0, "aria-label": name }, el("code", { textContent: code }));
  const button = el("button", { type: "button", class: "button small", "data-copy": name.toLowerCase(), textContent: t("take.copy", { name }), onclick: async () => {
    const done = await copy(code);
    if (!done) getSelection().selectAllChildren(block);
    button.textContent = t(done ? "take.copied" : "take.selected");
    announce(button.textContent);
  } });
  return el("div", { class: "snippet" }, block, button);
}
