"""Class maps of neighbouring slices → connected regions in three dimensions, slice by slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

# Smaller spots in a slice are no region; the maps' cells are about 5 mm.
_MIN_AREA_MM2 = 20.0
# Outlines are simplified by at most this many pixels.
_SIMPLIFY = 0.5


@dataclass(frozen=True, eq=False)
class Region:
    """A connected region in one slice, in pixels of the slice.

    Attributes:
        index: the slice.
        pixels: number of pixels.
        centre: ``(x, y)`` of its centroid, pixel centres at whole numbers.
        diameter: longest distance of two of its pixels' outer edges.
        polygons: outlines; points ``(x, y)`` as fractions of width and height.
    """

    index: int
    pixels: int
    centre: tuple[float, float]
    diameter: float
    polygons: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(eq=False)
class Chain:
    """Regions of neighbouring slices that lie over one another."""

    regions: list[Region] = field(default_factory=list)

    @property
    def indices(self) -> tuple[int, ...]:
        """Slices of the chain, rising."""
        return tuple(sorted({each.index for each in self.regions}))


def chain_regions(slices: Iterable[tuple[int, NDArray[np.bool_]]], pixel_mm: float) -> list[Chain]:
    """Connect what lies over one another in slices that are at most one apart.

    Args:
        slices: index and mask ``[H, W]`` of each slice, by rising index; one mask at a time is
            kept.
        pixel_mm: side of a pixel.
    """
    chains: list[Chain] = []  # merged chains leave an empty one behind
    below: tuple[int, NDArray[np.int32], dict[int, int]] | None = None
    for index, mask in slices:
        labels, regions = _regions_of(index, mask, pixel_mm)
        place: dict[int, int] = {}
        for number, region in regions.items():
            linked = set()
            if below is not None and index - below[0] <= 2:
                under = np.unique(below[1][labels == number]).tolist()
                linked = {below[2][each] for each in under if each in below[2]}
            target = min(linked, default=len(chains))
            if target == len(chains):
                chains.append(Chain())
            chains[target].regions.append(region)
            place[number] = target
            for other in linked - {target}:
                chains[target].regions += chains[other].regions
                chains[other].regions = []
                place = {key: target if at == other else at for key, at in place.items()}
                assert below is not None
                below = below[0], below[1], {
                    key: target if at == other else at for key, at in below[2].items()
                }  # fmt: skip
        below = index, labels, place
    return [each for each in chains if each.regions]


def _regions_of(
    index: int, mask: NDArray[np.bool_], pixel_mm: float
) -> tuple[NDArray[np.int32], dict[int, Region]]:
    if not mask.any():
        return np.zeros(mask.shape, np.int32), {}
    count, labels, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    regions = {}
    for number in range(1, count):
        pixels = int(stats[number, cv2.CC_STAT_AREA])
        if pixels * pixel_mm**2 < _MIN_AREA_MM2:
            continue
        centre = (float(centres[number, 0]), float(centres[number, 1]))
        regions[number] = _region(index, labels == number, pixels, centre)
    return np.asarray(labels, dtype=np.int32), regions


def _region(
    index: int, mask: NDArray[np.bool_], pixels: int, centre: tuple[float, float]
) -> Region:
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    height, width = mask.shape
    polygons = tuple(
        tuple(
            ((float(x) + 0.5) / width, (float(y) + 0.5) / height)
            for x, y in cv2.approxPolyDP(outline, _SIMPLIFY, True)[:, 0, :]
        )
        for outline in outlines
    )
    hull = cv2.convexHull(np.concatenate(outlines))[:, 0, :].astype(np.float64)
    apart = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    return Region(index, pixels, centre, float(apart.max()) + 1, polygons)
