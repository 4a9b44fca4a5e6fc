"""What can hide in the pixel data: overlay bits, bytes after the last pixel, comments of codecs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from tumorlens.errors import UnsupportedFormatError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
# JPEG's application segments and comments (ISO/IEC 10918-1, B.2.4), except what decoding needs:
# APP0 (JFIF), APP8 (JPEG-LS colour transform) and APP14 (Adobe colour transform).
_JPEG_TEXT = frozenset({*range(0xE0, 0xF0), 0xFE}) - {0xE0, 0xE8, 0xEE}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SOS, _EOI = 0xDA, 0xD9
_J2K_COMMENT, _J2K_TILE = 0xFF64, 0xFF90  # ISO/IEC 15444-1, A.9.2 and A.4.2


def clean_pixel_data(dataset: Dataset, name: str) -> bool:
    """Remove what is no pixel from the pixel data in place; return whether anything was.

    Native pixels: bits outside those stored are cleared where an overlay could use them, and bytes
    after the last pixel are cut off. JPEG and JPEG 2000 frames lose comments and application data.

    Raises:
        UnsupportedFormatError: no pixel data, or none of an image that can be understood.
    """
    found = [keyword for keyword in _KEYWORDS if keyword in dataset]
    if not found:
        raise UnsupportedFormatError(
            f"{name}: an object without pixels; only images are de-identified, leave it out"
        )
    keyword = found[0]
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return _clean_frames(dataset)
    return _clean_native(dataset, keyword, name)


def _clean_native(dataset: Dataset, keyword: str, name: str) -> bool:
    content = dataset[keyword].value
    if not isinstance(content, bytes):
        raise UnsupportedFormatError(f"{name}: pixel data of an unknown kind; leave it out")
    allocated = _BITS.get(keyword) or int(dataset.BitsAllocated)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels = int(dataset.Rows) * int(dataset.Columns) * samples * frames
    if str(dataset.get("PhotometricInterpretation", "")).startswith("YBR_FULL_422"):
        pixels = pixels // 3 * 2
    length = (pixels * allocated + 7) // 8
    cut = content[: length + length % 2]  # in big endian words the last pixel is the last byte
    if keyword == "PixelData" and allocated in (8, 16, 32):
        cut = _without_spare_bits(cut, dataset, allocated)
    if len(cut) % 2:
        cut += b"\0"
    changed: bool = cut != content
    if changed:
        dataset[keyword].value = cut
    return changed


def _without_spare_bits(content: bytes, dataset: Dataset, allocated: int) -> bytes:
    """Clear the bits outside BitsStored, or extend the sign into them (PS3.5, 8.1.1)."""
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit", stored - 1))
    if stored >= allocated or not 0 <= high + 1 - stored <= allocated - stored:
        return content
    little = bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
    signed = bool(dataset.get("PixelRepresentation"))
    kind = np.dtype(f"{'<' if little else '>'}{'i' if signed else 'u'}{allocated // 8}")
    values = np.frombuffer(content, kind, len(content) // kind.itemsize)
    # To the top and back: a signed shift to the right repeats the sign.
    at_top = values << kind.type(allocated - 1 - high)
    aligned = (at_top >> kind.type(allocated - stored)) << kind.type(high + 1 - stored)
    return bytes(aligned.astype(kind).tobytes()) + content[values.nbytes :]


def _clean_frames(dataset: Dataset) -> bool:
    """Rewrite the frames without their comments; one fragment a frame."""
    from pydicom.encaps import encapsulate, generate_frames

    frames = int(dataset.get("NumberOfFrames") or 1)
    before = list(generate_frames(dataset.PixelData, number_of_frames=frames))
    after = [_without_text(frame) for frame in before]
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.PixelData = encapsulate(after)
    dataset["PixelData"].is_undefined_length = True
    return any(len(a) != len(b) for a, b in zip(before, after, strict=True))


def _without_text(frame: bytes) -> bytes:
    if frame.startswith(b"\xff\xd8"):
        return _even(_jpeg_without_text(frame))
    if frame.startswith(b"\xff\x4f\xff\x51"):
        return _even(_j2k_without_text(frame))
    return frame  # RLE has no place for text


def _even(frame: bytes) -> bytes:
    return frame + b"\0" * (len(frame) % 2)


def _jpeg_without_text(frame: bytes) -> bytes:
    """Drop text segments up to the first scan, and what follows the end of the image."""
    kept, at = bytearray(frame[:2]), 2
    while at + 4 <= len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF:
            raise ValueError("no marker where one must be")
        if marker == 0xFF:
            at += 1
            continue
        if marker == _SOS:
            break
        length = 2 if marker in _JPEG_ALONE else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker not in _JPEG_TEXT:
            kept += frame[at : at + length]
        at += length
    end = frame.rfind(bytes((0xFF, _EOI)))
    return bytes(kept + frame[at : end + 2 if end > at else len(frame)])


def _j2k_without_text(frame: bytes) -> bytes:
    """Drop the comments of the main header."""
    kept, at = bytearray(frame[:2]), 2
    while at + 4 <= len(frame):
        marker, size = struct.unpack_from(">HH", frame, at)
        if marker == _J2K_TILE:
            break
        if marker != _J2K_COMMENT:
            kept += frame[at : at + 2 + size]
        at += 2 + size
    return bytes(kept + frame[at:])
