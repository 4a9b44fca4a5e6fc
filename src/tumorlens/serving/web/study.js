// The slices of one answer as a viewer reads them: a picture is a study of one slice.

import { decodeGrey, fromBase64 } from "./png.js";

const MOST_BYTES = 256 * 2 ** 20; // of decoded slices

export class Study {
  /** `view` as in `/explain/series`; slices are added with `add`. */
  constructor(view) {
    Object.assign(this, { slope: 1, intercept: 0, window: [0, 255], ...view });
    this.encoded = new Array(view.slices).fill(null);
    this.decoded = new Map(); // index → { pixels, heat }, most recently used last
    this.waiting = new Map(); // index → promise
    this.outlines = new Map(); // index → polygons in fractions
    this.levels = 256;
    this.bytes = 0;
  }

  static picture(answer) {
    const { width, height } = answer.scan;
    const study = new Study({ slices: 1, width, height, pixel_mm: answer.pixel_mm, slice_mm: null, oriented: false, plane: null });
    study.add({ index: 0, scan: fromBase64(answer.scan.png), evidence: fromBase64(answer.evidence.png) });
    return study;
  }

  add(slice) {
    this.encoded[slice.index] = slice;
    if (slice.scan[24] === 16) this.levels = 65_536; // the depth in the header of a PNG
  }

  get complete() {
    return this.encoded.every(Boolean);
  }

  get range() {
    const top = this.levels === 256 ? 255 : Math.max(255, (this.window[1] - this.intercept) / this.slope * 1.6);
    return [this.intercept, this.intercept + this.slope * top];
  }

  /** Finding outlines of the answer, drawn over their slices. */
  setFindings(findings) {
    for (const finding of findings) for (const outline of finding.outlines) {
      this.outlines.set(outline.index, [...(this.outlines.get(outline.index) ?? []), ...outline.polygons]);
    }
  }

  /** The decoded slice, or null while it is not there yet. */
  ready(index) {
    const found = this.decoded.get(index);
    if (found) { this.decoded.delete(index); this.decoded.set(index, found); }
    return found ?? null;
  }

  /** Decode a slice; resolves to it. */
  async load(index) {
    const there = this.ready(index);
    if (there || !this.encoded[index]) return there;
    if (!this.waiting.has(index)) this.waiting.set(index, this.#decode(index).finally(() => this.waiting.delete(index)));
    return this.waiting.get(index);
  }

  async #decode(index) {
    const { scan, evidence } = this.encoded[index];
    const [grey, heat] = await Promise.all([decodeGrey(scan), evidence && decodeGrey(evidence)]);
    const slice = { index, width: grey.width, height: grey.height, pixels: grey.pixels, heat: heat?.pixels ?? null };
    slice.bytes = grey.pixels.byteLength + (slice.heat?.byteLength ?? 0);
    this.decoded.set(index, slice);
    this.bytes += slice.bytes;
    for (const [old, each] of this.decoded) {
      if (this.bytes <= MOST_BYTES || old === index) break;
      this.decoded.delete(old);
      this.bytes -= each.bytes;
    }
    return slice;
  }

  /** Decode all slices ahead, the nearest to `from` first, without holding up the page. */
  async warm(from, still) {
    const order = [...this.encoded.keys()].sort((a, b) => Math.abs(a - from) - Math.abs(b - from));
    for (const index of order) {
      if (!still() || this.bytes > MOST_BYTES * 0.9) return;
      await this.load(index);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
}
