"""Approximate skull stripping of single slices by morphology.

For training and testing on skull-stripped slices, as many research archives publish them. Tools for
volumes (BET, HD-BET, SynthStrip) are far better, but need three dimensions.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tumorlens.imaging.preprocess import PreprocessSpec, preprocess

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]

# Plausible brain area, as a fraction of the head's.
_MIN_BRAIN, _MAX_BRAIN = 0.25, 0.9
# Minimum fraction of a lesion inside the brain; less is a meningeal lesion or a failed stripping.
_MIN_LESION = 0.7


def strip_skull(scan: Floats, g: Generator) -> tuple[Floats, Mask] | None:
    """Return a slice with everything but the brain black, and the brain mask; None on failure.

    Pixels deep enough below the head's outline and as bright as tissue are opened with a disc,
    which removes meninges and bridges; the largest component, with gaps closed, is the brain.

    Args:
        scan: Float32 ``[S, S]`` in 0..1.
        g: Draws the depth of the skull and how closely the edge follows the gyri.

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
    otsu = cv2.threshold(inside.reshape(-1, 1), 0, 255, cv2.THRESH_OTSU)[0]
    # Otsu separates fluid and tissue; in T2 fluid is brighter, hence the limit by the median.
    darkest = min(0.8 * otsu, 0.5 * float(np.median(inside))) / 255
    tissue = (below & (scan > darkest)).astype(np.uint8)
    core = cv2.morphologyEx(tissue, cv2.MORPH_OPEN, _disc(side, 0.05)).astype(np.uint8)
    brain = _largest(core, dilation=_disc(side, 0.02), closed=_disc(side, gaps)) & below
    if not _MIN_BRAIN * head.sum() < brain.sum() < _MAX_BRAIN * head.sum():
        return None
    soft = cv2.GaussianBlur(brain.astype(np.float32), (0, 0), 0.6)
    return np.asarray(scan * soft, dtype=np.float32), brain


def stripped_inputs(
    inputs: Floats, g: Generator, spec: PreprocessSpec
) -> tuple[Floats, NDArray[np.int64]]:
    """Strip and preprocess inputs ``[N, C, S, S]``; return those that succeed, and their rows."""
    results = [strip_skull(scan[0], g) for scan in inputs]
    rows = np.array([row for row, each in enumerate(results) if each is not None], dtype=np.int64)
    stripped = [preprocess(each[0], spec) for each in results if each is not None]
    return (np.stack(stripped) if stripped else inputs[:0]), rows


def keeps_lesion(lesion: NDArray[np.bool_], brain: Mask) -> bool:
    """Return whether most of a lesion mask ``[S, S]`` is in the brain; True for an empty mask."""
    return bool((lesion & (brain > 0)).sum() >= _MIN_LESION * lesion.sum())


def _largest(mask: Mask, *, closed: Mask, dilation: Mask | None = None) -> Mask:
    """Return a mask's largest component, optionally dilated, with gaps closed and holes filled."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return np.zeros_like(mask)
    piece = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    if dilation is not None:
        piece = cv2.dilate(piece, dilation).astype(np.uint8)
    piece = cv2.morphologyEx(piece, cv2.MORPH_CLOSE, closed).astype(np.uint8)
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled


def _disc(side: int, fraction: float) -> Mask:
    diameter = max(3, round(side * fraction) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    return np.asarray(disc, dtype=np.uint8)
