"""A T1-weighted volume of a head → where brain, eyes and what contrast medium brightens are.

For drawing other contrasts of the same head (`imaging.contrasts`). Rough, by morphology and by
thresholds relative to white matter: it needs no atlas and no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import InputError, MissingExtraError
from tumorlens.imaging.enhancing import find_enhancing
from tumorlens.imaging.solids import Floats, Mask, away, ball, piece
from tumorlens.imaging.volume import Volume

NEEDED = (
    "slices in another contrast need a T1-weighted volume of a whole head, so take the file out or "
    "set data.t2_slices_per_plane=0 data.enhanced_slices_per_plane=0"
)
BRAIN_ML = (600.0, 1900.0)
"""Millilitres between which a brain with its ventricles is believed (adults: 900 to 1,700)."""
WORK_MM = 2.0
"""Side of the voxels that are worked on; all radii are in these unless they say mm."""
_EYE_MM = 12.5  # radius of an adult's eye (24 to 25 mm across)
_TALL_MM = 150  # from the top of the head to below the cerebellum
_CORE_MM = 45  # about a middle 75 mm below the top lies brain, and nothing else
# Least contrast of an eye against what is around it, in units of white matter; 0.35 to 0.59 in
# 24 eyes of 12 people.
_EYE_SEEN = 0.25


@dataclass(frozen=True, eq=False)
class Tissues:
    """What other contrasts of a head are drawn from, float32 ``[X, Y, Z]`` each.

    Attributes:
        t1: the T1-weighted volume, 1 in white matter.
        brain: 1 inside the skull (brain and the fluid about it), 0 outside, soft between.
        eyes: 1 in the eyes' vitreous body, 0 elsewhere.
        enhancing: how much contrast medium brightens healthy tissue, up to 1.
        like: the volume that was read.
    """

    t1: Floats
    brain: Floats
    eyes: Floats
    enhancing: Floats
    like: Volume


def find_tissues(volume: Volume) -> Tissues:
    """Find brain and eyes in a T1-weighted volume of a whole head.

    Raises:
        InputError: No whole head, or no brain of a plausible size is found.
        MissingExtraError: SciPy is not installed (extra ``train``).
    """
    try:
        from scipy import ndimage
    except ModuleNotFoundError as error:
        raise MissingExtraError("a drawn contrast", "train") from error
    scale = np.array(volume.spacing_mm) / WORK_MM
    small: Floats = ndimage.zoom(volume.data, scale, order=1) if _other(scale) else volume.data
    white, core = _white_matter(small, volume.name, ndimage)
    t1 = small / np.float32(white)
    brain = _brain(t1, core, ndimage)
    litres = float(brain.sum()) * WORK_MM**3 / 1e3
    if not BRAIN_ML[0] <= litres <= BRAIN_ML[1]:
        raise InputError(
            f"{volume.name}: what looks like its brain takes {litres:.0f} ml, not "
            f"{BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f}; {NEEDED}"
        )
    grown = ndimage.binary_dilation(brain, ball(1))
    soft = ndimage.gaussian_filter(grown.astype(np.float32), 0.7)
    masks = [soft, _eyes(t1, brain, ndimage), find_enhancing(t1, brain, ndimage)]
    if _other(scale):
        masks = [_as_large_as(volume.data, mask, ndimage) for mask in masks]
    soft, eyes, enhancing = masks
    return Tissues(volume.data / np.float32(white), soft, eyes, enhancing, volume)


def _other(scale: NDArray[np.float64]) -> bool:
    return bool((np.abs(scale - 1) > 0.05).any())


def _as_large_as(data: Floats, mask: Floats, ndimage: Any) -> Floats:
    grown = ndimage.zoom(mask, np.array(data.shape) / mask.shape, order=1)
    return np.asarray(np.clip(grown, 0, 1), dtype=np.float32)


def _white_matter(small: Floats, name: str, ndimage: Any) -> tuple[float, tuple[Mask, Mask, int]]:
    """Return white matter's brightness; the head, a ball inside its brain and the highest slice."""
    head = ndimage.gaussian_filter(small, 1) > 0.12 * np.percentile(small, 99)
    head = np.pad(head, 4)  # scalp and brain are one across the dark skull
    head = ndimage.binary_opening(ndimage.binary_closing(head, ball(3)), ball(3))
    head = head[4:-4, 4:-4, 4:-4]
    head = ndimage.binary_fill_holes(piece(head, head, ndimage))
    filled = np.flatnonzero(head.sum(axis=(0, 1)) * WORK_MM**2 > 120)
    if len(filled) < _TALL_MM / 2 / WORK_MM:
        raise InputError(f"{name}: no whole head is seen in it; {NEEDED}")
    top = int(filled[-1])
    upper = slice(max(0, top - round(100 / WORK_MM)), max(1, top - round(20 / WORK_MM)))
    middle = np.argwhere(head[:, :, upper]).mean(axis=0)
    middle[2] = top - round(75 / WORK_MM)
    core = away(small.shape, middle) * WORK_MM < _CORE_MM
    return float(np.percentile(small[core], 80)), (head, core, top)


def _brain(t1: Floats, found: tuple[Mask, Mask, int], ndimage: Any) -> Mask:
    head, core, top = found
    smooth = ndimage.gaussian_filter(t1, 0.4)
    tissue = (smooth > 0.5) & (smooth < 1.35)  # neither fluid and bone nor fat
    tissue[:, :, : max(0, top - round(_TALL_MM / WORK_MM))] = False
    for radius in (2, 3, 4):  # until neck and face have come off
        inner = piece(ndimage.binary_erosion(tissue, ball(radius)), core, ndimage)
        brain = ndimage.binary_dilation(inner, ball(radius + 1)) & tissue
        brain = piece(ndimage.binary_opening(brain, ball(2)), core, ndimage)
        if brain.sum() * WORK_MM**3 / 1e3 < 1250:
            break
    wide = ndimage.binary_closing(np.pad(brain, 10), ball(7))[10:-10, 10:-10, 10:-10]
    return np.asarray(ndimage.binary_fill_holes(wide & head))


def _eyes(t1: Floats, brain: Mask, ndimage: Any) -> Floats:
    """Return dark balls in bright shells on either side in front; 0 where none stands out."""
    smooth = np.minimum(ndimage.gaussian_filter(t1, 0.5), 1.0)
    grid = np.mgrid[-8:9, -8:9, -8:9]
    distance = np.sqrt((grid**2).sum(axis=0))
    ball, shell = (distance <= 4).astype(np.float32), ((distance >= 6) & (distance <= 8))
    places = np.argwhere(brain)
    low, high = places.min(axis=0), places.max(axis=0)
    middle, tall = int((low[0] + high[0]) / 2), high[2] - low[2]
    front = slice(max(8, high[1] - 22), min(t1.shape[1] - 8, high[1] + 14))
    height = slice(max(8, int(low[2] + 0.2 * tall)), int(low[2] + 0.65 * tall))
    eyes = np.zeros_like(t1)
    for sides in (slice(middle - 26, middle - 7), slice(middle + 8, middle + 27)):
        window = tuple(slice(max(0, s.start - 8), s.stop + 8) for s in (sides, front, height))
        part = smooth[window]
        score = ndimage.correlate(part, shell.astype(np.float32) / shell.sum())
        score -= 1.5 * ndimage.correlate(part, ball / ball.sum())
        inner = score[8:-8, 8:-8, 8:-8]
        if not inner.size or inner.max() < _EYE_SEEN:
            continue
        at = np.array(np.unravel_index(int(inner.argmax()), inner.shape))
        at = at + 8 + [s.start for s in window]
        eyes = np.maximum(eyes, np.clip(_EYE_MM / WORK_MM - away(t1.shape, at), 0, 1))
    return np.asarray(eyes, dtype=np.float32)
