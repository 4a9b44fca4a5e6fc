"""Figures of the report: key slices with their outlines, and the probability along the slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.overlay import encode_png, heat_rgba, to_display, to_heatmap
from tumorlens.inference.series.answer import SeriesPrediction, SliceOutline
from tumorlens.inference.series.pictures import key_slices
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.scan import SliceEvidence

_LONGEST = 384  # pixels of the longer side of a slice; smaller ones are enlarged by the browser
# Letters at the left, right, upper and lower edge.
_EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_WIDTH, _HEIGHT = 900, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 888, 14, 258


@dataclass(frozen=True)
class SliceFigure:
    """One slice as the template draws it; coordinates in pixels of the picture.

    Attributes:
        index: of the slice.
        position_mm: its place.
        prob: probability, or None where it was set aside.
        width, height: of the picture.
        scan: grey PNG.
        heat: RGBA PNG of the evidence, or None where there is none.
        outlines: points of each outline, as SVG has them.
        letters: of orientation at the left, right, upper and lower edge, or none.
    """

    index: int
    position_mm: float
    prob: float | None
    width: int
    height: int
    scan: bytes
    heat: bytes | None
    outlines: tuple[str, ...]
    letters: str


@dataclass(frozen=True)
class Curve:
    """The probability along the slices, in units of the SVG picture ``width`` × ``height``.

    Attributes:
        lines: points of each run of answered slices.
        dots: centre and text of each answered slice.
        bands: left edge and width of each finding's slices.
        threshold: height of what a slice needs to be ``tumor``.
        levels: height and text of each line of the grid.
        ticks: place and text of each number of a slice.
        left, right, top, bottom: edges of the plot.
    """

    lines: tuple[str, ...]
    dots: tuple[tuple[float, float, str], ...]
    bands: tuple[tuple[float, float], ...]
    threshold: float
    levels: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def slice_figures(run: SeriesRun) -> Iterator[SliceFigure]:
    """Yield the key slices of an answered series, by rising index."""
    outlines: dict[int, list[SliceOutline]] = {}
    for finding in run.answer.findings:
        for outline in finding.outlines:
            outlines.setdefault(outline.index, []).append(outline)
    by_index = {each.cut.index: each for each in run.evidence}
    for index in key_slices(run.answer):
        yield _figure(run, by_index[index], outlines.get(index, []))


def _figure(run: SeriesRun, each: SliceEvidence, outlines: Sequence[SliceOutline]) -> SliceFigure:
    scan = to_display(each.cut.pixels())
    scale = min(1.0, _LONGEST / max(scan.shape))
    width, height = (max(1, round(side * scale)) for side in scan.shape[::-1])
    answered = each.answered and each.prediction is not None
    heat = None
    if answered and each.class_map is not None and each.frame is not None:
        # The maps are calibrated logits already.
        evidence = _resized(to_heatmap(each.class_map, each.frame, 1.0, 0.0), (width, height))
        heat = encode_png(heat_rgba(np.clip(evidence, 0, 1)))
    return SliceFigure(
        index=each.cut.index,
        position_mm=each.cut.position_mm,
        prob=each.prediction.prob if answered and each.prediction else None,
        width=width,
        height=height,
        scan=encode_png(np.asarray(_resized(scan, (width, height)), np.uint8)),
        heat=heat,
        outlines=tuple(
            " ".join(f"{x * width:.1f},{y * height:.1f}" for x, y in polygon)
            for outline in outlines for polygon in outline.polygons
        ),
        letters=_EDGES[run.plane] if run.volume.oriented else "",
    )  # fmt: skip


def _resized(
    pixels: NDArray[np.float32] | NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def probability_curve(answer: SeriesPrediction, slice_threshold: float) -> Curve:
    """Return the probability of each slice along the series.

    Args:
        answer: of the series.
        slice_threshold: probability from which a slice of it is ``tumor``.
    """
    last = max(len(answer.slices) - 1, 1)
    points = {
        each.index: (_across(each.index, last), _down(each.prob))
        for each in answer.slices if each.prob is not None
    }  # fmt: skip
    probs = {each.index: each.prob for each in answer.slices}
    half = (_across(1, last) - _LEFT) / 2
    return Curve(
        lines=tuple(_lines(points)),
        dots=tuple(
            (x, y, f"slice {index}: {probs[index]:.3f}") for index, (x, y) in points.items()
        ),
        bands=tuple(
            (_across(each.first, last) - half, 2 * half * (each.last - each.first + 1))
            for each in answer.findings
        ),
        threshold=_down(slice_threshold),
        levels=tuple((_down(level), f"{level:.2f}") for level in (0, 0.25, 0.5, 0.75, 1)),
        ticks=tuple(
            (_across(index, last), str(index))
            for index in sorted({round(last * part / 8) for part in range(9)})
        ),
    )


def _across(index: float, last: int) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * index / last, 1)


def _down(prob: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * prob, 1)


def _lines(points: Mapping[int, tuple[float, float]]) -> Iterator[str]:
    """Yield each run of neighbouring slices; slices that were set aside leave a gap."""
    run: list[str] = []
    for index, (x, y) in sorted(points.items()):
        if run and index - 1 not in points:
            yield " ".join(run)
            run = []
        run.append(f"{x},{y}")
    if run:
        yield " ".join(run)
