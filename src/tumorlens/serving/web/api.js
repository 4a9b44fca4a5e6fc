// Requests to this server; every path is relative, so that a proxy's prefix works too.

import { fromBase64 } from "./png.js";

const PICTURE_SECONDS = 90, SERIES_SECONDS = 900, MOST_WAITS = 30;

let apiKey = "";
export const setKey = (key) => { apiKey = key; }; // kept in memory only, gone with the tab
export const hasKey = () => apiKey !== "";
const headers = () => (apiKey ? { Authorization: `Bearer ${apiKey}` } : {});

/** A refusal of the server: `status`, the problem document, and seconds to wait or null. */
export class Refusal extends Error {
  constructor(status, problem, wait = null) {
    super(problem.title ?? `HTTP ${status}`);
    Object.assign(this, { status, problem, wait });
  }

  get slug() {
    return (this.problem.type ?? "").split("/").pop();
  }
}

/** The server did not answer at all, or not in time. */
export class Silence extends Error {}

export async function getCard() {
  const answer = await fetch("model", { headers: headers() });
  return answer.ok ? answer.json() : null;
}

/** Return the answer for a picture, with its pictures where the model has a map. */
export async function explain(file, hasMap, signal) {
  const answer = await post(hasMap ? "explain" : "predict", [file], signal, PICTURE_SECONDS);
  return answer.json();
}

/** Return the report of one series as a Blob of HTML. */
export async function fetchReport(files) {
  const { signal } = new AbortController();
  const answer = await patiently(() => post("report", files, signal, SERIES_SECONDS), signal);
  return answer.blob();
}

/**
 * Stream series: `on.view(view)`, `on.slice(slice)` and `on.progress(done, of)` of the one numbered
 * `part` as they arrive. Returns the predictions and problems of all series found in the files.
 */
export async function explainSeries(files, part, on, signal) {
  const answer = await post("explain/series", files, signal, SERIES_SECONDS);
  const ends = [];
  await lines(answer.body, signal, (line) => {
    if (line.prediction !== undefined) ends.push(line);
    else if (line.index !== part) return; // what else is in the files is answered without pictures
    else if (line.view) on.view(line.view);
    else if (line.slice) on.slice({ index: line.slice.index, scan: fromBase64(line.slice.scan), evidence: line.slice.evidence && fromBase64(line.slice.evidence) });
    else on.progress(line.done, line.of);
  });
  if (ends.length <= part) throw new Silence("the answer broke off");
  return ends;
}

async function lines(body, signal, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part) take(JSON.parse(part));
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Silence("the answer broke off", { cause: error });
  }
}

async function post(path, files, signal, seconds) {
  const late = AbortSignal.timeout(seconds * 1000);
  const form = new FormData();
  // The name may be a patient's: only what tells volumes apart is sent.
  for (const [at, file] of files.entries()) form.append("file", file, `scan${at + 1}${suffix(file.name)}`);
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", body: form, signal: AbortSignal.any([signal, late]),
      headers: { ...headers(), Accept: "application/json" },
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Silence("no answer", { cause: error });
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const wait = Number(answer.headers.get("Retry-After")) || null;
  throw new Refusal(answer.status, problem, wait);
}

const suffix = (name) => (name.match(/(\.nii|\.img|\.hdr)?(\.gz|\.mgz|\.mgh|\.mha|\.mhd|\.nrrd|\.zip)$|\.nii$|\.hdr$|\.img$/i)?.[0] ?? "").toLowerCase();

/** Repeat what the server was too busy for (429, 503), as long as it asks. */
export async function patiently(work, signal, waiting = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const busy = error instanceof Refusal && (error.status === 429 || error.status === 503);
      if (!busy || attempt === MOST_WAITS) throw error;
      waiting();
      await pause(Math.min(error.wait ?? 1, 30) * 1000, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}
