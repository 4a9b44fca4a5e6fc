// The language of the page: texts come from strings.js, numbers from the browser.

import { STRINGS } from "./strings.js";

export const LANGUAGES = ["en", "de"];
const listeners = new Set();
let language = chosen();

function chosen() {
  const asked = new URLSearchParams(location.search).get("lang");
  const wanted = [asked, ...(navigator.languages ?? [])].filter(Boolean).map((each) => each.slice(0, 2));
  return wanted.find((each) => LANGUAGES.includes(each)) ?? "en";
}

export const currentLanguage = () => language;

/** The text of a key; `{name}` in it is replaced by `values.name`. */
export function t(key, values = {}) {
  const text = STRINGS[key]?.[LANGUAGES.indexOf(language)];
  if (text === undefined) return key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is a text of this key. */
export const known = (key) => key in STRINGS;

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export const percent = (share, digits = 0) => `${number(share * 100, digits)} %`;

/** A probability as people should read it: never 0 % or 100 %. */
export function probability(share) {
  if (share > 0.995) return `> ${percent(0.99)}`;
  return share < 0.005 ? `< ${percent(0.01)}` : percent(share);
}

export const megabytes = (bytes) => `${number(bytes / 2 ** 20, 1)} MiB`;

/** Put the texts of the language into all elements below `root` that name a key. */
export function translate(root = document) {
  for (const each of root.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of root.querySelectorAll("[data-t-label]")) each.setAttribute("aria-label", t(each.dataset.tLabel));
  for (const each of root.querySelectorAll("[data-t-title]")) each.title = t(each.dataset.tTitle);
}

export function setLanguage(name) {
  if (!LANGUAGES.includes(name)) return;
  language = name;
  document.documentElement.lang = name;
  const address = new URL(location.href);
  address.searchParams.set("lang", name); // in the address, since nothing is stored
  history.replaceState(null, "", address);
  translate();
  for (const listener of listeners) listener();
}

export const onLanguage = (listener) => listeners.add(listener);

export function startLanguage(select) {
  document.documentElement.lang = language;
  select.value = language;
  select.addEventListener("change", () => setLanguage(select.value));
  translate();
}
