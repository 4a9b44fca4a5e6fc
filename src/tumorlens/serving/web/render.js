// Pixels → picture: window and level, the evidence in colour over it, and lines of equal evidence.

import { alpha, scale } from "./colours.js";

/** A table from pixel to grey level for a window `[low, high]` in the scan's units. */
export function windowTable(study, [low, high]) {
  const table = new Uint8Array(study.levels);
  const span = Math.max(high - low, 1e-9);
  for (let pixel = 0; pixel < table.length; pixel += 1) {
    const value = study.intercept + study.slope * pixel;
    table[pixel] = Math.min(255, Math.max(0, Math.round(((value - low) / span) * 255)));
  }
  return table;
}

/** A table from evidence level to RGB and weight (0 to 1), for a colour scale and an opacity. */
export function heatTable(name, opacity) {
  const colours = scale(name);
  const weights = Float32Array.from({ length: 256 }, (_, level) => alpha(level) * opacity);
  return { colours, weights };
}

/** Fill `image` (ImageData) with the scan in its window under the coloured evidence. */
export function compose(image, { pixels, heat }, grey, { colours, weights }) {
  const out = image.data;
  for (let at = 0, to = 0; at < pixels.length; at += 1, to += 4) {
    const g = grey[pixels[at]];
    const level = heat ? heat[at] : 0;
    const weight = weights[level];
    if (weight === 0) {
      out[to] = out[to + 1] = out[to + 2] = g;
    } else {
      const c = 3 * level;
      out[to] = g + (colours[c] - g) * weight;
      out[to + 1] = g + (colours[c + 1] - g) * weight;
      out[to + 2] = g + (colours[c + 2] - g) * weight;
    }
    out[to + 3] = 255;
  }
}

/**
 * Lines where the evidence crosses `level`, by marching squares: segments `[x0, y0, x1, y1]` in
 * pixels, pixel centres at half numbers.
 */
export function contour(heat, width, height, level) {
  const segments = [];
  for (let y = 0; y < height - 1; y += 1) {
    for (let x = 0; x < width - 1; x += 1) {
      const at = y * width + x;
      const [a, b, c, d] = [heat[at], heat[at + 1], heat[at + width + 1], heat[at + width]];
      const kind = (a >= level) | ((b >= level) << 1) | ((c >= level) << 2) | ((d >= level) << 3);
      if (kind === 0 || kind === 15) continue;
      const cut = (p, q) => (level - p) / (q - p || 1);
      const top = [x + 0.5 + cut(a, b), y + 0.5], right = [x + 1.5, y + 0.5 + cut(b, c)];
      const bottom = [x + 0.5 + cut(d, c), y + 1.5], left = [x + 0.5, y + 0.5 + cut(a, d)];
      for (const [from, to] of CASES[kind](top, right, bottom, left)) segments.push([...from, ...to]);
    }
  }
  return segments;
}

const lt = (t, r, b, l) => [[l, t]], tr = (t, r) => [[t, r]], rb = (t, r, b) => [[r, b]], bl = (t, r, b, l) => [[b, l]];
const tb = (t, r, b) => [[t, b]], lr = (t, r, b, l) => [[l, r]];
const both = (t, r, b, l) => [[l, t], [r, b]], other = (t, r, b, l) => [[t, r], [b, l]];
const CASES = [null, lt, tr, lr, rb, both, tb, bl, bl, tb, other, rb, lr, tr, lt, null];
