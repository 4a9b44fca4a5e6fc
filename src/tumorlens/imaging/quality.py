"""Rule-based quality check: refuse images that cannot be a usable slice of a head.

The limits were chosen on real slices of many scanners and planes so that none of those is refused;
docs/adr/0006-rule-based-quality-check.md says what the rules detect and what they miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.head import Content
from tumorlens.imaging.image import Pixels, shrunk, to_grey
from tumorlens.imaging.percentiles import percentiles
from tumorlens.imaging.views import shows_several_views

MIN_SIDE = 48
_SIDE = 96  # the rules use a copy of this size, in which noise and fine print average out
_DARK = 0.1  # dark: below this, between the 1st (0) and the 99.5th percentile (1)
# Limits, with the range over 5,923 real slices and 24 volumes.
_MIN_CONTRAST = 0.08  # (high - low) / level; 0.31 … 1
_MAX_COLOURED = 0.08  # fraction of coloured pixels; 0 … 0.034
_MIN_DARK, _MAX_DARK = 0.02, 0.93  # fraction of dark pixels; 0.031 … 0.85
_MAX_RIM = 0.85  # mean of the image's rim; 0 … 0.74
_MIN_NEIGHBOUR = 0.45  # correlation of neighbours; 0.58 … 0.997
_MAX_DISTANT = 0.945  # correlation 4 pixels apart; 0.09 … 0.91
_MAX_FLAT = 0.8  # fraction of the grey areas without noise; 0 … 0.65
_NOISE_SIDE, _NOISE = 256, 0.004  # size of the copy; one step of 8 bits, white is 1
_MIN_GREY = 0.05  # fraction of the image below which noise is not measured


@dataclass(frozen=True)
class Quality:
    """Whether an image is usable, and otherwise the reason (for the user)."""

    usable: bool
    reason: str | None


def assess(pixels: Pixels, content: Content | None = None) -> Quality:
    """Check one image, ``[H, W]`` grey or ``[H, W, 3]`` RGB; never raises on such pixels.

    ``content`` is what `find_content` finds in the image's `search_copy`, if already computed.

    Refuses images that are too small, blank, strongly coloured, without a dark background (a page,
    most photographs), of several views, nearly empty, pure noise, a smooth gradient, or a drawing
    in uniform greys.
    Anatomy is not checked: a grey photograph on a dark background passes.
    """
    reason = _reason(pixels, content)
    return Quality(reason is None, reason)


def _reason(pixels: Pixels, content: Content | None) -> str | None:
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"too small: {width} × {height} pixels, need at least {MIN_SIDE} per side"
    fine = shrunk(pixels, _NOISE_SIDE)
    copy = np.asarray(cv2.resize(fine, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA))
    small = copy.astype(np.float64)
    grey = np.asarray(to_grey(copy.astype(np.float32)), dtype=np.float64)
    low, high = percentiles(copy if copy.ndim == 2 else grey, (1, 99.5))
    if high - low <= _MIN_CONTRAST * max(abs(high), abs(low)):
        return "blank: the image has (almost) no contrast"
    if small.ndim == 3 and _coloured_fraction(small) > _MAX_COLOURED:
        return "a colour image; a brain MRI is grey"
    if shows_several_views(to_grey(pixels), content):
        return "several views in one picture; give one slice at a time"
    shade = np.clip((grey - low) / (high - low), 0, 1)
    reason = _structure_reason(shade)
    if reason is None and _flat_fraction(fine, low, high) > _MAX_FLAT:
        return "a drawing or a screenshot: areas of uniform grey, without the noise of a scan"
    return reason


def _structure_reason(shade: NDArray[np.float64]) -> str | None:
    dark = float((shade < _DARK).mean())
    rim = np.concatenate([shade[:4].ravel(), shade[-4:].ravel(),
                          shade[:, :4].ravel(), shade[:, -4:].ravel()])  # fmt: skip
    if dark < _MIN_DARK or rim.mean() > _MAX_RIM:
        return "no dark background around a head"
    if dark > _MAX_DARK:
        return "almost empty: nothing the size of a head"
    centred = shade - shade.mean()
    if _correlation(centred, 1) < _MIN_NEIGHBOUR:
        return "noise: no structure the size of a head"
    if _correlation(centred, 4) > _MAX_DISTANT:
        return "a smooth gradient: no detail of a head"
    return None


def _flat_fraction(fine: NDArray[Any], low: float, high: float) -> float:
    """Return the fraction of grey areas, inside their edges, where neighbours are equal: 0..1.

    ``low`` and ``high`` are black and white. Coarse quantisation and enlargement also produce flat
    areas, hence a limit far above a scan's.
    """
    # 8-bit grey stays as it is: the steps of a scan's noise are whole levels.
    is_8_bit = fine.ndim == 2 and fine.dtype == np.uint8
    grey: NDArray[Any] = fine if is_8_bit else to_grey(fine.astype(np.float32))
    span = high - low
    middle = (grey > low + _DARK * span) & (grey < high - _DARK * span)
    window = np.ones((3, 3), np.uint8)
    inside = cv2.erode(middle.view(np.uint8), window).view(np.bool_)
    count = np.count_nonzero(inside)
    if count < _MIN_GREY * inside.size:
        return 0.0
    steps = np.asarray(cv2.subtract(cv2.dilate(grey, window), cv2.erode(grey, window)))
    return np.count_nonzero(inside & (steps < _NOISE * span)) / count


def _coloured_fraction(small: NDArray[np.float64]) -> float:
    """Return the fraction of pixels whose channels differ by more than 0.2 of the image's white."""
    spread = small.max(axis=2) - small.min(axis=2)
    white = max(float(np.percentile(small.max(axis=2), 99.5)), 1e-12)
    return float((spread > 0.2 * white).mean())


def _correlation(centred: NDArray[np.float64], step: int) -> float:
    """Return the correlation of pixels ``step`` apart, averaged over both directions.

    ``centred`` has a mean of 0.
    """
    variance = float((centred**2).mean()) + 1e-12
    across = float((centred[:, step:] * centred[:, :-step]).mean())
    down = float((centred[step:] * centred[:-step]).mean())
    return (across + down) / 2 / variance
