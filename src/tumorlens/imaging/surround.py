"""What surrounds a scan in a picture of it: the white page it was printed on, a drawn border."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.head import search_copy

__all__ = ["find_surround", "hide"]

# Page and border are sought on a copy of at most 256 pixels a side.
_WHITE = 246  # a page's least value, of 255
_EVEN = 10  # and its largest difference between neighbours, compression's noise included
_LEAST_PAGE = 0.02  # of the picture; bright skin at the edge is thinner
_CORNER = 0.05  # of the shorter side from a corner within which a page must reach
_ONE_THING = 0.6  # of what is on a page that the largest thing on it must be
_DARK, _BRIGHT = 25, 230  # of 255
_NESTED = 3  # a border may stand in a border, on a page in it
_LINE = 70  # a border's least value, of 255
_LONG = 0.6  # of the picture's side that a border's line runs without a gap
_THICK = 0.05  # of the picture's side that a line is at most thick
_OUTER = 0.3  # of the picture's side within which borders are sought
_RIM = 2  # pixels beside page and line, blurred by shrinking and compression
_SMALLEST = 32  # pixels a side of what a border is sought in
_STRAIGHT = 0.4  # pixels that a line's edge may leave a straight one (standard deviation)
_DARK_WITHIN = 0.6  # of the line's length next to which it is dark inside

_Small = NDArray[np.uint8]
_Mask = NDArray[np.bool_]


def find_surround(grey: NDArray[Any], search: _Small | None = None) -> _Mask | None:
    """Find the page and the border around a scan.

    A page is white, even, and holds a corner of the picture or of its border. A border is a thin
    line along a side, straight to half a pixel in 256, with darkness within; it and everything
    outside of it count.

    Args:
        grey: ``[H, W]``, any real dtype and range.
        search: Its `search_copy`, where it is known already.

    Returns:
        bool ``[H, W]``, True where the picture shows no scan; None where the scan fills it.
    """
    height, width = grey.shape
    search = search_copy(grey) if search is None else search
    hidden = np.zeros(search.shape, dtype=bool)
    for _ in range(_NESTED):
        inner = _extent(~hidden)
        hidden[inner] |= _page(np.where(hidden, np.uint8(0), search)[inner])
        inner = _extent(~hidden)
        within = _within_border(np.where(hidden, np.uint8(0), search)[inner])
        if within is None:
            break
        bordered = np.zeros_like(hidden)
        bordered[inner][within] = True
        hidden |= ~bordered
    if not hidden.any():
        return None
    full = cv2.resize(hidden.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(full) > 0


def hide(pixels: NDArray[Any], hidden: _Mask) -> tuple[NDArray[Any], NDArray[Any]]:
    """Paint what is hidden with the picture's darkest value.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``.
        hidden: Of `find_surround`, bool ``[H, W]``.

    Returns:
        The painted copy, and what of it is left without the edges that are paint alone.
    """
    painted = pixels.copy()
    painted[hidden] = pixels.min()
    return painted, painted[_extent(~hidden)]


def _page(small: _Small) -> _Mask:
    """Return the even white areas ``[h, w]`` of some size that hold a corner, around one thing."""
    kernel = np.ones((3, 3), np.uint8)
    steps = cv2.dilate(small, kernel).astype(np.int16) - cv2.erode(small, kernel)
    white = ((small >= _WHITE) & (steps <= _EVEN)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=4)
    page = np.zeros(small.shape, dtype=np.uint8)
    near = max(1, round(_CORNER * min(small.shape)))
    corners = (labels[:near, :near], labels[:near, -near:], labels[-near:, :near],
               labels[-near:, -near:])  # fmt: skip
    held = {int(label) for corner in corners for label in np.unique(corner)}
    for label in range(1, count):
        if label in held and stats[label, cv2.CC_STAT_AREA] >= _LEAST_PAGE * small.size:
            page[labels == label] = 1
    # Its blurred rim is page as well.
    page = np.asarray(cv2.dilate(page, np.ones((2 * _RIM + 1,) * 2, np.uint8)))
    # A scan and its caption are on a page; a page of letters alone is no scan's.
    _, _, things, _ = cv2.connectedComponentsWithStats(1 - page, connectivity=8)
    areas = things[1:, cv2.CC_STAT_AREA]
    if not areas.size or areas.max() < _ONE_THING * areas.sum() or _inverted(small[page == 0]):
        page[:] = 0
    return page > 0


def _inverted(rest: _Small) -> bool:
    """Return whether what is on a page is an inverted scan, whose air is white like paper.

    A head has dark bone, fluid and air, and little that is as bright as paper; inverted, it has
    them bright.
    """
    return bool(np.mean(rest > _BRIGHT) >= 2 * np.mean(rest < _DARK))


def _extent(shown: _Mask) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of ``shown``."""
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _within_border(small: _Small) -> tuple[slice, slice] | None:
    """Return the rows and columns inside the border's lines; None without a line."""
    if min(small.shape) < _SMALLEST:
        return None
    # Each side is looked at as if it were the upper one: above, right, below, left.
    above, right, below, left = (_line_below(np.rot90(small, turn)) for turn in range(4))
    if not (above or right or below or left):
        return None
    height, width = small.shape
    return slice(above, height - below), slice(left, width - right)


def _line_below(small: _Small) -> int:
    """Return how many rows the upper side's border takes with what is above it; 0 without one."""
    height, width = small.shape
    thick = max(2, round(_THICK * height))
    bright = small > _LINE
    rows = int(_OUTER * height)
    for row in np.flatnonzero(bright[:rows].sum(axis=1) >= _LONG * width).tolist():
        start, stop = _longest_run(bright[row])
        if stop - start < _LONG * width:
            continue
        window = bright[max(0, row - thick) : row + 1, start:stop]
        upper = np.argmax(window, axis=0)
        below = bright[row : row + thick + 2, start:stop]
        lower = np.where(below.all(axis=0), len(below), np.argmin(below, axis=0))
        # The line's usual thickness; where the head touches it, it seems thicker.
        deep = int(np.median(lower))
        within = np.mean(lower <= deep + 1)
        if np.std(upper) <= _STRAIGHT and deep <= thick and within >= _DARK_WITHIN:
            return int(row) + deep + 1 + _RIM
    return 0


def _longest_run(line: NDArray[np.bool_]) -> tuple[int, int]:
    """Return start and stop of the longest run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
    if not steps.size:
        return 0, 0
    starts, stops = steps[::2], steps[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])
