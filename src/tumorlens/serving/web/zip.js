// Zip archives, read and written in the browser.

import { inflate } from "./png.js";

const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;

/** Return `File`s with their path in the archive, at most `limits.files` and `limits.bytes`. */
export async function unzip(archive, limits) {
  const tail = await bytesOf(archive.slice(Math.max(0, archive.size - 65_557)));
  const end = lastSignature(tail);
  if (end < 0) throw new Error("not a zip archive");
  const count = tail.getUint16(end + 10, true);
  const [size, start] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (count === 0xffff || start === 0xffffffff) throw new Error("zip64");
  const directory = await bytesOf(archive.slice(start, start + size));
  const files = [];
  let total = 0;
  for (let at = 0, n = 0; n < count && at + 46 <= directory.byteLength; n += 1) {
    if (directory.getUint32(at, true) !== ENTRY) throw new Error("damaged directory");
    const field = (offset) => directory.getUint16(at + offset, true);
    const entry = {
      method: field(10), encrypted: field(8) & 1, packed: directory.getUint32(at + 20, true),
      size: directory.getUint32(at + 24, true), offset: directory.getUint32(at + 42, true),
    };
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, directory.byteOffset + at + 46, field(28)));
    at += 46 + field(28) + field(30) + field(32);
    if (name.endsWith("/") || /(^|\/)(\.|__MACOSX)/.test(name)) continue;
    total += entry.size;
    if (files.length >= limits.files || total > limits.bytes) throw new RangeError("too large");
    files.push(await member(archive, entry, name));
  }
  return files;
}

async function member(archive, entry, name) {
  if (entry.encrypted || ![0, 8].includes(entry.method)) throw new Error("encrypted or unusual");
  const head = await bytesOf(archive.slice(entry.offset, entry.offset + 30));
  if (head.getUint32(0, true) !== LOCAL) throw new Error("damaged member");
  const from = entry.offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = archive.slice(from, from + entry.packed);
  const content = entry.method ? await inflate(await packed.arrayBuffer(), "deflate-raw") : packed;
  const file = new File([content], name.split("/").pop());
  file.path = name;
  return file;
}

/** Return files as one archive, uncompressed: a pair of header and pixels stays together. */
export async function pack(files) {
  const parts = [], directory = [];
  let offset = 0;
  for (const [at, file] of files.entries()) {
    const content = new Uint8Array(await file.arrayBuffer());
    const stem = new TextEncoder().encode(`scan${file.name.replace(/^[^.]*/, "")}`);
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, 20, true);
    common.setUint32(10, crc32(content), true);
    common.setUint32(14, content.length, true);
    common.setUint32(18, content.length, true);
    common.setUint16(22, stem.length, true);
    const local = new Uint8Array([0x50, 0x4b, 3, 4]);
    parts.push(local, common, stem, content);
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    directory.push(new Uint8Array([0x50, 0x4b, 1, 2, 20, 0]), common, rest, stem);
    offset += 30 + stem.length + content.length;
    if (at > 0xfffe) throw new RangeError("too many files");
  }
  const size = directory.reduce((sum, each) => sum + each.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, END, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new File([...parts, ...directory, end], "scan.zip", { type: "application/zip" });
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ -1) >>> 0;
}

const bytesOf = async (blob) => new DataView(await blob.arrayBuffer());

function lastSignature(view) {
  for (let at = view.byteLength - 22; at >= 0; at -= 1) if (view.getUint32(at, true) === END) return at;
  return -1;
}
