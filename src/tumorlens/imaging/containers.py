"""What the structure of a PNG, WebP or JP2 says, read before any decoder sees the bytes."""

from __future__ import annotations

import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# All that the pixels need; the rest (text, EXIF, animation) can hide lengths of gigabytes.
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def png_core(data: bytes) -> bytes:
    """Return the PNG with nothing but the chunks its pixels need.

    Every chunk must lie inside ``data``, those kept must have the right CRC, and the last one
    must be IEND (PNG, third edition, section 5).

    Raises:
        ValueError: the chunks are cut off or damaged.
    """
    view = memoryview(data)
    kept: list[memoryview | bytes] = [PNG_SIGNATURE]
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        length = int.from_bytes(view[start : start + 4], "big")
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            raise ValueError(f"chunk {kind!r} is cut off")
        if kind in _PNG_PIXEL_CHUNKS:
            if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                raise ValueError(f"chunk {kind!r} fails its checksum")
            kept.append(view[start:end])
        if kind == b"IEND":
            return b"".join(kept)
        start = end
    raise ValueError("the file is truncated before its end chunk")


def j2k_codestream(frame: bytes) -> bytes:
    """Return the bare JPEG 2000 codestream, taken out of its JP2 wrapper where it has one.

    ISO/IEC 15444-1, annex I.4: boxes of 4 bytes length, 4 bytes type; length 0 reaches to the end.

    Raises:
        ValueError: a wrapper without a codestream.
    """
    if not frame.startswith(b"\0\0\0\x0cjP  "):
        return frame
    start = 12
    while start + 8 <= len(frame):
        length = int.from_bytes(frame[start : start + 4], "big")
        if frame[start + 4 : start + 8] == b"jp2c":
            return frame[start + 8 :]
        if length < 8:
            break
        start += length
    raise ValueError("the JP2 wrapper holds no codestream")


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Return the width and height a WebP announces (RFC 9649, sections 2.5 to 2.7).

    Raises:
        ValueError: no such header.
    """
    chunk = data[12:16]
    if chunk == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        return width, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    raise ValueError("the header holds no canvas size")
