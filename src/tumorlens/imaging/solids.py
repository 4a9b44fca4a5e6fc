"""Masks in three dimensions: balls, distances, connected pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def ball(radius: int) -> Mask:
    """Return a ball, bool ``[2 r + 1, 2 r + 1, 2 r + 1]``."""
    grid = np.mgrid[-radius : radius + 1, -radius : radius + 1, -radius : radius + 1]
    return np.asarray((grid**2).sum(axis=0) <= radius * radius)


def away(
    shape: tuple[int, ...], place: NDArray[Any], radii: tuple[float, ...] = (1, 1, 1)
) -> Floats:
    """Return every voxel's distance from ``place``, in ``radii`` (voxels along X, Y, Z)."""
    axes = np.ogrid[tuple(slice(side) for side in shape)]
    squares = [
        ((axis - at) / radius) ** 2 for axis, at, radius in zip(axes, place, radii, strict=True)
    ]
    return np.asarray(np.sqrt(sum(squares)), dtype=np.float32)


def piece(mask: Mask, weight: Mask, ndimage: Any) -> Mask:
    """Return the connected piece of ``mask`` that holds most of ``weight``."""
    labels, count = ndimage.label(mask)
    held = np.bincount(labels[weight & mask], minlength=count + 1)
    held[0] = 0
    return np.asarray((labels == int(held.argmax())) & mask)


def tube(shape: tuple[int, ...], course: NDArray[Any], radius: float, ndimage: Any) -> Mask:
    """Return what lies within ``radius`` voxels of a course of points ``[N, 3]``."""
    line = np.zeros(shape, dtype=bool)
    steps = np.rint(course).astype(int)
    steps = steps[((steps >= 0) & (steps < shape)).all(axis=1)]
    if not len(steps):
        return line
    line[tuple(steps.T)] = True
    return np.asarray(ndimage.distance_transform_edt(~line) <= radius)
