// The probability along the slices: findings as marks, slices without an answer as gaps.

import { svg } from "./dom.js";
import { percent, t } from "./i18n.js";

const WIDTH = 1000, TOP = 8, BASE = 128, ROW = 13, LEFT = 4, RIGHT = 996;

/** Build the curve of a series; `go(index)` is called where someone clicks or drags. */
export function curve(answer, view, go) {
  const slices = answer.slices;
  const x = (index) => LEFT + ((index + 0.5) / slices.length) * (RIGHT - LEFT);
  const y = (prob) => BASE - prob * (BASE - TOP);
  const rows = Math.min(answer.findings.length, 4);
  const height = BASE + 8 + rows * ROW;
  const step = (RIGHT - LEFT) / slices.length;
  const gaps = slices.filter((each) => each.set_aside).map((each) => svg("rect", { class: "gap", x: x(each.index) - step / 2, y: TOP, width: step + 0.5, height: BASE - TOP }));
  const cursor = svg("line", { class: "here", y1: TOP - 4, y2: height });
  const dot = svg("path", { class: "here-dot" });
  const limit = y(view.slice_threshold);
  const element = svg("svg", { class: "curve", viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": summary(answer, view), "data-role": "curve" },
    svg("rect", { class: "curve-back", x: LEFT, y: TOP, width: RIGHT - LEFT, height: BASE - TOP }), ...gaps,
    svg("line", { class: "limit", x1: LEFT, x2: RIGHT, y1: limit, y2: limit }),
    ...paths(slices, x, y), ...answer.findings.slice(0, rows).map((finding, n) => mark(finding, n)), cursor, dot);

  function mark(finding, n) {
    const from = x(finding.first) - step / 2, to = x(finding.last) + step / 2;
    const place = BASE + 8 + n * ROW;
    const made = svg("g", { class: "finding-mark", "data-finding": n, onclick: (event) => { event.stopPropagation(); go(finding.peak); } },
      svg("rect", { class: "hit", x: from - 4, y: place - 3, width: to - from + 8, height: ROW }),
      svg("rect", { x: from, y: place, width: Math.max(6, to - from), height: 7, rx: 3.5 }),
      svg("line", { class: "peak", x1: x(finding.peak), x2: x(finding.peak), y1: y(finding.prob), y2: place }));
    made.append(svg("title", {}, t("finding.title", { n: n + 1, first: finding.first + 1, last: finding.last + 1 })));
    made.addEventListener("pointerdown", (event) => event.stopPropagation());
    return made;
  }

  function at(event) {
    const box = element.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (RIGHT - LEFT);
    go(Math.min(slices.length - 1, Math.max(0, Math.floor(share * slices.length))));
  }
  element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); at(event); });
  element.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });

  return {
    element,
    show(index) {
      const place = x(index), prob = slices[index]?.prob;
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      dot.setAttribute("d", `M${place} ${y(prob ?? 0)}h.01`); // a point stays round where a circle is stretched
      dot.setAttribute("visibility", prob === null || prob === undefined ? "hidden" : "visible");
    },
  };
}

function paths(slices, x, y) {
  const runs = [];
  let open = null;
  for (const { index, prob } of slices) {
    if (prob === null) { open = null; continue; }
    if (!open) runs.push((open = []));
    open.push([x(index), y(prob)]);
  }
  return runs.map((points) => {
    const line = points.map(([px, py], n) => `${n ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    return svg("path", { class: "probability", d: points.length > 1 ? line : `${line}h1` });
  });
}

function summary(answer, view) {
  const answered = answer.slices.filter((each) => each.prob !== null);
  const above = answered.filter((each) => each.prob >= view.slice_threshold).length;
  return t("curve.label", { n: answered.length, above, limit: percent(view.slice_threshold) });
}
