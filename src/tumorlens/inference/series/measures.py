"""Chains of regions → findings: area, volume, diameter and side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tumorlens.inference.series.answer import Finding, Laterality, SliceOutline
from tumorlens.inference.series.regions import Chain, Region
from tumorlens.volumes.slices import SeriesSlice
from tumorlens.volumes.volume import Volume

# A centroid nearer to the midline is on neither side: the midline's own error is a few millimetres.
_MIDLINE_MM = 7.0
# A head is cut off at a side of the volume where the slice there has this share of the largest.
_CUT_OFF = 0.35
_MOST_FINDINGS = 10
# Head: brighter than this between the volume's minimum and its 99th percentile, as `head_extent`.
_HEAD_LEVEL = 0.15


@dataclass(frozen=True)
class Midline:
    """Place of the head's midline: millimetres from the volume's left edge, or None: not known."""

    left_mm: float | None


def find_midline(volume: Volume) -> Midline:
    """Return the middle between the head's left and right end.

    Not known without an orientation, and where the head is cut off at a side (a slab, or an image
    of one half).
    """
    if not volume.oriented:
        return Midline(None)
    sample = volume.data[:, ::2, ::2]
    low, high = float(sample.min()), float(np.percentile(sample, 99))
    area = (sample > low + _HEAD_LEVEL * (high - low)).sum(axis=(1, 2))
    if not area.any() or max(area[0], area[-1]) > _CUT_OFF * area.max():
        return Midline(None)
    with_head = np.flatnonzero(area >= 0.1 * area.max())
    return Midline(float(with_head[0] + with_head[-1] + 1) / 2 * volume.spacing_mm[0])


def to_findings(
    chains: Sequence[Chain],
    slices: Mapping[int, SeriesSlice],
    probs: Mapping[int, float],
    midline: Midline,
    *,
    run: int,
    threshold: float,
) -> tuple[Finding, ...]:
    """Return the chains that are findings, largest first, at most ten.

    A finding persists over ``run`` slices, one of which reaches ``threshold``.

    Args:
        chains: from `chain_regions`.
        slices: the slices by index.
        probs: calibrated probability of each answered slice.
        midline: of the head.
        run: number of slices.
        threshold: probability.
    """
    found = []
    for chain in chains:
        indices = chain.indices
        if len(indices) < run or max(probs[each] for each in indices) < threshold:
            continue
        found.append(_finding(chain, slices, probs, midline))
    return tuple(sorted(found, key=lambda each: -each.volume_ml)[:_MOST_FINDINGS])


def _finding(
    chain: Chain, slices: Mapping[int, SeriesSlice], probs: Mapping[int, float], midline: Midline
) -> Finding:
    by_slice: dict[int, list[Region]] = defaultdict(list)
    for region in chain.regions:
        by_slice[region.index].append(region)
    indices = chain.indices
    one = slices[indices[0]]
    pixel_mm2 = one.pixel_mm**2
    outlines = tuple(
        SliceOutline(
            index=index,
            polygons=tuple(line for each in by_slice[index] for line in each.polygons),
            area_mm2=round(sum(each.pixels for each in by_slice[index]) * pixel_mm2, 1),
        )
        for index in indices
    )
    areas = [each.area_mm2 for each in outlines]
    peak = max(indices, key=lambda each: probs[each])
    return Finding(
        first=indices[0],
        last=indices[-1],
        peak=peak,
        prob=probs[peak],
        area_mm2=max(areas),
        volume_ml=round(sum(areas) * one.thickness_mm / 1000, 2),
        diameter_mm=round(max(each.diameter for each in chain.regions) * one.pixel_mm, 1),
        laterality=_side(chain.regions, slices, midline),
        outlines=outlines,
    )


def _side(
    regions: Sequence[Region], slices: Mapping[int, SeriesSlice], midline: Midline
) -> Laterality:
    if midline.left_mm is None:
        return "unknown"
    weights = [each.pixels for each in regions]
    places = [_from_left(each, slices[each.index]) for each in regions]
    offset = float(np.average(places, weights=weights)) - midline.left_mm
    if abs(offset) < _MIDLINE_MM:
        return "midline"
    return "right" if offset > 0 else "left"


def _from_left(region: Region, cut: SeriesSlice) -> float:
    """Return millimetres from the volume's left edge: RAS axes run to the patient's right."""
    across = cut.volume.spacing_mm[0]
    if cut.plane == "sagittal":
        return (cut.index + 0.5) * across
    width = float(cut.volume.data.shape[0] * across)
    return width - (region.centre[0] + 0.5) * cut.pixel_mm
