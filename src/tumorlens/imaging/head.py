"""Locate the head in a slice: its box and its mask, without frames and annotations around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Content:
    """What a search copy shows: the rectangle without bars, and the largest bright part in it.

    Attributes:
        search: The `search_copy`, uint8 ``[h, w]``.
        inner: Rows and columns without uniform bars at the edges.
        bright: The `bright_parts` of ``inner``.
        mask: bool, the size of ``inner``: the largest connected component, holes filled.
        box: x, y, width and height of ``mask`` in ``inner``.
    """

    search: NDArray[np.uint8]
    inner: tuple[slice, slice]
    bright: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]


def find_content(search: NDArray[np.uint8]) -> Content:
    """Find the largest bright part of a `search_copy`, beside uniform bars at its edges."""
    top, bottom, left, right = _without_bars(search)
    inner = slice(top, bottom), slice(left, right)
    bright = bright_parts(search[inner])
    mask = _largest_component(bright)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Content(search, inner, bright, mask, (x, y, width, height))


def find_head(grey: NDArray[Any], content: Content | None = None) -> tuple[Box, NDArray[np.bool_]]:
    """Find the head in a grey image ``[H, W]``: its box (x0, y0, x1, y1) in pixels, and its mask.

    ``content`` is what `find_content` finds in the image's `search_copy`, if already computed.

    Uniform bars at the edges are removed first; the head is the largest connected component above
    a fraction of Otsu's threshold, so that text and rulers beside it do not widen the box. Without
    a large enough component, everything inside the bars is returned.
    """
    height, width = grey.shape
    content = find_content(search_copy(grey)) if content is None else content
    search, mask = content.search, content.mask
    x, y, w, h = content.box
    top, left = content.inner[0].start, content.inner[1].start
    if h < _MIN_HEAD * mask.shape[0] or w < _MIN_HEAD * mask.shape[1]:
        mask = np.ones_like(mask)
        x, y, h, w = 0, 0, *mask.shape
    box = (
        (left + x) / search.shape[1] * width,
        (top + y) / search.shape[0] * height,
        (left + x + w) / search.shape[1] * width,
        (top + y + h) / search.shape[0] * height,
    )
    full = np.zeros(search.shape, dtype=np.uint8)
    full[content.inner] = mask
    head = cv2.resize(full, (width, height), interpolation=cv2.INTER_NEAREST)
    return box, np.asarray(head).view(np.bool_)


def find_small_scan(grey: NDArray[Any], content: Content) -> tuple[slice, slice] | None:
    """Return rows and columns around a head that takes a small part of ``[H, W]``, or None.

    ``content`` is that of the image. A scan on a large page would otherwise be too coarse there.
    """
    search = content.search
    x, y, w, h = content.box
    top, left = content.inner[0].start, content.inner[1].start
    across, down = grey.shape[1] / search.shape[1], grey.shape[0] / search.shape[0]
    if w * h >= _SMALL * search.size or min(w * across, h * down) < _MIN_SCAN:
        return None
    if content.mask.sum() < _SOLID * w * h:
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


def _largest_component(bright: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask ``[h, w]`` of the largest component of 1, with holes filled; all without."""
    outlines, tree = cv2.findContours(bright, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return np.ones(bright.shape, dtype=bool)
    outer = [each for each, parent in zip(outlines, tree[0, :, 3], strict=True) if parent < 0]
    outer.sort(key=_area)
    outer.reverse()  # so that of equal ones the uppermost, which OpenCV gives last, is the first
    filled = _filled(outer[0], bright)
    others = [_area(each) for each in outer[1:]]
    # Of its pixels, some may be of components within its holes; what is surely its own is more
    # than any other can have, unless there are two of similar size.
    own = cv2.countNonZero(cv2.bitwise_and(bright, filled)) - sum(others)
    if others and own <= others[0]:
        filled = _filled(_of_most_pixels(outer, bright), bright)
    return filled.view(np.bool_)


def bright_parts(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where a `search_copy` is bright and 0 elsewhere, without specks: ``[h, w]``."""
    blurred = np.asarray(cv2.medianBlur(grey, 3), dtype=np.uint8)
    otsu, _ = cv2.threshold(blurred, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = (blurred > max(0.4 * otsu, 6)).view(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    return np.asarray(cv2.morphologyEx(above, cv2.MORPH_OPEN, kernel), dtype=np.uint8)


def _area(outline: Any) -> int:
    """Return the number of pixels of an outline's bounding box."""
    _, _, width, height = cv2.boundingRect(outline)
    return width * height


def _filled(outline: Any, bright: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 within an outline and 0 elsewhere, the size of ``bright``."""
    drawn = cv2.drawContours(np.zeros_like(bright), [outline], 0, [1], cv2.FILLED)
    return np.asarray(drawn, dtype=np.uint8)


def _of_most_pixels(outlines: Sequence[Any], bright: NDArray[np.uint8]) -> Any:
    """Return the outline of the component of most pixels; ``outlines`` from the largest box on."""
    counted = bright.copy()
    largest, most = outlines[0], 0
    for outline in outlines:
        if _area(outline) <= most:
            break
        x, y = outline[0, 0].tolist()
        pixels, *_ = cv2.floodFill(counted, None, (x, y), [2], flags=8)
        if pixels > most:
            largest, most = outline, pixels
    return largest
