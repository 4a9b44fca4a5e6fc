"""Structure of PNG and WebP files, checked before any decoder runs."""

from __future__ import annotations

import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks needed to decode pixels; others (text, EXIF, animation) may announce gigabytes.
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def png_core(data: bytes) -> bytes:
    """Return the PNG with only the chunks needed to decode its pixels.

    Every chunk must lie within ``data``, the returned ones must have the right CRC, and the last
    one must be IEND (PNG, third edition, section 5).

    Raises:
        ValueError: the chunks are truncated or damaged.
    """
    view = memoryview(data)
    chunks: list[memoryview | bytes] = [PNG_SIGNATURE]
    start = len(PNG_SIGNATURE)
    while start + 12 <= len(data):
        length = int.from_bytes(view[start : start + 4], "big")
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            raise ValueError(f"chunk {kind!r} is truncated")
        if kind in _PNG_PIXEL_CHUNKS:
            if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                raise ValueError(f"chunk {kind!r} fails its checksum")
            chunks.append(view[start:end])
        if kind == b"IEND":
            return b"".join(chunks)
        start = end
    raise ValueError("the file is truncated before its end chunk")


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Return the width and height in a WebP header (RFC 9649, sections 2.5 to 2.7).

    Raises:
        ValueError: no valid header.
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
    raise ValueError("the header has no canvas size")
