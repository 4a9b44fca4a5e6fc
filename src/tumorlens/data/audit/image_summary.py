"""`ImageSummary`: the properties of one image that the audit uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates.contrast import ZOOMS, to_uint8
from tumorlens.data.near_duplicates.fingerprint_cache import read_bytes
from tumorlens.data.views import known_view
from tumorlens.errors import InputError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import WHOLE_FLAT, difference_hash, pose_bits
from tumorlens.imaging.image import Pixels, to_grey
from tumorlens.imaging.quality import assess
from tumorlens.imaging.thumbnails import thumbnails

THUMBNAIL_SIDE = 16
_RING = 0.03  # width of the border, as a fraction of the shorter side
_MIN_SIDE = 64
_MAX_ASPECT = 2.0
_MIN_COLOUR = 0.02
_READERS = 4
# Usual suffixes of a format, where they differ from its name.
_SUFFIXES = {"jpeg": {".jpg", ".jpeg"}, "tiff": {".tif", ".tiff"}, "dicom": {".dcm"}}


@dataclass(frozen=True, eq=False)
class ImageSummary:
    """Format, size, border and hashes of one image.

    Attributes:
        record: the image's record, with its view if known.
        sha256: of the file's bytes.
        n_bytes: the file's size.
        format: by content, such as ``jpeg``.
        width: in pixels.
        height: in pixels.
        border: mean, standard deviation and maximum of the outermost ring, and its fraction of
            zeros.
        thumbnail: ``float32 [16, 16]`` in 0..1, the whole image resized to a square.
        head: ``uint8 [64, 64]``, the head's box.
        whole: ``uint8 [64, 64]``, the whole image.
        head_bits: ``uint64 [8, 4]``, hash of the head's box in eight orientations.
        whole_bits: ``uint64 [8, 4]``, hash of the whole image in eight orientations.
        zoom_bits: ``uint64 [3, 4]``, hash of the image's central part at each of `ZOOMS`.
        remarks: unusual properties of the file, in words.
    """

    record: Record
    sha256: str
    n_bytes: int
    format: str
    width: int
    height: int
    border: tuple[float, float, float, float]
    thumbnail: NDArray[np.float32]
    head: NDArray[np.uint8]
    whole: NDArray[np.uint8]
    head_bits: NDArray[np.uint64]
    whole_bits: NDArray[np.uint64]
    zoom_bits: NDArray[np.uint64]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read, and why."""

    record: Record
    reason: str


def summarize_all(records: Iterable[Record]) -> Iterator[ImageSummary | Unreadable]:
    """Summarize each record, in order; reads several files in parallel."""
    with ThreadPoolExecutor(_READERS) as readers:
        yield from readers.map(summarize, records)


def summarize(record: Record) -> ImageSummary | Unreadable:
    """Read and summarize one image; an unreadable file returns `Unreadable`."""
    try:
        raw = read_bytes(record.file)
        image = decode(raw, name=record.path.name)
    except InputError as error:
        return Unreadable(record, str(error))
    pixels = image.pixels
    grey: NDArray[Any] = to_grey(pixels)
    head, whole = thumbnails(pixels, ZOOMS)
    digest = hashlib.sha256(raw).hexdigest()
    height, width = grey.shape
    return ImageSummary(
        record=replace(record, view=record.view or known_view(digest)),
        sha256=digest,
        n_bytes=len(raw),
        format=image.format,
        width=width,
        height=height,
        border=_border(grey),
        thumbnail=_thumbnail(grey),
        head=to_uint8(head),
        whole=to_uint8(whole[0]),
        head_bits=pose_bits(head),
        whole_bits=pose_bits(whole[0], WHOLE_FLAT),
        zoom_bits=np.stack([difference_hash(sample, WHOLE_FLAT) for sample in whole]),
        remarks=tuple(_remarks(record, image.format, pixels)),
    )


def _remarks(record: Record, file_format: str, pixels: Pixels) -> Iterator[str]:
    suffix = record.file.suffix
    if suffix.lower() not in _SUFFIXES.get(file_format, {f".{file_format}"}):
        yield f"named {suffix}, but is a {file_format} file"
    height, width = pixels.shape[:2]
    if min(height, width) < _MIN_SIDE:
        yield f"only {width} × {height} pixels"
    if max(height, width) > _MAX_ASPECT * min(height, width):
        yield f"{width} × {height} pixels: one side is more than twice the other"
    if pixels.ndim == 3:
        channels = pixels.astype(np.float32)
        spread = float((channels.max(axis=2) - channels.min(axis=2)).mean())
        if spread > _MIN_COLOUR * max(float(channels.max()), 1.0):
            yield "in colour"
    quality = assess(pixels)
    if not quality.usable:
        yield f"not a usable head slice: {quality.reason}"


def _border(grey: NDArray[Any]) -> tuple[float, float, float, float]:
    """Return mean, standard deviation, maximum (relative to the image's) and fraction of zeros."""
    scaled = _scaled(grey)
    ring = np.ones(scaled.shape, bool)
    width = max(1, round(_RING * min(scaled.shape)))
    ring[width:-width, width:-width] = False
    values = scaled[ring]
    zeros = float((values == 0).mean())
    return float(values.mean()), float(values.std()), float(values.max()), zeros


def _thumbnail(grey: NDArray[Any]) -> NDArray[np.float32]:
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.asarray(cv2.resize(_scaled(grey), side, interpolation=cv2.INTER_AREA), np.float32)


def _scaled(grey: NDArray[Any]) -> NDArray[np.float32]:
    values = grey.astype(np.float32)
    return np.asarray(values / max(float(values.max()), 1e-6), np.float32)
