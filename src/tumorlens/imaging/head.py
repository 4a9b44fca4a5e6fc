"""Locate the head in a slice: its box and its mask, without frames and annotations around it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# The head is located on a copy of at most this side.
_SEARCH_SIDE = 256
# A box narrower than this fraction of the image counts as not found.
_MIN_HEAD = 0.2

# Of a head whose box takes less of the image than this, the surroundings are cut off first.
_SMALL = 0.15
_MIN_SCAN = 40  # pixels per side of such a head
_SOLID = 0.5  # minimum area of such a head, of its box; text and drawings have less
_ROOM = 0.25  # kept around it, of its longer side

Box = tuple[float, float, float, float]


def find_head(
    grey: NDArray[Any], search: NDArray[np.uint8] | None = None
) -> tuple[Box, NDArray[np.bool_]]:
    """Find the head in a grey image ``[H, W]``: its box (x0, y0, x1, y1) in pixels, and its mask.

    ``search`` is the `search_copy` of the image, if already computed.

    Uniform bars at the edges are removed first; the head is the largest connected component above
    a fraction of Otsu's threshold, so that text and rulers beside it do not widen the box. Without
    a large enough component, everything inside the bars is returned.
    """
    height, width = grey.shape
    search = search_copy(grey) if search is None else search
    top, bottom, left, right = _without_bars(search)
    inner = search[top:bottom, left:right]
    mask = _largest_component(inner)
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    if h < _MIN_HEAD * inner.shape[0] or w < _MIN_HEAD * inner.shape[1]:
        mask = np.ones_like(mask)
        x, y, h, w = 0, 0, *inner.shape
    box = (
        (left + x) / search.shape[1] * width,
        (top + y) / search.shape[0] * height,
        (left + x + w) / search.shape[1] * width,
        (top + y + h) / search.shape[0] * height,
    )
    full = np.zeros(search.shape, dtype=np.uint8)
    full[top:bottom, left:right] = mask
    head = cv2.resize(full, (width, height), interpolation=cv2.INTER_NEAREST)
    return box, np.asarray(head) > 0


def find_small_scan(grey: NDArray[Any], search: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """Return rows and columns around a head that takes a small part of ``[H, W]``, or None.

    ``search`` is the `search_copy`. A scan on a large page would otherwise be too coarse there.
    """
    top, bottom, left, right = _without_bars(search)
    mask = _largest_component(search[top:bottom, left:right])
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    across, down = grey.shape[1] / search.shape[1], grey.shape[0] / search.shape[0]
    if w * h >= _SMALL * search.size or min(w * across, h * down) < _MIN_SCAN:
        return None
    if mask.sum() < _SOLID * w * h:
        return None
    room = _ROOM * max(w * across, h * down)
    first_row, first_column = (top + y) * down - room, (left + x) * across - room
    rows = slice(max(0, int(first_row)), int(first_row + h * down + 2 * room) + 1)
    return rows, slice(max(0, int(first_column)), int(first_column + w * across + 2 * room) + 1)


def search_copy(grey: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a uint8 copy ``[h, w]``, at most 256 pixels per side, stretched to 0..255."""
    height, width = grey.shape
    shrink = min(1.0, _SEARCH_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    scaled = cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX)
    return np.asarray(scaled).astype(np.uint8)


def _without_bars(small: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right without uniform bright rows and columns at the edges."""
    top, bottom, left, right = 0, small.shape[0], 0, small.shape[1]

    def is_bar(line: NDArray[np.uint8]) -> bool:
        # A white or grey bar; black background is handled by the threshold.
        return bool(np.mean(line > 60) > 0.9 and np.std(line[line > 60]) < 12)

    for _ in range(4):  # bars may be nested
        before = (top, bottom, left, right)
        while bottom - top > 8 and is_bar(small[top, left:right]):
            top += 1
        while bottom - top > 8 and is_bar(small[bottom - 1, left:right]):
            bottom -= 1
        while right - left > 8 and is_bar(small[top:bottom, left]):
            left += 1
        while right - left > 8 and is_bar(small[top:bottom, right - 1]):
            right -= 1
        if (top, bottom, left, right) == before:
            break
    return top, bottom, left, right


def _largest_component(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask ``[h, w]`` of the largest bright component, with holes filled."""
    blurred = np.asarray(cv2.medianBlur(grey, 3), dtype=np.uint8)
    otsu, _ = cv2.threshold(blurred, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = (blurred > max(0.4 * otsu, 6)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    bright = cv2.morphologyEx(above, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    if count < 2:
        return np.ones(grey.shape, dtype=bool)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    blob = (labels == largest).astype(np.uint8)
    outlines, _ = cv2.findContours(blob, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = cv2.drawContours(np.zeros_like(blob), outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled) > 0
