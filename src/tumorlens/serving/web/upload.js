// What a person gives: files, folders, archives, pastes and drops → items to analyse.

import { readDicom } from "./dicom.js";
import { pack, unzip } from "./zip.js";

const VOLUME = /\.(nii|nii\.gz|mgh|mgz|hdr|img|hdr\.gz|img\.gz|mha|mhd|raw|zraw|nrrd|nhdr)$/i;
const PAIR = /\.(hdr|img|mhd|raw|zraw|nhdr)(\.gz)?$/i;
const ARCHIVE = /\.zip$/i;
const IGNORED = /(^|\/)(\.[^/]*|Thumbs\.db|DICOMDIR|desktop\.ini)$/i;
const FALLBACK = { files: 1024, bytes: 512 * 2 ** 20 };

let counter = 0;

/** Return items `{ id, kind: "picture" | "series", name, files }`, in the order of the files. */
export async function toItems(files, limits = FALLBACK) {
  const flat = await flatten(files, limits);
  const items = [];
  const series = new Map();
  for (const file of flat) {
    const path = file.path || file.webkitRelativePath || file.name;
    if (VOLUME.test(file.name)) {
      if (!PAIR.test(file.name)) items.push(item("series", path, [file]));
      else together(series, items, `pair ${path.replace(PAIR, "")}`, path.replace(PAIR, ""), file);
      continue;
    }
    const dicom = await readDicom(file).catch(() => null);
    if (!dicom) items.push(item(file.whole ? "series" : "picture", path, [file]));
    else if (dicom.frames > 1) items.push(item("series", path, [file]));
    else together(series, items, dicom.series || `folder ${folderOf(path)}`, folderOf(path) || path, file);
  }
  for (const each of items) {
    if (each.kind !== "stack") continue;
    const volume = VOLUME.test(each.files[0].name);
    each.kind = volume || each.files.length > 1 ? "series" : "picture"; // one DICOM slice is a picture
    if (!volume && each.files.length > 1 && each.name.endsWith(each.files[0].name)) each.name += ` + ${each.files.length - 1}`;
    if (volume && each.files.length > 1) each.files = [await pack(each.files)];
  }
  return unique(items);
}

const folderOf = (path) => path.split("/").slice(0, -1).join("/");

function item(kind, name, files) {
  counter += 1;
  return { id: counter, kind, name: name || "scan", files, status: "waiting", size: files[0]?.size ?? 0 };
}

function together(groups, items, key, name, file) {
  const found = groups.get(key);
  if (found) {
    found.files.push(file);
    found.size += file.size;
    return;
  }
  const made = item("stack", name, [file]);
  groups.set(key, made);
  items.push(made);
}

/** Two series of one folder get numbers, so that the list can tell them apart. */
function unique(items) {
  const seen = new Map();
  for (const each of items) {
    const n = (seen.get(each.name) ?? 0) + 1;
    seen.set(each.name, n);
    if (n > 1) each.name = `${each.name} (${n})`;
  }
  return items;
}

async function flatten(files, limits) {
  const flat = [];
  for (const file of files) {
    if (IGNORED.test(file.path || file.webkitRelativePath || file.name)) continue;
    if (!ARCHIVE.test(file.name)) { flat.push(file); continue; }
    try {
      flat.push(...(await unzip(file, limits)).filter((each) => !IGNORED.test(each.path)));
    } catch {
      file.whole = true; // the server says what is wrong with it, or reads what we cannot
      flat.push(file);
    }
  }
  return flat;
}

/** Return the files of a drop, those in folders too. To be called in the event itself. */
export async function dropped(transfer) {
  const entries = [...(transfer?.items ?? [])].map((each) => each.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...(transfer?.files ?? [])];
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return files;
}

async function walk(entry, files) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    file.path = entry.fullPath.replace(/^\//, "");
    files.push(file);
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, files);
  }
}

/** Call `take(files)` for every way in which a page can be given files. */
export function listen({ inputs, veil, take }) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) take(files);
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) { event.preventDefault(); take(files); }
  });
  let depth = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; veil.hidden = false; });
  addEventListener("dragleave", () => { depth -= 1; if (depth <= 0) veil.hidden = true; });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    const files = await dropped(event.dataTransfer);
    if (files.length) take(files);
  });
}
