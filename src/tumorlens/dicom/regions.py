"""Outlines of findings on the source images, with the measurements of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.series.answer import Finding, SliceOutline
from tumorlens.volumes.slices import SeriesSlice


@dataclass(frozen=True, eq=False)
class OutlinedRegion:
    """One closed outline.

    Attributes:
        finding: number of its finding, from 1.
        index: the answered slice it is in.
        part: number among the outlines of its finding in this slice, from 1.
        voxels: its points, float64 ``[n, 3]``, indices of the volume; the first is not repeated.
        area_mm2: area of its pixels.
        diameter_mm: longest distance of two of its pixels' outer edges.
    """

    finding: int
    index: int
    part: int
    voxels: NDArray[np.float64]
    area_mm2: float
    diameter_mm: float


def outlined_regions(
    findings: Sequence[Finding], cuts: dict[int, SeriesSlice]
) -> Iterator[OutlinedRegion]:
    """Yield the outlines of all findings.

    The answer gives an area for each slice. Where a finding has several outlines in one slice,
    each gets a share of it in proportion to the area inside.

    Args:
        findings: of the answer.
        cuts: the answered slices by index.
    """
    for number, finding in enumerate(findings, 1):
        for outline in finding.outlines:
            cut = cuts[outline.index]
            for part, (polygon, area) in enumerate(
                zip(outline.polygons, _areas(outline, cut), strict=True), 1
            ):
                yield OutlinedRegion(
                    number, outline.index, part, cut.to_voxels(polygon), area,
                    _diameter(polygon, cut),
                )  # fmt: skip


def fill(outline: SliceOutline, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels inside an outline, its own included: uint8 ``[H, W]``, 0 and 1."""
    mask = np.zeros(size, np.uint8)
    for polygon in outline.polygons:
        cv2.fillPoly(mask, [np.rint(_pixels(polygon, size)).astype(np.int32)], [1])
    return mask


def slice_size(cut: SeriesSlice) -> tuple[int, int]:
    """Return height and width of a slice, without reading its pixels."""
    columns, rows = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}[cut.plane]
    sides = cut.volume.data.shape
    height, width = (
        max(1, round(sides[axis] * cut.volume.spacing_mm[axis] / cut.pixel_mm))
        for axis in (rows, columns)
    )
    return height, width


def _pixels(polygon: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.float64]:
    """Return fractions as pixels ``[n, 2]``, centres at whole numbers."""
    height, width = size
    return np.asarray(polygon, np.float64) * (width, height) - 0.5


def _areas(outline: SliceOutline, cut: SeriesSlice) -> list[float]:
    if len(outline.polygons) == 1:
        return [outline.area_mm2]
    size = slice_size(cut)
    pixels = [
        int(fill(outline.model_copy(update={"polygons": (each,)}), size).sum())
        for each in outline.polygons
    ]
    return [round(outline.area_mm2 * each / sum(pixels), 1) for each in pixels]


def _diameter(polygon: Sequence[tuple[float, float]], cut: SeriesSlice) -> float:
    points = _pixels(polygon, slice_size(cut))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    return round(float(apart.max() + 1) * cut.pixel_mm, 1)
