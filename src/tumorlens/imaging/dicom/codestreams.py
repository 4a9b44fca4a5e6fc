"""Sizes in the headers of compressed frames, read before any decoder runs."""

from __future__ import annotations

import struct

_STARTS_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF markers
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Of a frame that is at most this many bytes the runs need not be added up: one byte of RLE
# becomes at most 64.
_SMALL_RLE = 2**20


def frame_size(frame: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG, JPEG-LS or JPEG 2000 frame.

    JPEG and JPEG-LS: the frame header (ISO/IEC 10918-1, B.2.2; 14495-1, C.2.2). JPEG 2000 and
    HTJ2K: the SIZ marker segment (15444-1, A.5.1).

    Raises:
        ValueError: no such header.
    """
    if frame.startswith(b"\xff\x4f\xff\x51") and len(frame) >= 24:
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return right - left, bottom - top
    if not frame.startswith(b"\xff\xd8"):
        raise ValueError("not a compressed image")
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = frame[at + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _STARTS_FRAME:
            height, width = struct.unpack_from(">HH", frame, at + 5)
            return width, height
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise ValueError("no frame header")


def j2k_codestream(frame: bytes) -> bytes:
    """Return the JPEG 2000 codestream, extracted from its JP2 container if it has one.

    ISO/IEC 15444-1, annex I.4: boxes of 4 bytes length, 4 bytes type; length 0 means to the end.

    Raises:
        ValueError: a container without a codestream.
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
    raise ValueError("the JP2 container has no codestream")


def rle_fits(frame: bytes, pixels: int, samples: int, bits: int) -> bool:
    """Return whether an RLE frame (PS3.5, annex G) decodes to no more than it should.

    A few bytes more are allowed for padding.
    """
    if len(frame) <= _SMALL_RLE:
        return True
    room = 2 * pixels * samples * bits // 8
    at, decoded = 64, 0
    while at < len(frame) and decoded <= room:
        control = frame[at]
        if control < 128:
            decoded += control + 1
            at += control + 2
        else:
            decoded += 257 - control if control > 128 else 0
            at += 2 if control > 128 else 1
    return decoded <= room
