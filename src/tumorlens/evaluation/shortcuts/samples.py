"""Scans as the battery's tests need them, and which of many are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import LESION, lesion_mask, read_pixels
from tumorlens.evaluation.sampling import prepare, working_copy
from tumorlens.evaluation.shortcuts.interventions import Mask, Picture, grown, head_outline
from tumorlens.imaging.frame import Frame
from tumorlens.inference.predictor import Predictor


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
    ready = prepare(predictor, shown)
    return Scan(
        record,
        max(pixels.shape[:2]),
        shown,
        ready.frame,
        ready.tensor,
        head_outline(shown, ready.frame),
        lesion_mask(record, ready.frame),
    )
