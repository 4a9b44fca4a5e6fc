"""Slices without their skull, as many research archives publish them: rough, by morphology.

Made from scans to train and test on such slices. Tools for volumes (BET, HD-BET, SynthStrip) do it
well, in three dimensions; one slice of unknown sequence allows no more than this.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.imaging.preprocess import PreprocessSpec, preprocess

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]

# Of the head's area; a brain beyond them was cut wrongly, or its slice shows next to none.
_LEAST, _MOST = 0.25, 0.9
# A lesion that keeps less than this is one of the meninges, or the stripping went wrong.
_KEPT = 0.7


def strip_skull(scan: Floats, g: Generator) -> tuple[Floats, Mask] | None:
    """Return a slice of a head with all but the brain black, and the brain; None where that fails.

    What lies deep enough below the head's outline and is no darker than tissue is opened with a
    disc, which takes meninges and bridges off; the largest piece is the brain, its gaps are closed.

    Args:
        scan: Float32 ``[S, S]`` in 0..1.
        g: Draws how deep the skull reaches and how closely the edge follows the gyri.

    Returns:
        Float32 ``[S, S]``, and uint8 ``[S, S]``: 1 in the brain, 0 elsewhere.
    """
    side = len(scan)
    head = _largest((cv2.blur(scan, (5, 5)) > 0.08).astype(np.uint8), closed=_disc(side, 0.12))
    depth = cv2.distanceTransform(np.pad(head, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    below = depth > side * g.uniform(0.045, 0.075)
    gaps = g.uniform(0.04, 0.15)
    if not below.any():
        return None
    inside = np.rint(scan[below] * 255).astype(np.uint8)
    between = cv2.threshold(inside.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)[0]  # fluid and tissue
    # In T2 fluid is the brighter of both, and all tissue would fall below.
    darkest = min(0.8 * between, 0.5 * float(np.median(inside))) / 255
    tissue = (below & (scan > darkest)).astype(np.uint8)
    core = cv2.morphologyEx(tissue, cv2.MORPH_OPEN, _disc(side, 0.05)).astype(np.uint8)
    brain = _largest(core, grown=_disc(side, 0.02), closed=_disc(side, gaps)) & below
    if not _LEAST * head.sum() < brain.sum() < _MOST * head.sum():
        return None
    soft = cv2.GaussianBlur(brain.astype(np.float32), (0, 0), 0.6)
    return np.asarray(scan * soft, dtype=np.float32), brain


def stripped_inputs(
    inputs: Floats, g: Generator, spec: PreprocessSpec
) -> tuple[Floats, NDArray[np.int64]]:
    """Return those inputs ``[N, C, S, S]`` that can be stripped, prepared anew, and their rows."""
    found = ((row, strip_skull(scan[0], g)) for row, scan in enumerate(inputs))
    made = [(row, stripped[0]) for row, stripped in found if stripped is not None]
    rows = np.array([row for row, _ in made], dtype=np.int64)
    if not made:
        return inputs[:0], rows
    return np.stack([preprocess(brain, spec) for _, brain in made]), rows


def keeps_lesion(lesion: NDArray[np.bool_], brain: Mask) -> bool:
    """Tell whether most of a lesion ``[S, S]`` lies in the brain; so does one that is not known."""
    return bool((lesion & (brain > 0)).sum() >= _KEPT * lesion.sum())


def _largest(mask: Mask, *, closed: Mask, grown: Mask | None = None) -> Mask:
    """Return a mask's largest piece, perhaps grown, its gaps closed and its holes filled."""
    count, pieces, found, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros_like(mask)
    piece = (pieces == 1 + int(np.argmax(found[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    if grown is not None:
        piece = cv2.dilate(piece, grown).astype(np.uint8)
    piece = cv2.morphologyEx(piece, cv2.MORPH_CLOSE, closed).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _disc(side: int, share: float) -> Mask:
    across = max(3, round(side * share) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
    return np.asarray(disc, dtype=np.uint8)
