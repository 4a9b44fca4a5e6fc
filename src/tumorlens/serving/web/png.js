// Grey PNG of 8 or 16 bits → numbers. A canvas would give 8 bits only, and some browsers add noise
// to what is read back from one.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

/** Inflate bytes: `format` is deflate (zlib), deflate-raw or gzip. */
export async function inflate(bytes, format) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return `{ width, height, pixels }`, pixels a Uint8Array or Uint16Array row by row. */
export async function decodeGrey(bytes) {
  if (SIGNATURE.some((value, at) => bytes[at] !== value)) throw new Error("not a PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  let width = 0, height = 0, depth = 8;
  for (let at = 8; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") {
      [width, height, depth] = [view.getUint32(at + 8), view.getUint32(at + 12), bytes[at + 16]];
      if (bytes[at + 17] !== 0 || (depth !== 8 && depth !== 16) || bytes[at + 20]) throw new Error("not a grey PNG");
    } else if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += 12 + length;
  }
  const packed = new Uint8Array(await new Blob(parts).arrayBuffer());
  const raw = await inflate(packed, "deflate");
  return { width, height, pixels: unfilter(raw, width, height, depth / 8) };
}

function unfilter(raw, width, height, size) {
  const stride = width * size;
  const out = new Uint8Array(stride * height);
  for (let row = 0; row < height; row += 1) {
    const filter = raw[row * (stride + 1)];
    const from = row * (stride + 1) + 1, to = row * stride, above = to - stride;
    for (let x = 0; x < stride; x += 1) {
      const left = x >= size ? out[to + x - size] : 0;
      const up = row ? out[above + x] : 0;
      let guess = 0;
      if (filter === 1) guess = left;
      else if (filter === 2) guess = up;
      else if (filter === 3) guess = (left + up) >> 1;
      else if (filter === 4) guess = paeth(left, up, x >= size && row ? out[above + x - size] : 0);
      out[to + x] = raw[from + x] + guess;
    }
  }
  if (size === 1) return out;
  const wide = new Uint16Array(width * height);
  for (let at = 0; at < wide.length; at += 1) wide[at] = (out[2 * at] << 8) | out[2 * at + 1];
  return wide;
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
