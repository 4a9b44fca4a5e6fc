// Paints one slice on a canvas: picture, outlines, measurements, scale bar; and the PNG to take along.

import { number, t } from "./i18n.js";
import { compose, contour } from "./render.js";

const LINE = "#7ff3e6", EDGE = "rgb(0 0 0 / 75%)", RULER = "#ffe27a";
const FONT = "Inter, ui-sans-serif, system-ui, sans-serif";
const OUTLINE_LEVEL = 128; // half of the fixed scale
const BARS_MM = [100, 50, 20, 10, 5];

/** Where a slice lies on a canvas: `scale` canvas pixels a pixel, its left upper corner at x, y. */
export function place(study, width, height, zoom = 1, pan = [0, 0]) {
  const scale = Math.min(width / study.width, height / study.height) * zoom;
  return {
    scale,
    x: width / 2 - (study.width / 2 + pan[0]) * scale,
    y: height / 2 - (study.height / 2 + pan[1]) * scale,
  };
}

/** The slice's own pixels in their window and colours, on a canvas of their size. */
export class Layer {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
  }

  fill(slice, grey, heat) {
    const { canvas, context } = this;
    if (canvas.width !== slice.width || canvas.height !== slice.height || !this.image) {
      [canvas.width, canvas.height] = [slice.width, slice.height];
      this.image = context.createImageData(slice.width, slice.height);
    }
    compose(this.image, slice, grey, heat);
    context.putImageData(this.image, 0, 0);
  }
}

export function paint(context, { layer, study, slice, at, outline, rulers, cursor, unit, smooth = true }) {
  const { width, height } = context.canvas;
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "medium";
  context.drawImage(layer.canvas, at.x, at.y, slice.width * at.scale, slice.height * at.scale);
  if (outline) paintOutline(context, study, slice, at, unit);
  for (const ruler of rulers) paintRuler(context, study, ruler, at, unit);
  if (cursor) paintCross(context, cursor, at, unit);
  if (study.pixel_mm) paintBar(context, study, at, unit);
}

function paintOutline(context, study, slice, at, unit) {
  const path = new Path2D();
  const polygons = study.outlines.get(slice.index);
  if (polygons) {
    for (const polygon of polygons) {
      polygon.forEach(([x, y], n) => {
        const point = [at.x + x * slice.width * at.scale, at.y + y * slice.height * at.scale];
        if (n) path.lineTo(...point);
        else path.moveTo(...point);
      });
      path.closePath();
    }
  } else if (study.slices === 1 && slice.heat) {
    slice.segments ??= contour(slice.heat, slice.width, slice.height, OUTLINE_LEVEL);
    for (const [x0, y0, x1, y1] of slice.segments) {
      path.moveTo(at.x + x0 * at.scale, at.y + y0 * at.scale);
      path.lineTo(at.x + x1 * at.scale, at.y + y1 * at.scale);
    }
  }
  context.lineCap = context.lineJoin = "round";
  stroke(context, path, LINE, unit);
}

function stroke(context, path, colour, unit) {
  for (const [style, width] of [[EDGE, 3.4], [colour, 1.7]]) {
    context.strokeStyle = style;
    context.lineWidth = width * unit;
    context.stroke(path);
  }
}

/** The length of a ruler in words: millimetres where the geometry is known. */
export function lengthOf(study, [x0, y0, x1, y1]) {
  const pixels = Math.hypot(x1 - x0, y1 - y0);
  return study.pixel_mm ? t("measure.mm", { n: number(pixels * study.pixel_mm, 1) }) : t("measure.px", { n: number(pixels, 0) });
}

function paintRuler(context, study, ruler, at, unit) {
  const [x0, y0, x1, y1] = ruler.map((value, n) => (n % 2 ? at.y : at.x) + value * at.scale);
  const path = new Path2D();
  path.moveTo(x0, y0);
  path.lineTo(x1, y1);
  const length = Math.hypot(x1 - x0, y1 - y0) || 1;
  const [nx, ny] = [(-(y1 - y0) / length) * 5 * unit, ((x1 - x0) / length) * 5 * unit];
  for (const [x, y] of [[x0, y0], [x1, y1]]) { path.moveTo(x - nx, y - ny); path.lineTo(x + nx, y + ny); }
  stroke(context, path, RULER, unit);
  const right = Math.max(x0, x1) + 8 * unit;
  const shown = lengthOf(study, ruler);
  const room = right + 70 * unit < context.canvas.width;
  words(context, shown, room ? right : Math.min(x0, x1) - 8 * unit, (y0 + y1) / 2, unit, RULER, room ? "left" : "right");
}

function paintCross(context, [x, y], at, unit) {
  const [cx, cy] = [at.x + x * at.scale, at.y + y * at.scale];
  const path = new Path2D();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    path.moveTo(cx + dx * 4 * unit, cy + dy * 4 * unit);
    path.lineTo(cx + dx * 14 * unit, cy + dy * 14 * unit);
  }
  stroke(context, path, RULER, unit);
}

function paintBar(context, study, at, unit) {
  const { width, height } = context.canvas;
  const mm = BARS_MM.find((each) => (each / study.pixel_mm) * at.scale < width * 0.3) ?? 1;
  const length = (mm / study.pixel_mm) * at.scale;
  const [x, y] = [width - 16 * unit - length, height - 16 * unit];
  const path = new Path2D();
  path.moveTo(x, y - 5 * unit);
  path.lineTo(x, y);
  path.lineTo(x + length, y);
  path.lineTo(x + length, y - 5 * unit);
  stroke(context, path, "#fff", unit * 0.8);
  words(context, t("measure.mm", { n: number(mm) }), x + length / 2, y - 12 * unit, unit, "#fff", "center");
}

function words(context, text, x, y, unit, colour, align) {
  context.font = `600 ${13 * unit}px ${FONT}`;
  context.textAlign = align;
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 3.5 * unit;
  context.strokeStyle = EDGE;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

/** The slice as a PNG of its own: at least 1024 pixels, with what it is and the banner below. */
export async function toPng({ layer, study, slice, outline, rulers, letters, lines }) {
  const scale = Math.max(1, Math.ceil(1024 / Math.max(slice.width, slice.height)));
  const [width, height] = [slice.width * scale, slice.height * scale];
  const unit = Math.max(width, height) / 640;
  const foot = (lines.length * 21 + 40) * unit;
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [width, height];
  const drawing = picture.getContext("2d", { alpha: false });
  paint(drawing, { layer, study, slice, at: place(study, width, height), outline, rulers, cursor: null, unit });
  const at = [[10 * unit, height / 2, "left"], [width - 10 * unit, height / 2, "right"], [width / 2, 16 * unit, "center"], [width / 2, height - 16 * unit, "center"]];
  letters.forEach((letter, n) => words(drawing, letter, at[n][0], at[n][1], unit, "#fff", at[n][2]));
  const page = document.createElement("canvas");
  [page.width, page.height] = [width, Math.round(height + foot)];
  const context = page.getContext("2d", { alpha: false });
  context.fillStyle = "#0a1214";
  context.fillRect(0, 0, page.width, page.height);
  context.drawImage(picture, 0, 0);
  context.textAlign = "left";
  context.textBaseline = "top";
  lines.forEach((line, n) => {
    context.fillStyle = "#e6eff0";
    context.font = `${n ? 400 : 650} ${13.5 * unit}px ${FONT}`;
    context.fillText(line, 14 * unit, height + (12 + 21 * n) * unit, width - 28 * unit);
  });
  context.fillStyle = "#ffd98a";
  context.font = `650 ${13.5 * unit}px ${FONT}`;
  context.fillText(`${t("banner.strong")} ${t("banner.rest")}`, 14 * unit, height + foot - 24 * unit, width - 28 * unit);
  return new Promise((resolve) => page.toBlob(resolve, "image/png"));
}
