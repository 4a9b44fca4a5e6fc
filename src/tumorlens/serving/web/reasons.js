// Why there is no answer, or an uncertain one, in words, and what to do about it.

import { known, t } from "./i18n.js";

// The server's reasons are English sentences; these find the text in strings.js.
const REASONS = [
  [/^too little of the head/i, "outside"],
  [/^(too little brain|no slice shows enough brain)/i, "brain"],
  [/^not recognised as a slice/i, "foreign"],
  [/^too small/i, "small"],
  [/^blank/i, "blank"],
  [/^a colour image/i, "colour"],
  [/^several views|several slices in one picture/i, "views"],
  [/^a drawing or a screenshot/i, "drawing"],
  [/^no dark background/i, "background"],
  [/^almost empty/i, "empty"],
  [/^noise/i, "noise"],
  [/^a smooth gradient/i, "gradient"],
  [/^the header says/i, "header"],
];

/** Return `{ key, text, todo }` of a reason the server gave. */
export function reason(text) {
  const key = REASONS.find(([pattern]) => pattern.test(text))?.[1];
  if (!key) return { key: null, text, todo: t("reason.other.todo") };
  const words = text.replace(/^the header says /i, "").replace(/\.$/, "");
  return { key, text: t(`reason.${key}`, { words }), todo: t(`reason.${key}.todo`) };
}

/** Return `{ title, detail, todo }` of a problem document. */
export function problem(document_, slug) {
  const title = known(`problem.${slug}`) ? t(`problem.${slug}`) : (document_.title ?? t("problem.unknown"));
  const detail = document_.detail ?? "";
  if (slug === "not-brain-mri") {
    const found = reason(detail);
    return { title, detail: capital(found.text), todo: found.todo };
  }
  return { title, detail, todo: known(`problem.${slug}.todo`) ? t(`problem.${slug}.todo`) : "" };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Why an answer is uncertain: `{ text, todo }`. */
export function uncertainty(answer, card) {
  const members = answer.prediction_set.length;
  const rate = card?.conformal?.[0]?.alpha ?? 0.05;
  const values = { rate: Math.round(rate * 100) };
  const key = members === 2 ? "both" : members === 0 ? "none" : "against";
  return { text: t(`uncertain.${key}`, values), todo: t("uncertain.todo") };
}

/** The slices that were set aside, by reason: `[{ text, todo, n }]`, most frequent first. */
export function setAside(slices) {
  const counts = new Map();
  for (const { set_aside: text } of slices) if (text) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([text, n]) => ({ ...reason(text), n }));
}
