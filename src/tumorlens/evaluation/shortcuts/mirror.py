"""Heads made of one half and its mirror image: what a scan would be without its tumour.

Coordinates are halves of the side from the middle, x to the right and y downwards, so that -1 and 1
are the edges.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tumorlens.evaluation.sampling import Mask, ModelInput

Floats = NDArray[np.float64]
SYMMETRIC_VIEWS = ("axial", "coronal")
"""Views of two like halves."""

_CLEAR = 0.02  # a lesion lies to one side when it keeps this far from the axis
_ASYMMETRIC = 0.35  # a scan that differs by more from its mirror image has no axis
_TILT, _OFFSET = math.radians(5), 0.03
# The axis is sought on coarse pictures first: side, steps of tilt and offset, size of the steps.
_SEARCH = ((32, 3, 4, 1.0), (64, 2, 2, 0.25))


class Axis(NamedTuple):
    """The line that a head is mirrored at.

    Attributes:
        tilt: Radians against upright, clockwise.
        offset: From the middle to the right.
        asymmetry: Mean absolute difference of the scan and its mirror image, over its mean.
    """

    tilt: float
    offset: float
    asymmetry: float

    @property
    def found(self) -> bool:
        """Whether the halves are like enough for the line to be the head's."""
        return self.asymmetry < _ASYMMETRIC


def find_axis(scan: ModelInput) -> Axis:
    """Return the axis at which a scan float32 ``[C, S, S]`` is most like its mirror image.

    Sought up to 17.5 degrees of tilt and 0.14 from the middle.
    """
    grey, axis = scan.mean(axis=0, dtype=np.float64), Axis(0.0, 0.0, math.inf)
    for side, tilts, offsets, size in _SEARCH:
        small = _pooled(grey, side)
        steps = np.mgrid[-tilts : tilts + 1, -offsets : offsets + 1].reshape(2, -1) * size
        tilt, offset = axis.tilt + steps[0] * _TILT, axis.offset + steps[1] * _OFFSET
        mirrored = _sampled(small[None], *_mirror_points(tilt, offset, side))[0]
        asymmetry = np.abs(mirrored - small).mean(axis=(1, 2)) / max(float(small.mean()), 1e-3)
        best = int(asymmetry.argmin())
        axis = Axis(float(tilt[best]), float(offset[best]), float(asymmetry[best]))
    return axis


def mirror_half(scan: ModelInput, axis: Axis, kept: int) -> ModelInput:
    """Return a scan ``[C, S, S]`` made of one half and its mirror image: 1 right, -1 left."""
    tilt, offset = np.array([axis.tilt]), np.array([axis.offset])
    x, y = _mirror_points(tilt, offset, scan.shape[-1], kept)
    return _sampled(scan, x[0], y[0]).astype(np.float32)


def clear_side(marked: Mask, axis: Axis) -> int:
    """Return the side, 1 right or -1 left, that ``marked`` ``[S, S]`` leaves clear; 0 without one.

    A mask on neither side, or on both, has none.
    """
    across, _ = _along_axis(np.array([axis.tilt]), np.array([axis.offset]), len(marked))
    left, right = marked & (across[0] < _CLEAR), marked & (across[0] > -_CLEAR)
    return int(left.any()) - int(right.any())


def _along_axis(tilt: Floats, offset: Floats, side: int) -> tuple[Floats, Floats]:
    """Return each pixel's distance from K axes, to the right, and along them, ``[K, S, S]``."""
    line = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = line[None, None, :], line[None, :, None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    return cos * x + sin * y - offset[:, None, None], cos * y - sin * x


def _mirror_points(
    tilt: Floats, offset: Floats, side: int, kept: int | None = None
) -> tuple[Floats, Floats]:
    """Return where each pixel is taken from, x and y ``[K, S, S]``: from its mirror point.

    With ``kept``, 1 right or -1 left, pixels of that side are taken from where they are.
    """
    across, along = _along_axis(tilt, offset, side)
    across = -across if kept is None else np.abs(across) * kept
    across = across + offset[:, None, None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    return cos * across - sin * along, sin * across + cos * along


def _sampled(planes: NDArray[np.floating], x: Floats, y: Floats) -> Floats:
    """Return planes ``[C, S, S]`` at points of any shape, bilinear and 0 outside: ``[C, …]``.

    OpenCV's remap rounds points to 1/32 of a pixel; this does not.
    """
    side = planes.shape[-1]
    padded = np.pad(planes.astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    column, row = (np.clip(((points + 1) * side + 1) / 2, 0, side + 1) for points in (x, y))
    x0, y0 = (np.minimum(points.astype(np.int64), side) for points in (column, row))
    u, v = column - x0, row - y0
    upper = padded[:, y0, x0] * (1 - u) + padded[:, y0, x0 + 1] * u
    lower = padded[:, y0 + 1, x0] * (1 - u) + padded[:, y0 + 1, x0 + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _pooled(plane: Floats, side: int) -> Floats:
    """Return a plane ``[S, S]`` averaged over ``side`` × ``side`` windows that cover it."""
    start = np.arange(side) * len(plane) // side
    end = -(-np.arange(1, side + 1) * len(plane) // side)
    place = np.arange(len(plane))
    windows = ((place >= start[:, None]) & (place < end[:, None])) / (end - start)[:, None]
    return np.asarray(windows @ plane @ windows.T)
