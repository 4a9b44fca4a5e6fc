"""Records → network inputs and lesion masks, cached between runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.atomic import atomic_file
from tumorlens.data.manifest import Plane, Record
from tumorlens.data.near_duplicates.fingerprint_cache import read_bytes
from tumorlens.errors import OutputError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.preprocess import Frame, PreprocessSpec, prepare
from tumorlens.volumes.discover import load_volume
from tumorlens.volumes.slices import take_slice
from tumorlens.volumes.volume import Volume

# Values of a lesion mask. The ignore region is the part of a box outside its inscribed ellipse, and
# a margin around each annotation.
BACKGROUND, LESION, IGNORE = 0, 1, 2
_SUPERSAMPLE = 4
# Part of every cache key; to be increased when inputs or lesion masks change.
_CACHE_VERSION = 3


def read_pixels(record: Record) -> NDArray[Any]:
    """Return the record's pixels ``[H, W]`` or ``[H, W, 3]``, as from :func:`decode`.

    Raises:
        InputError: The file cannot be decoded.
    """
    if record.is_slice:
        plane, index, *tilt = record.path.name.partition("#")[2].split(":")
        angles = (float(tilt[0]), float(tilt[1])) if tilt else (0.0, 0.0)
        return take_slice(_volume(record.file), cast("Plane", plane), int(index), angles)
    return decode(record.path).pixels


@lru_cache(maxsize=2)
def _volume(path: Path) -> Volume:
    # Slices of a volume are adjacent in every list of records.
    return load_volume(path)


def lesion_mask(record: Record, frame: Frame) -> NDArray[np.uint8]:
    """Draw the record's boxes and outlines on the network's input: uint8 ``[size, size]``.

    Values are `LESION`, `IGNORE` and `BACKGROUND`. Outlines are filled; for a box the inscribed
    ellipse is lesion and the rest ignored, since the corners usually show healthy tissue. A margin
    of 1 % of the side around both is ignored too. Without annotation all is background.
    """
    size = frame.size
    mask = np.full((size, size), BACKGROUND, dtype=np.uint8)
    scale = size * _SUPERSAMPLE
    lesion = np.zeros((scale, scale), dtype=np.uint8)
    ignored = np.zeros_like(lesion)
    for polygon in record.polygons or ():
        points = _points_to_input(np.asarray(polygon, dtype=np.float64), frame) * scale
        cv2.fillPoly(lesion, [np.round(points).astype(np.int32)], 1)
    if record.boxes and not record.polygons:
        for x0, y0, x1, y1 in frame.boxes_to_input(np.asarray(record.boxes)) * scale:
            centre = (round(float(x0 + x1) / 2), round(float(y0 + y1) / 2))
            axes = (round(float(x1 - x0) / 2), round(float(y1 - y0) / 2))
            cv2.ellipse(lesion, centre, axes, 0, 0, 360, 1, cv2.FILLED)
            corners = [round(float(v)) for v in (x0, y0, x1, y1)]
            cv2.rectangle(ignored, tuple(corners[:2]), tuple(corners[2:]), 1, cv2.FILLED)
    if not lesion.any():
        return mask
    diameter = 2 * round(0.01 * scale) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    around = cv2.dilate(np.maximum(lesion, ignored), kernel)
    full = np.where(lesion > 0, LESION, np.where(around > 0, IGNORE, BACKGROUND)).astype(np.uint8)
    return np.asarray(cv2.resize(full, (size, size), interpolation=cv2.INTER_NEAREST_EXACT))


def _points_to_input(points: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """Convert points ``[K, 2]`` from fractions of the image to fractions of the input."""
    pixels = points * np.array([frame.width, frame.height])
    points = (pixels - np.array([frame.x0, frame.y0])) / np.array([frame.w, frame.h])
    return np.asarray(points, dtype=np.float64)


def load_inputs(
    records: Sequence[Record],
    spec: PreprocessSpec,
    *,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return inputs float32 ``[N, C, S, S]`` and lesion masks uint8 ``[N, S, S]``.

    The inputs are those of :func:`prepare`. With ``cache_dir`` both are cached as memory-mapped
    ``.npy`` files named by a hash of files, annotations and spec; a damaged file is replaced.

    Raises:
        InputError: A record's file cannot be decoded.
        OutputError: The cache folder cannot be written.
    """
    inputs = np.zeros((len(records), spec.channels, spec.size, spec.size), dtype=np.float32)
    lesions = np.zeros((len(records), spec.size, spec.size), dtype=np.uint8)
    files: list[Path] = []
    if cache_dir is not None:
        key = _cache_key(records, spec)
        files = [cache_dir / f"{key}.{part}.npy" for part in ("inputs", "lesions")]
        cached_inputs, cached_lesions = _cached(files[0], inputs), _cached(files[1], lesions)
        if cached_inputs is not None and cached_lesions is not None:
            return cached_inputs, cached_lesions
    for index, record in enumerate(records):
        prepared = prepare(read_pixels(record), spec)
        inputs[index] = prepared.tensor
        if record.boxes or record.polygons:
            lesions[index] = lesion_mask(record, prepared.frame)
        if progress is not None:
            progress(index + 1, len(records))
    if files:
        _save(files[0], inputs)
        _save(files[1], lesions)
    return inputs, lesions


def _cache_key(records: Sequence[Record], spec: PreprocessSpec) -> str:
    settings = {"preprocessing": _CACHE_VERSION, **spec.to_dict()}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for record in records:
        content = record.sha256 or hashlib.sha256(read_bytes(record.file)).hexdigest()
        digest.update(repr((record.key, content, record.boxes, record.polygons)).encode())
    return digest.hexdigest()[:24]


def _cached(file: Path, like: NDArray[Any]) -> NDArray[Any] | None:
    """Memory-map a cached array; None unless it has the shape and dtype of ``like``."""
    if not file.is_file():
        return None
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(array, np.ndarray) and array.shape == like.shape
    return array if fits and array.dtype == like.dtype else None


def _save(file: Path, array: NDArray[Any]) -> None:
    try:
        with atomic_file(file, parents=True) as stream:
            np.save(stream, array)
    except OutputError as error:
        raise OutputError(f"{error}; or set data.cache_dir=null to disable the cache") from error
