"""Records → network inputs and lesion pictures, decoded once and kept between runs."""

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
from tumorlens.data.fingerprints import read_bytes
from tumorlens.data.manifest import Plane, Record
from tumorlens.errors import OutputError
from tumorlens.imaging.decode import decode
from tumorlens.imaging.preprocess import Frame, PreprocessSpec, locate, preprocess
from tumorlens.imaging.volume import Volume, load_volume, take_slice

# Lesion pictures are uint8: 255 lesion, 0 none, UNSURE between (inside a box but outside the
# ellipse that fills it, or just beside an outline).
LESION, UNSURE = 255, 128
_SUPERSAMPLE = 4
# Part of every kept file's name; counted up when inputs or lesion pictures become others.
_PREPROCESSING = 2


def read_pixels(record: Record) -> NDArray[Any]:
    """Return the record's pixels: ``[H, W]`` or ``[H, W, 3]``, as :func:`decode` gives them.

    Raises:
        InputError: The file cannot be decoded.
    """
    if record.is_slice:
        plane, index, *tilt = record.path.name.partition("#")[2].split(":")
        turned = (float(tilt[0]), float(tilt[1])) if tilt else (0.0, 0.0)
        return take_slice(_volume(record.file), cast("Plane", plane), int(index), turned)
    return decode(record.path).pixels


@lru_cache(maxsize=2)
def _volume(path: Path) -> Volume:
    # The slices of a volume stand next to each other in every list of records.
    return load_volume(path)


def lesion_picture(record: Record, frame: Frame) -> NDArray[np.uint8]:
    """Draw the record's boxes and outlines in the input's square: uint8 ``[size, size]``.

    An outline is filled; a box counts as the ellipse that fills it, since its corners
    usually hold healthy tissue, and the rest of the box as unsure. A margin of 1 % of the
    side around both is unsure too. A record without annotation gives zeros.
    """
    size = frame.size
    picture = np.zeros((size, size), dtype=np.uint8)
    scale = size * _SUPERSAMPLE
    sure = np.zeros((scale, scale), dtype=np.uint8)
    unsure = np.zeros_like(sure)
    for polygon in record.polygons or ():
        points = _points_to_input(np.asarray(polygon, dtype=np.float64), frame) * scale
        cv2.fillPoly(sure, [np.round(points).astype(np.int32)], 1)
    if record.boxes and not record.polygons:
        for x0, y0, x1, y1 in frame.boxes_to_input(np.asarray(record.boxes)) * scale:
            centre = (round(float(x0 + x1) / 2), round(float(y0 + y1) / 2))
            axes = (round(float(x1 - x0) / 2), round(float(y1 - y0) / 2))
            cv2.ellipse(sure, centre, axes, 0, 0, 360, 1, cv2.FILLED)
            corners = [round(float(v)) for v in (x0, y0, x1, y1)]
            cv2.rectangle(unsure, tuple(corners[:2]), tuple(corners[2:]), 1, cv2.FILLED)
    if not sure.any():
        return picture
    reach = 2 * round(0.01 * scale) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    around = cv2.dilate(np.maximum(sure, unsure), kernel)
    full = np.where(sure > 0, LESION, np.where(around > 0, UNSURE, 0)).astype(np.uint8)
    return np.asarray(cv2.resize(full, (size, size), interpolation=cv2.INTER_NEAREST_EXACT))


def _points_to_input(points: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """Move points ``[K, 2]`` from fractions of the image to fractions of the input."""
    pixels = points * np.array([frame.width, frame.height])
    moved = (pixels - np.array([frame.x0, frame.y0])) / np.array([frame.w, frame.h])
    return np.asarray(moved, dtype=np.float64)


def load_inputs(
    records: Sequence[Record],
    spec: PreprocessSpec,
    *,
    cache_dir: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return inputs float32 ``[N, C, S, S]`` and lesion pictures uint8 ``[N, S, S]``.

    The inputs are exactly what :func:`preprocess` gives. With ``cache_dir`` they are kept as
    memory-mapped ``.npy`` files under a name made from the files' hashes, the annotations
    and the spec, so a stale file is never read; a damaged one is made anew.

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
        kept_inputs, kept_lesions = _kept(files[0], inputs), _kept(files[1], lesions)
        if kept_inputs is not None and kept_lesions is not None:
            return kept_inputs, kept_lesions
    for index, record in enumerate(records):
        pixels = read_pixels(record)
        inputs[index] = preprocess(pixels, spec)
        if record.boxes or record.polygons:
            lesions[index] = lesion_picture(record, locate(pixels, spec))
        if progress is not None:
            progress(index + 1, len(records))
    if files:
        _save(files[0], inputs)
        _save(files[1], lesions)
    return inputs, lesions


def _cache_key(records: Sequence[Record], spec: PreprocessSpec) -> str:
    plan = {"preprocessing": _PREPROCESSING, **spec.to_dict()}
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode())
    for record in records:
        content = record.sha256 or hashlib.sha256(read_bytes(record.file)).hexdigest()
        digest.update(repr((record.key, content, record.boxes, record.polygons)).encode())
    return digest.hexdigest()[:24]


def _kept(file: Path, like: NDArray[Any]) -> NDArray[Any] | None:
    """Map a kept array that has the shape and type of ``like``; None for any other file."""
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
        raise OutputError(f"{error}; or set data.cache_dir=null to keep none") from error
