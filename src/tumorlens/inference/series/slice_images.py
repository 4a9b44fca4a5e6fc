"""Slices of a series for a viewer: grey levels in the scan's own units, and the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.overlay import to_heatmap
from tumorlens.inference.series.scan import SliceEvidence
from tumorlens.volumes.slices import SeriesSlice
from tumorlens.volumes.volume import Volume

# Levels of a scan that is not stored in integers: more than a screen shows in any window.
_FLOAT_LEVELS = 4095
# Percentiles of the volume shown as black and white at first, as in `overlay.to_display`.
_WINDOW = (0.5, 99.8)
_SAMPLE = 2**20


@dataclass(frozen=True)
class GreyScale:
    """How pixels of the images stand for values of the scan.

    Attributes:
        slope, intercept: ``value = intercept + slope * pixel``.
        window: values shown as black and as white at first; the first is the lower.
        bits: 8 or 16, the depth that holds all pixels.
    """

    slope: float
    intercept: float
    window: tuple[float, float]
    bits: int

    def pixels(self, values: NDArray[np.float32]) -> NDArray[np.unsignedinteger[Any]]:
        """Return values ``[H, W]`` of the scan as pixels of ``bits`` depth."""
        levels = np.rint((values - np.float32(self.intercept)) / np.float32(self.slope))
        bounded = np.clip(levels, 0, 2**self.bits - 1)
        depth = np.uint8 if self.bits == 8 else np.uint16
        return np.asarray(bounded, dtype=depth)


def grey_scale(volume: Volume) -> GreyScale:
    """Return one scale for all slices of a volume, so that they can be compared.

    Integers keep their own levels where these fit into 16 bits; others get 4096 levels from the
    volume's minimum to its maximum.
    """
    low, high = float(volume.data.min()), float(volume.data.max())
    own = np.issubdtype(volume.data.dtype, np.integer) and high - low < 2**16
    slope = 1.0 if own else max((high - low) / _FLOAT_LEVELS, 1e-12)
    step = max(1, round((volume.data.size / _SAMPLE) ** (1 / 3)))
    sample: NDArray[Any] = volume.data[::step, ::step, ::step]
    black, white = (float(each) for each in np.percentile(sample, _WINDOW))
    if white <= black:
        black, white = low, max(high, low + slope)
    return GreyScale(slope, low, (black, white), 8 if (high - low) / slope < 2**8 else 16)


def shown_size(cut: SeriesSlice, longest: int) -> tuple[int, int]:
    """Return width and height of a slice's image, at most ``longest`` pixels, never enlarged."""
    height, width = cut.pixels().shape
    ratio = min(1.0, longest / max(height, width))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def draw_scan(cut: SeriesSlice, scale: GreyScale, size: tuple[int, int]) -> bytes:
    """Return a slice as a grey PNG of ``size`` (width, height), oriented as `take_slice`."""
    return _png(scale.pixels(_resized(cut.pixels(), size)))


def draw_evidence(each: SliceEvidence, size: tuple[int, int]) -> bytes | None:
    """Return the evidence of a slice as a grey PNG of ``size`` (width, height).

    255 is 1 on the fixed scale of `Explanation.heatmap`. None where the slice was not answered or
    the model has no map.
    """
    if not each.answered or each.class_map is None or each.frame is None:
        return None
    heat = _resized(to_heatmap(each.class_map, each.frame, 1.0, 0.0), size)
    return _png(np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8))


def _resized(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    if pixels.shape == size[::-1]:
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _png(pixels: NDArray[Any]) -> bytes:
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()
