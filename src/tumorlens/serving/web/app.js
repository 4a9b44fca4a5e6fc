// The page of TumorLens: choose a scan, send it to this server, show the answer. No library, no
// request to any other origin. Every path is relative, so a proxy prefix works too.

const byId = (id) => document.getElementById(id);
const main = byId("work");
const ANSWER_SECONDS = 90;

let card = null; // GET /model, or null while unknown
let last = null; // the file of the last attempt, for "Try again"
let pending = null; // AbortController of the request under way
let preview = null; // object URL of the file as the browser shows it
let apiKey = "";

const HEADLINES = {
  tumor: ["Tumour suspected", "The probability is at or above the model's threshold."],
  healthy: ["No tumour suspected", "The probability is below the model's threshold."],
  uncertain: ["Uncertain", "The model cannot decide on this scan. Treat this as no result."],
};

function announce(text) {
  byId("announcer").textContent = text;
}

function show(state, focusOn) {
  main.dataset.state = state;
  noteMissingPicture();
  if (focusOn) byId(focusOn).focus({ preventScroll: false });
}

function noteMissingPicture() {
  byId("no-picture").hidden = !byId("scan").hidden || main.dataset.state === "reading";
}

function setPicture(id, address, alt) {
  const picture = byId(id);
  picture.hidden = !address;
  picture.alt = alt;
  if (address) picture.src = address;
  else picture.removeAttribute("src");
}

function clearPictures() {
  if (preview) URL.revokeObjectURL(preview);
  preview = null;
  setPicture("scan", "", "");
  setPicture("heat", "", "");
  for (const id of ["controls", "no-map"]) byId(id).hidden = true;
}

function showPreview(file) {
  clearPictures();
  preview = URL.createObjectURL(file);
  const scan = byId("scan");
  // DICOM and TIFF are drawn by the server: its answer brings the picture.
  scan.onerror = () => { scan.hidden = true; noteMissingPicture(); };
  setPicture("scan", preview, "The chosen scan");
}

// ---- requests to the server

function headers() {
  return apiKey ? { Authorization: `Bearer ${apiKey}` } : {};
}

async function loadCard() {
  try {
    const answer = await fetch("model", { headers: headers() });
    if (!answer.ok) return;
    card = await answer.json();
    byId("model-chip").textContent = `${card.name} ${card.version} · ${card.sha256.slice(0, 8)}`;
    const site = card.site;
    if (site) byId("model-chip").title = `Fitted to a site on ${site.date}: ${site.kind}${site.n ? `, ${site.n} scans` : ""}; bias ${card.bias.toFixed(2)}`;
    byId("model-chip").hidden = false;
  } catch {
    card = null; // the first upload will say that the server does not respond
  }
}

async function send(file) {
  const form = new FormData();
  form.append("file", file, "scan");
  const path = card && !card.has_map ? "predict" : "explain";
  pending = new AbortController();
  const timer = setTimeout(() => pending?.abort("late"), ANSWER_SECONDS * 1000);
  try {
    return await fetch(path, {
      method: "POST", body: form, signal: pending.signal,
      headers: { ...headers(), Accept: "application/json" },
    });
  } finally {
    clearTimeout(timer);
  }
}

async function analyse(file) {
  if (!file) return;
  pending?.abort("replaced");
  last = file;
  showPreview(file);
  show("reading");
  announce("Analysing the scan.");
  const limit = card?.limits?.max_upload_bytes;
  if (limit && file.size > limit) {
    refuse({ title: "The file is too large", detail: `The file has ${megabytes(file.size)}; the limit is ${megabytes(limit)}.` });
    return;
  }
  try {
    if (!card) await loadCard();
    await settle(await send(file));
  } catch (error) {
    if (pending?.signal.aborted && pending.signal.reason !== "late") return;
    offline("The server does not respond", "Your scan is still here. Check that the server is running, then try again.");
  }
}

async function settle(answer) {
  if (answer.ok) {
    present(await answer.json());
    return;
  }
  const problem = await answer.json().catch(() => ({}));
  if (answer.status >= 500) {
    const wait = answer.headers.get("Retry-After");
    const title = answer.status === 503 ? "The server is busy" : "The server reported an error";
    offline(title, `${problem.detail ?? ""} ${wait ? `Try again in ${wait} s.` : ""}`.trim(), "No answer");
  } else {
    refuse(problem, answer.status);
  }
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

// ---- the five states

function refuse(problem, status = 0) {
  byId("refused-title").textContent = problem.title ?? "The scan could not be analysed";
  byId("refused-detail").textContent = problem.detail ?? "";
  byId("refused-advice").textContent = ADVICE[(problem.type ?? "").split("/").pop()] ?? "";
  byId("refused-id").textContent = problem.request_id ? `Request ${problem.request_id}` : "";
  byId("key-form").hidden = status !== 401;
  show("refused", "refused-title");
  announce(`No result. ${problem.title ?? ""}. ${problem.detail ?? ""}`);
}

const ADVICE = {
  "not-brain-mri": "Send one slice that shows the whole head on a dark background.",
  "too-large": "Send a single slice, not a whole series.",
};

function offline(title, detail, eyebrow = "No connection") {
  byId("offline-eyebrow").textContent = eyebrow;
  byId("offline-title").textContent = title;
  byId("offline-detail").textContent = detail;
  show("offline", "offline-title");
  announce(`${title}. ${detail}`);
}

function present(answer) {
  const [headline, lead] = HEADLINES[answer.decision];
  const percent = answer.prob * 100;
  document.querySelector(".result").dataset.decision = answer.decision;
  byId("headline").textContent = headline;
  byId("lead").textContent = lead;
  byId("probability").textContent = percent > 99.5 ? "> 99 %" : percent < 0.5 ? "< 1 %" : `${percent.toFixed(0)} %`;
  byId("probability").dataset.value = answer.prob;
  byId("gauge-fill").setAttribute("width", String(Math.max(12, answer.prob * 1000)));
  byId("gauge-mark").setAttribute("x", String(answer.threshold * 1000 - 2));
  byId("threshold-text").textContent = `The line marks the decision threshold, ${(answer.threshold * 100).toFixed(0)} % (${answer.threshold_origin}).`;
  drawDots(percent);
  byId("frequency").textContent = inWords(percent);
  byId("label").textContent = answer.label === "tumor" ? "tumor" : "healthy";
  byId("set").textContent = answer.prediction_set.length ? answer.prediction_set.join(" or ") : "neither class fits";
  byId("model-name").textContent = `${answer.model.name} ${answer.model.version}`;
  byId("model-hash").textContent = answer.model.sha256;
  byId("latency").textContent = `${answer.latency_ms.toFixed(0)} ms`;
  byId("request-id").textContent = answer.request_id;
  byId("disclaimer").textContent = answer.disclaimer;
  showEvidence(answer);
  show("result", "headline");
  announce(`${headline}. Probability of a tumour ${percent.toFixed(0)} percent. Not for clinical use.`);
}

function showEvidence(answer) {
  const mapped = Boolean(answer.heatmap);
  if (answer.scan) setPicture("scan", `data:image/png;base64,${answer.scan.png}`, "The scan as the model received it");
  if (mapped) setPicture("heat", `data:image/png;base64,${answer.heatmap.png}`, "Heat map: where the model found evidence of a tumour");
  byId("controls").hidden = !mapped;
  byId("no-map").hidden = mapped;
}

function inWords(percent) {
  const share = Math.round(percent);
  if (share >= 100) return "Of 100 scans with this score, nearly all show a tumour.";
  if (share <= 0) return "Of 100 scans with this score, almost none shows a tumour.";
  return `Of 100 scans with this score, about ${share} show${share === 1 ? "s" : ""} a tumour and ${100 - share} ${share === 99 ? "does" : "do"} not, provided they resemble the scans the model was calibrated on.`;
}

function drawDots(percent) {
  const filled = Math.round(percent);
  const dots = Array.from({ length: 100 }, (_, index) => {
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    dot.setAttribute("cx", String(5 + (index % 20) * 10));
    dot.setAttribute("cy", String(5 + Math.floor(index / 20) * 10));
    dot.setAttribute("r", "3.4");
    dot.setAttribute("class", index < filled ? "dot on" : "dot");
    return dot;
  });
  byId("dots").replaceChildren(...dots);
}

function again() {
  pending?.abort("replaced");
  clearPictures();
  byId("file").value = "";
  show("empty");
  byId("file").focus();
  announce("Choose a scan.");
}

// ---- user actions

async function tryExample(kind) {
  try {
    const answer = await fetch(`examples/${kind}.png`);
    await analyse(new File([await answer.blob()], "drawn.png", { type: "image/png" }));
  } catch {
    offline("The server does not respond", "Check that the server is running, then try again.");
  }
}

function setOpacity() {
  const percent = byId("opacity").value;
  byId("heat").style.opacity = String(percent / 100);
  byId("opacity-value").textContent = `${percent} %`;
  byId("opacity").setAttribute("aria-valuetext", `${percent} percent`);
}

byId("file").addEventListener("change", (event) => analyse(event.target.files[0]));
byId("cancel").addEventListener("click", again);
byId("retry").addEventListener("click", () => (last ? analyse(last) : again()));
byId("opacity").addEventListener("input", setOpacity);
for (const button of document.querySelectorAll("[data-action=again]")) button.addEventListener("click", again);
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => tryExample(button.dataset.example));
}
byId("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  apiKey = byId("key").value.trim(); // kept in memory only, gone with the tab
  await loadCard();
  if (last) await analyse(last);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files?.[0];
  if (file) { event.preventDefault(); analyse(file); }
});
let depth = 0;
addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; byId("veil").hidden = false; });
addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) byId("veil").hidden = true; });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  byId("veil").hidden = true;
  analyse(event.dataTransfer?.files?.[0]);
});

loadCard();
