"""Scans in which one half of the head is replaced by the mirror image of the other.

Coordinates are relative to the centre in halves of the side, x to the right and y downwards; -1 and
1 are the edges. Needs scipy (extra 'audit').
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tumorlens.evaluation.sampling import Mask, ModelInput

Floats = NDArray[np.float64]
SYMMETRIC_VIEWS = ("axial", "coronal")
"""Views in which the head is symmetric."""

_CLEAR = 0.02  # smallest distance from the axis of a lesion that lies on one side only
_ASYMMETRIC = 0.35  # scans with a larger asymmetry have no axis
_TILT, _OFFSET = math.radians(5), 0.03
# Coarse-to-fine search: side of the image, numbers of steps of tilt and offset, size of the steps.
_SEARCH = ((32, 3, 4, 1.0), (64, 2, 2, 0.25))


class Axis(NamedTuple):
    """The line of symmetry of a head.

    Attributes:
        tilt: Radians from vertical, clockwise.
        offset: Distance from the centre, to the right.
        asymmetry: Mean absolute difference of scan and mirror image, relative to the mean.
    """

    tilt: float
    offset: float
    asymmetry: float

    @property
    def found(self) -> bool:
        """Whether the halves are similar enough for the head to have an axis."""
        return self.asymmetry < _ASYMMETRIC


def find_axis(scan: ModelInput) -> Axis:
    """Return the axis with the least asymmetry of a scan float32 ``[C, S, S]``.

    Tilts up to 17.5 degrees and offsets up to 0.14 are searched.
    """
    grey, axis = scan.mean(axis=0, dtype=np.float64), Axis(0.0, 0.0, math.inf)
    for side, tilts, offsets, size in _SEARCH:
        small = _pooled(grey, side)
        steps = np.mgrid[-tilts : tilts + 1, -offsets : offsets + 1].reshape(2, -1) * size
        tilt, offset = axis.tilt + steps[0] * _TILT, axis.offset + steps[1] * _OFFSET
        mirrored = _sample(small, *_mirror_points(tilt, offset, side))
        asymmetry = np.abs(mirrored - small).mean(axis=(1, 2)) / max(float(small.mean()), 1e-3)
        best = int(asymmetry.argmin())
        axis = Axis(float(tilt[best]), float(offset[best]), float(asymmetry[best]))
    return axis


def mirror_half(scan: ModelInput, axis: Axis, kept: int) -> ModelInput:
    """Return a scan ``[C, S, S]`` made of one half (1 right, -1 left) and its mirror image."""
    tilt, offset = np.array([axis.tilt]), np.array([axis.offset])
    x, y = _mirror_points(tilt, offset, scan.shape[-1], kept)
    return np.stack([_sample(plane, x[0], y[0]) for plane in scan]).astype(np.float32)


def lesion_free_side(marked: Mask, axis: Axis) -> int:
    """Return the side, 1 right or -1 left, that is free of ``marked`` ``[S, S]``.

    It is 0 if the mask is empty or on both sides.
    """
    across, _ = _along_axis(np.array([axis.tilt]), np.array([axis.offset]), len(marked))
    left, right = marked & (across[0] < _CLEAR), marked & (across[0] > -_CLEAR)
    return int(left.any()) - int(right.any())


def _along_axis(tilt: Floats, offset: Floats, side: int) -> tuple[Floats, Floats]:
    """Return each pixel's coordinates across (to the right) and along K axes, ``[K, S, S]``."""
    line = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = line[None, None, :], line[None, :, None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    return cos * x + sin * y - offset[:, None, None], cos * y - sin * x


def _mirror_points(
    tilt: Floats, offset: Floats, side: int, kept: int | None = None
) -> tuple[Floats, Floats]:
    """Return the mirror point of each pixel at K axes, x and y ``[K, S, S]``.

    With ``kept``, 1 right or -1 left, pixels on that side are their own mirror points.
    """
    across, along = _along_axis(tilt, offset, side)
    across = -across if kept is None else np.abs(across) * kept
    across = across + offset[:, None, None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    return cos * across - sin * along, sin * across + cos * along


def _sample(plane: NDArray[np.floating], x: Floats, y: Floats) -> Floats:
    """Return a plane ``[S, S]`` at points of any shape, bilinearly interpolated and 0 outside.

    OpenCV's remap rounds points to 1/32 of a pixel.
    """
    from scipy.ndimage import map_coordinates

    row, column = (((points + 1) * len(plane) - 1) / 2 for points in (y, x))
    values = plane.astype(np.float64)
    return np.asarray(map_coordinates(values, [row, column], order=1, mode="grid-constant"))


def _pooled(plane: Floats, side: int) -> Floats:
    """Return a plane ``[S, S]`` average-pooled adaptively to ``side`` × ``side``."""
    start = np.arange(side) * len(plane) // side
    end = -(-np.arange(1, side + 1) * len(plane) // side)
    index = np.arange(len(plane))
    windows = ((index >= start[:, None]) & (index < end[:, None])) / (end - start)[:, None]
    return np.asarray(windows @ plane @ windows.T)
