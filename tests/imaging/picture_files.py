"""Small encoded pictures, and files that lie, for the decode tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

# Four colours that tell every flip, rotation and channel swap apart.
CORNERS = np.zeros((16, 24, 3), np.uint8)
CORNERS[:8, :12] = (250, 0, 0)
CORNERS[:8, 12:] = (0, 250, 0)
CORNERS[8:, :12] = (0, 0, 250)
CORNERS[8:, 12:] = (200, 200, 200)
RAMP = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
RAMP16 = (np.arange(16 * 24, dtype=np.uint16) * 157).reshape(16, 24)
CORNERS16 = CORNERS.astype(np.uint16) * 257 - np.minimum(CORNERS, 1) * np.uint16(3)


def pillow(
    pixels: NDArray[Any], file_format: str, mode: str | None = None, **options: Any
) -> bytes:
    """Encode with Pillow, after converting to ``mode``; a palette has just the colours in use."""
    picture = PillowImage.fromarray(pixels)
    if mode == "P":
        picture = picture.quantize(4)
    elif mode:
        picture = picture.convert(mode)
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def opencv(pixels: NDArray[Any], suffix: str) -> bytes:
    """Encode RGB, RGBA or grey pixels with OpenCV, which writes 16-bit colour."""
    if pixels.ndim == 3:
        order = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = np.ascontiguousarray(pixels[..., order])
    done, encoded = cv2.imencode(suffix, pixels)
    assert done
    return encoded.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """Build a PNG from raw rows (each begins with its filter byte)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def lying_header(file_format: str, side: int) -> bytes:
    """Return a small file whose header announces ``side`` × ``side`` pixels."""
    if file_format == "png":
        return png_of(side, side, 8, 2, b"\0" * 64)
    if file_format == "bmp":
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 2835, 2835, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + head + b"\0" * 64
    if file_format == "jpeg":
        data = bytearray(pillow(CORNERS, "JPEG"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
        return bytes(data)
    if file_format == "tiff":
        entries = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1),
                   (273, 4, 8), (277, 3, 1), (278, 4, side), (279, 4, 64)]  # fmt: skip
        body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
        start = struct.pack("<HIH", 42, 8 + 64, 0)[:6]
        return b"II" + start + b"\0" * 64 + struct.pack("<H", len(entries)) + body + b"\0" * 4
    assert file_format == "webp"
    canvas = (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body
