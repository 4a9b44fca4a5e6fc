// Small pictures of scans for the worklist.

import { el } from "./dom.js";
import { Layer } from "./paint.js";
import { heatTable, windowTable } from "./render.js";

const SIDE = 112; // shown at half of it

/** Draw one slice of a study; returns a canvas. */
export async function drawThumbnail(study, index) {
  const slice = await study.load(index);
  if (!slice) return null;
  const layer = new Layer();
  layer.fill(slice, windowTable(study, study.window), heatTable("inferno", 0.65));
  const canvas = el("canvas", { width: SIDE, height: SIDE, class: "thumb", "aria-hidden": "true" });
  const context = canvas.getContext("2d", { alpha: false });
  const scale = Math.min(SIDE / slice.width, SIDE / slice.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(layer.canvas, (SIDE - slice.width * scale) / 2, (SIDE - slice.height * scale) / 2, slice.width * scale, slice.height * scale);
  return canvas;
}
