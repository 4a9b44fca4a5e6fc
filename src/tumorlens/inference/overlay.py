"""Heat maps and overlays, on the same fixed scale for every image."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import InputError
from tumorlens.imaging.decode import Pixels
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.image import to_grey
from tumorlens.metrics.calibration import calibrated_logit

# Of 255 levels of heat, those up to the first are transparent, from the second on opaque.
_TRANSPARENT, _OPAQUE = 26, 178
# Percentiles shown as black and white for 16-bit and float scans.
_WINDOW = (0.5, 99.8)


def to_heatmap(
    class_map: NDArray[np.float32], frame: Frame, temperature: float, bias: float
) -> NDArray[np.float32]:
    """Turn a class map ``[h, w]`` in logit units into a heat map on the scan's pixels.

    Returns float32 ``[H, W]``, the evidence for a tumour: ``2p - 1`` where the probability
    ``p = sigmoid(map / temperature + bias)`` exceeds 0.5, else 0; 0 outside the frame. Logits are
    interpolated before the sigmoid, which keeps the peaks in place.
    """
    logits = frame.map_to_image(class_map)
    evidence = np.maximum(calibrated_logit(logits, temperature, bias), np.float32(0))
    x, y, width, height = cv2.boundingRect((evidence > 0).view(np.uint8))
    positive = evidence[y : y + height, x : x + width]
    # tanh(x / 2) is 2 sigmoid(x) - 1.
    np.tanh(positive / np.float32(2), out=positive)
    return np.asarray(evidence, dtype=np.float32)


def to_display(pixels: Pixels) -> NDArray[np.uint8]:
    """Return decoded pixels for display: uint8 ``[H, W]`` grey.

    8-bit pixels are unchanged; others are windowed from their 0.5th to their 99.8th percentile
    (a constant image becomes black).
    """
    grey: NDArray[Any] = to_grey(pixels)
    if grey.dtype == np.uint8:
        return np.asarray(grey, dtype=np.uint8)
    low, high = np.percentile(grey, _WINDOW)
    if high <= low:
        return np.zeros(grey.shape, dtype=np.uint8)
    scaled = (grey.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def heat_levels(heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a heat map, float32 ``[H, W]`` in 0..1, in 255 levels: uint8 ``[H, W]``.

    Raises `InputError` for another shape or range.
    """
    if heatmap.ndim != 2 or heatmap.size == 0:
        raise InputError(f"the heat map has shape {list(heatmap.shape)}; expected [H, W]")
    # Negated so that NaN fails too.
    if not (heatmap.min() >= 0 and heatmap.max() <= 1):
        raise InputError("the heat map has values outside 0..1; pass Explanation.heatmap unchanged")
    return np.asarray(cv2.convertScaleAbs(heatmap, alpha=255), dtype=np.uint8)


@cache
def heat_palette() -> NDArray[np.uint8]:
    """Return the colours of the levels 0..255: RGBA uint8 ``[256, 4]``, alpha not premultiplied.

    The colour is Inferno (perceptually uniform, readable in grey); alpha rises linearly from 0 at
    a heat of 0.1 to 255 at 0.7.
    """
    levels = np.arange(256, dtype=np.uint8)[None]
    rgba = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGBA)[0]
    share = (levels[0].astype(np.float64) - _TRANSPARENT) / (_OPAQUE - _TRANSPARENT)
    rgba[:, 3] = np.rint(255 * np.clip(share, 0, 1))
    rgba.flags.writeable = False
    return np.asarray(rgba, dtype=np.uint8)


def heat_rgba(heatmap: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a heat map, float32 ``[H, W]`` in 0..1, by `heat_palette`: RGBA uint8 ``[H, W, 4]``.

    Raises `InputError` for another shape or range.
    """
    return heat_palette()[heat_levels(heatmap)]


def render_overlay(
    scan: NDArray[np.uint8], heatmap: NDArray[np.float32], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """Lay the coloured heat map over the scan: RGB uint8 ``[H, W, 3]``.

    ``scan`` is uint8 ``[H, W]``, ``heatmap`` float32 ``[H, W]`` in 0..1, ``opacity`` 0 (scan
    alone) to 1. Raises `InputError` when shapes differ or a value is out of range.
    """
    if scan.dtype != np.uint8 or scan.shape != heatmap.shape:
        raise InputError(
            f"scan is {scan.dtype} {list(scan.shape)} and the heat map {list(heatmap.shape)}; "
            "both must have the same shape [H, W], the scan dtype uint8"
        )
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity is {opacity}; give a value from 0 to 1")
    coloured = heat_rgba(heatmap).astype(np.float32)
    weight = coloured[..., 3:] / 255 * np.float32(opacity)
    blended = scan[..., None] * (1 - weight) + coloured[..., :3] * weight
    return np.rint(blended).astype(np.uint8)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode uint8 grey ``[H, W]``, RGB ``[H, W, 3]`` or RGBA ``[H, W, 4]`` as PNG."""
    swaps = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    planes = 1 if pixels.ndim == 2 else pixels.shape[-1]
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or planes not in (1, 3, 4):
        raise InputError(
            f"expected uint8 grey, RGB or RGBA pixels, not {pixels.dtype} {pixels.shape}"
        )
    ordered = cv2.cvtColor(pixels, swaps[planes]) if planes in swaps else pixels
    _, encoded = cv2.imencode(".png", ordered)
    return encoded.tobytes()
