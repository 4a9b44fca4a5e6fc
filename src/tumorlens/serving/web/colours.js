// Colour scales of the evidence. All but "warm" are perceptually uniform and readable with any colour
// vision; anchors of viridis, cividis and inferno are those of Matplotlib (CC0), at ninths.

const ANCHORS = {
  inferno: ["000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4"],
  viridis: ["440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725"],
  cividis: ["00204d", "00336f", "39486b", "575c6d", "707173", "8a8779", "a69d75", "c4b56c", "e4cf5b", "ffea46"],
  warm: ["401004", "641605", "8a1f06", "b02b0a", "cf3d12", "e5551f", "f27238", "f8935a", "fcb684", "ffdab8"],
};
export const SCALES = Object.keys(ANCHORS);

/** 256 colours as RGB triples, lowest first. */
export function scale(name) {
  const stops = ANCHORS[name].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8Array(768);
  for (let level = 0; level < 256; level += 1) {
    const place = (level / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c += 1) table[3 * level + c] = stops[low][c] + (stops[low + 1][c] - stops[low][c]) * (place - low);
  }
  return table;
}

// As the server's overlay: transparent up to 0.1 of the fixed scale, opaque from 0.7 on.
const TRANSPARENT = 0.1 * 255, OPAQUE = 0.7 * 255;
export const alpha = (level) => Math.min(1, Math.max(0, (level - TRANSPARENT) / (OPAQUE - TRANSPARENT)));
