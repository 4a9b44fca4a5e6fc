"""Several views in one picture: montages, contact sheets, screenshots of three planes.

The limits were chosen on single slices of the public collections and on montages made of them;
docs/adr/0043-pictures-as-they-are-meant.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.head import Content, bright_parts, search_copy

_Small = NDArray[np.uint8]

_LOW, _HIGH = 3, 97  # percentiles between which a line is even
_EVEN = 12  # grey levels that an even line, a gap between views, may span
_BRIGHT_GAP = 20  # minimum grey level of a gap that must be painted black
_DETACH = 7  # pixels: contacts of two views thinner than this are cut
# Per number of views: minimum area of each, of the largest and of the picture, the range of width
# over height, and the maximum overlap of two boxes, of the smaller one's side. Two large parts may
# be face and hindbrain, or two lobes without a skull.
_RULES = (
    (2, 2, 0.4, 0.08, 0.55, 1.5, -0.03),
    (3, 3, 0.35, 0.025, 0.45, 2.0, 0.0),
    (4, 999, 0.3, 0.006, 0.4, 2.5, 0.15),
)


@dataclass(frozen=True)
class _Part:
    area: int
    x: int
    y: int
    width: int
    height: int

    def overlap(self, other: _Part) -> float:
        across = _overlap(self.x, self.width, other.x, other.width)
        down = _overlap(self.y, self.height, other.y, other.height)
        return min(across, down)


def shows_several_views(grey: NDArray[Any], content: Content | None = None) -> bool:
    """Return whether a picture ``[H, W]``, any real dtype, shows two or more heads side by side.

    ``content`` is what `find_content` finds in the picture's `search_copy`, if already computed.

    Heads are bright parts of similar size on a dark ground, apart from each other; even bright
    lines and areas between them are taken for gaps.
    """
    search = search_copy(grey) if content is None else content.search
    small = _without_gaps(search)
    known = content is not None and small is search and content.bright.shape == search.shape
    parts = _parts(content.bright if content is not None and known else bright_parts(small))
    if not parts:
        return False
    for least, most, of_largest, of_picture, narrow, wide, overlap in _RULES:
        smallest = max(of_largest * parts[0].area, of_picture * small.size)
        large = [
            part
            for part in parts
            if part.area >= smallest and narrow <= part.width / part.height <= wide
        ]
        if least <= len(large) <= most and _apart(large, overlap):
            return True
    return False


def _without_gaps(small: _Small) -> _Small:
    """Paint even bright rows and columns black; returns ``small`` itself where there are none."""
    found = small
    dark = (small <= _BRIGHT_GAP).view(np.uint8)
    for axis in (0, 1):
        # In a line with this many pixels as dark as that, the lower percentile is not above it.
        many = int(_LOW / 100 * (small.shape[1 - axis] - 1)) + 2
        counts = np.asarray(cv2.reduce(dark, 1 - axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
        (lines,) = np.nonzero(counts.ravel() < many)
        if not lines.size:
            continue
        low, high = np.percentile(np.take(small, lines, axis), (_LOW, _HIGH), axis=1 - axis)
        even = lines[(high - low < _EVEN) & (low > _BRIGHT_GAP)]
        if not even.size:
            continue
        found = small.copy() if found is small else found
        found[(even, slice(None)) if axis == 0 else (slice(None), even)] = 0
    return found


def _parts(bright: _Small) -> list[_Part]:
    """Return the bright parts with holes filled, the largest first; none if there is only one."""
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = cv2.drawContours(np.zeros_like(bright), outlines, -1, 1, cv2.FILLED)
    filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, _disc(_DETACH))
    _, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None or (tree[0, :, 3] < 0).sum() < 2:
        return []  # a single part is no second view, and its size does not matter
    _, _, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    parts = [
        _Part(int(area), int(x), int(y), int(width), int(height))
        for x, y, width, height, area in stats[1:]
    ]
    return sorted(parts, key=lambda part: -part.area)


def _apart(parts: list[_Part], overlap: float) -> bool:
    pairs = list(combinations(parts[:12], 2))
    # Of many views a few may touch.
    return sum(one.overlap(other) <= overlap for one, other in pairs) >= 0.9 * len(pairs)


def _overlap(start: int, length: int, other_start: int, other_length: int) -> float:
    shared = min(start + length, other_start + other_length) - max(start, other_start)
    return shared / min(length, other_length)


def _disc(size: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)
