// Two elements of a DICOM header, to know which files belong together: the series, and the number of
// frames. The server reads the rest; what cannot be read here is grouped by its folder.

const LONG = new Set(["OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UR", "UT", "UN", "SV", "UV"]);
const HEAD_BYTES = 65_536;

/** Return `{ series, frames }` of a DICOM file; null for another file. */
export async function readDicom(file) {
  const head = new DataView(await file.slice(0, HEAD_BYTES).arrayBuffer());
  if (head.byteLength < 140 || text(head, 128, 4) !== "DICM") return null;
  const found = { series: "", frames: 1 };
  let explicit = true, at = 132;
  while (at + 8 <= head.byteLength) {
    const group = head.getUint16(at, true), element = head.getUint16(at + 2, true);
    if (group === 0xfffe) { at += 8; continue; } // the end of an item around a nested sequence
    if (group > 0x0028) break;
    const [start, length] = valueOf(head, at, group === 2 || explicit);
    if (length === 0xffffffff || start + length > head.byteLength) {
      const next = length === 0xffffffff ? afterSequence(head, start) : -1;
      if (next < 0) break;
      at = next;
      continue;
    }
    if (group === 0x0002 && element === 0x0010) {
      const syntax = text(head, start, length);
      explicit = syntax !== "1.2.840.10008.1.2";
      if (syntax.endsWith(".1.99") || syntax === "1.2.840.10008.1.2.2") return found; // packed, or big endian
    }
    if (group === 0x0020 && element === 0x000e) found.series = text(head, start, length);
    if (group === 0x0028 && element === 0x0008) found.frames = Number(text(head, start, length)) || 1;
    at = start + length;
  }
  return found;
}

function valueOf(view, at, explicit) {
  if (!explicit) return [at + 8, view.getUint32(at + 4, true)];
  const kind = text(view, at + 4, 2);
  if (LONG.has(kind)) return at + 12 <= view.byteLength ? [at + 12, view.getUint32(at + 8, true)] : [at + 8, view.byteLength];
  return [at + 8, view.getUint16(at + 6, true)];
}

// The next end of a sequence of undefined length, (FFFE,E0DD).
function afterSequence(view, from) {
  for (let at = from; at + 8 <= view.byteLength; at += 2) {
    if (view.getUint16(at, true) === 0xfffe && view.getUint16(at + 2, true) === 0xe0dd) return at + 8;
  }
  return -1;
}

function text(view, start, length) {
  return String.fromCharCode(...new Uint8Array(view.buffer, start, length)).replace(/[\0 ]+$/, "");
}
