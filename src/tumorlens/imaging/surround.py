"""Detect what surrounds a scan in an image: a white page, a drawn border."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.head import search_copy

# Page and border are located on a copy of at most 256 pixels per side, grey levels 0..255.
_WHITE = 246  # minimum grey level of a page
_DIM = 40  # minimum grey level of a window's ground around the scan, in a screenshot
_EVEN = 2  # maximum difference of neighbours on that ground
_MIN_GROUND = 0.1  # minimum area of that ground, of the image
_UNIFORM = 10  # maximum difference of neighbours on a page, including compression noise
_MIN_PAGE = 0.02  # minimum area, of the image; bright skin at the edge is thinner
_CORNER = 0.05  # maximum distance of a page from a corner, of the shorter side
_MAIN_CONTENT = 0.6  # minimum area of the largest object on a page, of all objects
_DARK, _BRIGHT = 25, 230
_NESTED = 3  # maximum number of nested borders and pages
_LINE = 70  # minimum grey level of a border
_LONG = 0.6  # minimum length of a border line without a gap, of the image's side
_THICK = 0.05  # maximum thickness of a line, of the image's side
_OUTER = 0.3  # outer part of the image in which borders are searched, of its side
_RIM = 2  # pixels beside page and line, blurred by shrinking and compression
_MIN_SIDE = 32  # minimum side of a region in which borders are searched, in pixels
_STRAIGHT = 0.4  # maximum deviation of a line's edge from straight (standard deviation, pixels)
_DARK_WITHIN = 0.6  # minimum fraction of the line's length with darkness inside

_Small = NDArray[np.uint8]
_Mask = NDArray[np.bool_]


def find_surround(grey: NDArray[Any], search: _Small | None = None) -> _Mask | None:
    """Find the page and the border around a scan.

    A page is white, uniform, and reaches a corner of the image or of the border. A border is a
    thin line along a side, straight to half a pixel in 256, with darkness inside; it includes
    everything outside the line.

    Args:
        grey: ``[H, W]``, any real dtype and range.
        search: Its `search_copy`, if already computed.

    Returns:
        bool ``[H, W]``, True outside the scan; None if the scan fills the image.
    """
    height, width = grey.shape
    search = search_copy(grey) if search is None else search
    hidden = np.zeros(search.shape, dtype=bool)
    for _ in range(_NESTED):
        rest, inner = _rest(search, hidden)
        hidden[inner] |= _page(rest)
        rest, inner = _rest(search, hidden)
        inside = _inside_border(rest)
        if inside is None:
            break
        bordered = np.zeros_like(hidden)
        bordered[inner][inside] = True
        hidden |= ~bordered
    if not hidden.any():
        return None
    full = cv2.resize(hidden.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full) > 0


def hide(pixels: NDArray[Any], hidden: _Mask) -> tuple[NDArray[Any], NDArray[Any]]:
    """Paint the hidden pixels with the image's minimum.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
        hidden: From `find_surround`, bool ``[H, W]``.

    Returns:
        The painted copy, and the same cropped to the visible pixels.
    """
    painted = pixels.copy()
    painted[hidden] = pixels.min()
    return painted, painted[_extent(~hidden)]


def _rest(search: _Small, hidden: _Mask) -> tuple[_Small, tuple[slice, slice]]:
    """Return the part of the copy that is not hidden, and its place; hidden pixels in it are 0."""
    if not hidden.any():
        return search, (slice(0, search.shape[0]), slice(0, search.shape[1]))
    place = _extent(~hidden)
    return np.where(hidden, np.uint8(0), search)[place], place


def _page(small: _Small) -> _Mask:
    """Return the mask ``[h, w]`` of the page: large even areas that reach a corner.

    They are white, or of one grey as the ground of a program's window.
    """
    kernel = np.ones((3, 3), np.uint8)
    steps = np.asarray(cv2.subtract(cv2.dilate(small, kernel), cv2.erode(small, kernel)))
    white = (small >= _WHITE) & (steps <= _UNIFORM)
    page = _at_corners(white, _MIN_PAGE)
    if not page.any():
        page = _at_corners((small >= _DIM) & (small < _WHITE) & (steps <= _EVEN), _MIN_GROUND)
    if not page.any():
        return page > 0
    # Include its blurred rim.
    page = np.asarray(cv2.dilate(page, np.ones((2 * _RIM + 1,) * 2, np.uint8)))
    # A page holds one scan and perhaps its caption; many objects of similar size are text.
    _, _, objects, _ = cv2.connectedComponentsWithStats(1 - page, connectivity=8)
    areas = objects[1:, cv2.CC_STAT_AREA]
    if not areas.size or areas.max() < _MAIN_CONTENT * areas.sum() or _inverted(small[page == 0]):
        page[:] = 0
    return page > 0


def _at_corners(even: _Mask, least: float) -> _Small:
    """Return the areas of ``even`` that reach a corner and take ``least`` of the image: 0 or 1."""
    found = np.zeros(even.shape, dtype=np.uint8)
    near = max(1, round(_CORNER * min(even.shape)))
    ends = (slice(near), slice(-near, None))
    places = [(rows, columns) for rows in ends for columns in ends]
    # Most scans are dark at all corners, which is quick to see.
    if np.count_nonzero(even) < least * even.size or not any(even[at].any() for at in places):
        return found
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        even.astype(np.uint8), connectivity=4
    )
    at_corner = {int(label) for at in places for label in np.unique(labels[at])}
    for label in range(1, count):
        if label in at_corner and stats[label, cv2.CC_STAT_AREA] >= least * even.size:
            found[labels == label] = 1
    return found


def _inverted(rest: _Small) -> bool:
    """Return whether the content of a page is an inverted scan, whose air is as white as paper.

    A head has dark bone, fluid and air, and little as bright as paper; inverted, the opposite.
    """
    return bool(np.mean(rest > _BRIGHT) >= 2 * np.mean(rest < _DARK))


def _extent(mask: _Mask) -> tuple[slice, slice]:
    """Return the bounding rows and columns of a mask."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def _inside_border(small: _Small) -> tuple[slice, slice] | None:
    """Return the rows and columns inside the border; None without a border."""
    if min(small.shape) < _MIN_SIDE:
        return None
    bright = (small > _LINE).view(np.uint8)
    rows, columns = (
        np.asarray(cv2.reduce(bright, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S)).ravel()
        for axis in (1, 0)
    )
    # Each side is rotated to the top: top, right, bottom, left.
    sides = enumerate((rows, columns[::-1], rows[::-1], columns))
    top, right, bottom, left = (_border_rows(bright, turn, counts) for turn, counts in sides)
    if not (top or right or bottom or left):
        return None
    height, width = small.shape
    return slice(top, height - bottom), slice(left, width - right)


def _border_rows(parts: _Small, turns: int, counts: NDArray[Any]) -> int:
    """Return the number of rows down to the inner edge of a border; 0 without one.

    Args:
        parts: 1 where the copy is bright enough for a line, else 0.
        turns: Quarter turns that bring the border's side to the top.
        counts: The bright pixels of each row after these turns.
    """
    height, width = len(counts), parts.size // len(counts)
    (rows,) = np.nonzero(counts[: int(_OUTER * height)] >= _LONG * width)
    if not rows.size:
        return 0
    thick = max(2, round(_THICK * height))
    bright = np.rot90(parts, turns).view(np.bool_)
    for row in rows.tolist():
        start, stop = _longest_run(bright[row])
        if stop - start < _LONG * width:
            continue
        window = bright[max(0, row - thick) : row + 1, start:stop]
        upper = np.argmax(window, axis=0)
        below = bright[row : row + thick + 2, start:stop]
        lower = np.where(below.all(axis=0), len(below), np.argmin(below, axis=0))
        # The median, because the line seems thicker where the head touches it.
        thickness = int(np.median(lower))
        dark = np.mean(lower <= thickness + 1)
        if np.std(upper) <= _STRAIGHT and thickness <= thick and dark >= _DARK_WITHIN:
            return int(row) + thickness + 1 + _RIM
    return 0


def _longest_run(line: NDArray[np.bool_]) -> tuple[int, int]:
    """Return start and stop of the longest run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    if not steps.size:
        return 0, 0
    starts, stops = steps[::2], steps[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])
