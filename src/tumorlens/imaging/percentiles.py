"""Percentiles of pixels, as `numpy.percentile` gives them, from a histogram where that is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = 256
_MAX_COUNTED = 2**24  # up to here float32, in which OpenCV counts, holds every number


def percentiles(
    values: NDArray[Any], at: Sequence[float], mask: NDArray[np.bool_] | None = None
) -> list[float]:
    """Return the percentiles ``at`` (0..100) of ``[H, W]`` pixels, interpolated linearly.

    Args:
        values: Any real dtype; 8-bit pixels are counted instead of sorted, to the same result.
        at: In percent.
        mask: bool ``[H, W]``, the pixels that count; None: all. At least one must.
    """
    if values.dtype != np.uint8 or values.size > _MAX_COUNTED:
        chosen = values if mask is None else values[mask]
        return [float(value) for value in np.percentile(chosen, at)]
    chosen_pixels = None if mask is None else mask.view(np.uint8)
    counts = cv2.calcHist([values], [0], chosen_pixels, [_LEVELS], [0, _LEVELS])
    below = np.cumsum(counts.ravel(), dtype=np.int64)
    return [_at(below, part) for part in at]


def _at(below: NDArray[np.int64], part: float) -> float:
    """Interpolate as numpy's method ``linear``; ``below`` counts the pixels up to each level."""
    place = (int(below[-1]) - 1) * (part / 100)
    rank = math.floor(place)
    low = int(np.searchsorted(below, rank, side="right"))
    high = int(np.searchsorted(below, min(rank + 1, int(below[-1]) - 1), side="right"))
    step = place - rank
    if step >= 0.5:
        return high - (high - low) * (1 - step)
    return low + (high - low) * step
