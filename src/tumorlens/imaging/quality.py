"""Is this a usable slice of a head? Cheap rules that refuse what no brain MRI looks like.

The rules were set on real slices of many scanners and planes so that none of them is refused;
docs/adr/0006-rule-based-quality-check.md says what they catch and what they let through.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.image import Pixels, to_grey

SMALLEST_SIDE = 48
_SIDE = 96  # the rules look at a copy of this size: fine noise and fine print average out
_DARK = 0.1  # dark: below this share of the way from the 1st to the 99.5th percentile
# Each limit with its range over 5,923 real slices and 24 volumes.
_LEAST_CONTRAST = 0.08  # (high - low) / level; 0.31 … 1
_MOST_COLOURED = 0.08  # share of coloured pixels; 0 … 0.034
_LEAST_DARK, _MOST_DARK = 0.02, 0.93  # share of dark pixels; 0.031 … 0.85
_BRIGHTEST_RIM = 0.85  # mean of the picture's rim; 0 … 0.74
_LEAST_NEIGHBOUR = 0.45  # correlation of neighbours; 0.58 … 0.997
_MOST_DISTANT = 0.945  # correlation 4 pixels apart; 0.09 … 0.91
_MOST_EVEN = 0.8  # share of the grey areas without any grain; 0 … 0.65
_GRAIN_SIDE, _GRAIN = 256, 0.004  # looked for at this side; white is 1, one step of 8 bits
_LEAST_GREY = 0.05  # share of the picture below which grain is not judged


@dataclass(frozen=True)
class Quality:
    """Whether a picture is worth a model's answer, and why not (in words for the user)."""

    usable: bool
    reason: str | None


def assess(pixels: Pixels) -> Quality:
    """Judge one picture, ``[H, W]`` grey or ``[H, W, 3]`` RGB; it never raises on such pixels.

    It refuses pictures that are too small, blank, strongly coloured, without a dark background
    (a page, most photographs), nearly empty, mere noise, a smooth shade, or a drawing in even
    greys. It knows no anatomy: a grey photograph on a dark ground passes.
    """
    reason = _objection(pixels)
    return Quality(reason is None, reason)


def _objection(pixels: Pixels) -> str | None:
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        return f"too small: {width} × {height} pixels, need at least {SMALLEST_SIDE} a side"
    small = np.asarray(
        cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), dtype=np.float64
    )
    grey = np.asarray(to_grey(small.astype(np.float32)), dtype=np.float64)
    low, high = np.percentile(grey, (1, 99.5))
    if high - low <= _LEAST_CONTRAST * max(abs(high), abs(low)):
        return "blank: the picture has (almost) no contrast"
    if small.ndim == 3 and _coloured(small) > _MOST_COLOURED:
        return "a colour picture; a brain MRI is grey"
    shade = np.clip((grey - low) / (high - low), 0, 1)
    found = _objection_to_shade(shade)
    if found is None and _even(pixels, low, high) > _MOST_EVEN:
        return "a drawing: its areas are of one grey each, without the grain of a scan"
    return found


def _objection_to_shade(shade: NDArray[np.float64]) -> str | None:
    dark = float((shade < _DARK).mean())
    rim = np.concatenate([shade[:4].ravel(), shade[-4:].ravel(),
                          shade[:, :4].ravel(), shade[:, -4:].ravel()])  # fmt: skip
    if dark < _LEAST_DARK or rim.mean() > _BRIGHTEST_RIM:
        return "no dark background around a head"
    if dark > _MOST_DARK:
        return "almost empty: nothing the size of a head"
    if _correlation(shade, 1) < _LEAST_NEIGHBOUR:
        return "noise: no structure the size of a head"
    if _correlation(shade, 4) > _MOST_DISTANT:
        return "a smooth shade: no detail of a head"
    return None


def _even(pixels: Pixels, low: float, high: float) -> float:
    """Return the share of grey areas, inside their edges, where neighbours are equal: 0..1.

    ``low`` and ``high`` are the picture's black and white. The steps of coarse quantisation and
    enlargement are even too, hence a limit far above a scan's.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _GRAIN_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    shade = (np.asarray(to_grey(small), dtype=np.float32) - low) / (high - low)
    window = np.ones((3, 3), np.uint8)
    grey = ((shade > _DARK) & (shade < 1 - _DARK)).astype(np.uint8)
    inside = cv2.erode(grey, window) > 0
    if inside.mean() < _LEAST_GREY:
        return 0.0
    reach = cv2.dilate(shade, window) - cv2.erode(shade, window)
    return float((reach[inside] < _GRAIN).mean())


def _coloured(small: NDArray[np.float64]) -> float:
    """Return the share of pixels whose channels differ by a fifth of the picture's white."""
    spread = small.max(axis=2) - small.min(axis=2)
    white = max(float(np.percentile(small.max(axis=2), 99.5)), 1e-12)
    return float((spread > 0.2 * white).mean())


def _correlation(shade: NDArray[np.float64], step: int) -> float:
    """Return the correlation of pixels ``step`` apart, mean of both directions."""
    centred = shade - shade.mean()
    variance = float((centred**2).mean()) + 1e-12
    across = float((centred[:, step:] * centred[:, :-step]).mean())
    down = float((centred[step:] * centred[:-step]).mean())
    return (across + down) / 2 / variance
