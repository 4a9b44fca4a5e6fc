"""Scans as the battery's tests need them, and which of many are taken."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import LESION, lesion_picture, read_pixels
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.image import Image
from tumorlens.imaging.preprocess import locate
from tumorlens.inference.overlay import as_scan
from tumorlens.inference.predictor import Predictor
from tumorlens.training.surgery import Mask, Picture, grown, head_outline

WORKING_SIDE = 256
"""Pictures are shrunk to this longest side before anything is done to them, so that a strength in
pixels means the same for all; no network here sees more of them."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan and what is known of where things lie in it.

    Attributes:
        record: Whose it is.
        side: Longer side of the image as it was read, in pixels.
        shown: uint8 ``[H, W]``, at most `WORKING_SIDE` a side.
        frame: Where the network's square lies on ``shown``.
        picture: The network's input, float32 ``[C, S, S]``.
        head: The head's convex outline in the square, bool ``[S, S]``.
        lesion: The annotation in the square, uint8 ``[S, S]``: 255 lesion, 128 unsure, 0 none.
    """

    record: Record
    side: int
    shown: NDArray[np.uint8]
    frame: Frame
    picture: Picture
    head: Mask
    lesion: NDArray[np.uint8]

    @property
    def tumour(self) -> Mask:
        """What is masked or cut out as the tumour: outline or ellipse, grown by 3 % of the side.

        All False without annotation.
        """
        return grown(self.lesion == LESION, 0.03)

    def inside(self, gone: Mask | None = None) -> tuple[Mask, Mask]:
        """Return where in the head something can be put, without ``gone``: brain, then anywhere."""
        free = np.ones_like(self.head) if gone is None else ~gone
        return grown(self.head, -0.08) & free, grown(self.head, -0.03) & free


def read_scan(predictor: Predictor, record: Record) -> Scan:
    """Read one record for the battery; raises `InputError` when its file cannot be decoded."""
    pixels = read_pixels(record)
    shown = working_copy(pixels)
    spec = predictor.card.preprocess
    frame = locate(shown, spec)
    return Scan(
        record,
        max(pixels.shape[:2]),
        shown,
        frame,
        prepare(predictor, shown),
        head_outline(shown, frame),
        lesion_picture(record, frame),
    )


def working_copy(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return decoded pixels as shown, grey uint8, shrunk to at most `WORKING_SIDE` a side."""
    grey = as_scan(pixels)
    shrink = WORKING_SIDE / max(grey.shape)
    if shrink >= 1:
        return grey
    size = (max(1, round(grey.shape[1] * shrink)), max(1, round(grey.shape[0] * shrink)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def prepare(predictor: Predictor, shown: NDArray[np.uint8]) -> Picture:
    """Return the network's input for a whole picture."""
    return predictor.prepare(Image(shown, "array", "picture"))


def draw_by_group(records: Sequence[Record], limit: int | None, seed: int) -> list[Record]:
    """Draw at most ``limit`` records that keep the mix of labels and sources, spread over groups.

    Each pair of label and source gets its share of the limit, at least one. Inside it every group
    gives one record before any gives a second, for copies of a scan add little. The same seed
    draws the same records; their order stays. None takes all.
    """
    if limit is None or limit >= len(records):
        return list(records)
    rng = np.random.default_rng(seed)
    strata: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        strata[(record.label or 0, record.source)].append(index)
    chosen: list[int] = []
    for _, members in sorted(strata.items()):
        share = max(1, round(limit * len(members) / len(records)))
        chosen += _by_turns(members, records, rng)[:share]
    return [records[index] for index in sorted(chosen)]


def _by_turns(
    members: Sequence[int], records: Sequence[Record], rng: np.random.Generator
) -> list[int]:
    """Order members so that all groups give their first before any gives its second."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index in rng.permutation(members).tolist():
        groups[records[index].group].append(index)
    turns = [(turn, index) for group in groups.values() for turn, index in enumerate(group)]
    return [index for _, index in sorted(turns, key=lambda each: each[0])]
