"""Uploads, good and bad, made by code."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from tumorlens.imaging.phantom import draw_phantom


def encoded(kind: str, *, seed: int = 7, lesion: bool = True, size: int = 256) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom(seed, lesion=lesion, size=size).image).save(buffer, kind)
    return buffer.getvalue()


def png_scan(*, seed: int = 7, lesion: bool = True, size: int = 256) -> bytes:
    return encoded("PNG", seed=seed, lesion=lesion, size=size)


def blank_png(size: int = 256) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size), 90).save(buffer, "PNG")
    return buffer.getvalue()


def truncated_jpeg() -> bytes:
    whole = encoded("JPEG")
    return whole[: len(whole) // 2]


def png_bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """Return a small PNG whose header announces a huge picture."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000), 9)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
