"""A drawn T1-weighted head in three dimensions: no patient, all places known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.volume import Volume

SIDES_MM = (180.0, 220.0, 260.0)
BRAIN_MM = (90.0, 105.0, 165.0)
"""Middle of the brain, from the volume's corner; its radii are 65, 82 and 62 mm."""
EYES_MM = ((58.0, 190.0, 135.0), (122.0, 190.0, 135.0))


def _ellipsoid(
    places: NDArray[np.float64], middle: tuple[float, ...], radii: tuple[float, ...]
) -> NDArray[np.bool_]:
    away = (places - np.array(middle)[:, None, None, None]) / np.array(radii)[:, None, None, None]
    return np.asarray((away**2).sum(axis=0) <= 1)


def draw_volume(
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), seed: int = 0
) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """Return the head as a scanner shows it, and its parts: bool ``[X, Y, Z]`` each.

    Brightness: fat 1.5, white matter 1, grey matter 0.72, muscle 0.55, fluid and the eyes'
    vitreous body 0.25, bone and air 0.05; times 400, with noise.
    """
    counts = [round(side / step) for side, step in zip(SIDES_MM, spacing, strict=True)]
    places = np.indices(counts) * np.array(spacing)[:, None, None, None]
    radii = (65.0, 82.0, 62.0)
    grown = [tuple(r + more for r in radii) for more in (12.0, 8.0, 2.0, 0.0, -6.0)]
    scalp, skull, fluid, brain, white = (_ellipsoid(places, BRAIN_MM, r) for r in grown)
    neck = _ellipsoid(places, (90, 80, 20), (52, 58, 110)) & ~skull
    face = _ellipsoid(places, (90, 150, 110), (66, 68, 70)) & ~skull
    head = scalp | neck | face
    drawn = np.full(counts, 0.05)
    drawn[head] = 1.5
    drawn[_ellipsoid(places, (90, 80, 20), (42, 48, 105)) & ~skull] = 0.55
    for part, value in ((skull, 0.05), (fluid, 0.25), (brain, 0.72), (white, 1.0)):
        drawn[part] = value
    inner = _ellipsoid(places, BRAIN_MM, (12, 30, 14))
    drawn[inner] = 0.25
    eyes = np.zeros(counts, dtype=bool)
    for middle in EYES_MM:
        ball = _ellipsoid(places, middle, (12, 12, 12)) & ~skull
        drawn[ball] = 0.25
        eyes |= ball
    noise = np.random.default_rng(seed).normal(0, 0.02, counts)
    voxels = (np.abs(drawn + noise) * 400).astype(np.float32)
    parts = {"head": head, "brain": brain, "white": white & ~inner, "inner": inner, "eyes": eyes,
             "grey": brain & ~white, "neck": neck, "air": ~(head | skull)}  # fmt: skip
    return Volume(voxels, spacing, "drawn_T1.nii"), parts
