"""Pictures of a series: a montage of its key slices, and the probability along the slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.overlay import render_overlay, to_display, to_heatmap
from tumorlens.inference.series.answer import SeriesPrediction, SliceOutline
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.scan import SliceEvidence

_TILE, _COLUMNS, _MOST = 256, 4, 12
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_OUTLINE = (0, 230, 230)
_INK, _GRID, _LINE, _BAND, _LIMIT = (30, 30, 30), (215, 215, 215), (33, 102, 172), (253, 231, 207), (178, 24, 43)  # noqa: E501  # fmt: skip


def draw_montage(run: SeriesRun, opacity: float = 0.5) -> NDArray[np.uint8]:
    """Draw up to twelve key slices with heat map and outlines: RGB uint8 ``[H, W, 3]``.

    Of each finding its most suspicious slice and slices evenly over its range; without a finding
    slices evenly over the answered ones, and the most suspicious. The patient's right is on the
    left. ``opacity`` (0 to 1) is that of the heat map.
    """
    answer = run.answer
    outlines: dict[int, list[SliceOutline]] = {}
    for finding in answer.findings:
        for outline in finding.outlines:
            outlines.setdefault(outline.index, []).append(outline)
    by_index = {each.cut.index: each for each in run.evidence}
    tiles = [
        _tile(by_index[index], outlines.get(index, []), opacity) for index in key_slices(answer)
    ]
    columns = min(_COLUMNS, len(tiles))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    return np.asarray(np.vstack(rows), dtype=np.uint8)


def key_slices(answer: SeriesPrediction) -> list[int]:
    """Return the indices of the slices that a montage shows, rising; at least one."""
    probs = {each.index: each.prob for each in answer.slices if each.prob is not None}
    if not probs:
        return [len(answer.slices) // 2]
    chosen = {max(probs, key=lambda index: probs[index])}
    ranges = [(each.first, each.last) for each in answer.findings] or [(min(probs), max(probs))]
    share = max(2, _MOST // len(ranges))
    for finding in answer.findings:
        chosen.add(finding.peak)
    for first, last in ranges:
        known = [index for index in probs if first <= index <= last]
        at = np.linspace(0, len(known) - 1, min(share - 1, len(known))).round().astype(int)
        chosen |= {known[each] for each in at.tolist()}
    return sorted(chosen)[: _MOST + 2]


def _tile(
    each: SliceEvidence, outlines: Sequence[SliceOutline], opacity: float
) -> NDArray[np.uint8]:
    scan = to_display(each.cut.pixels())
    if each.class_map is not None and each.frame is not None and each.answered:
        # The maps are calibrated logits already.
        scan_rgb = render_overlay(scan, to_heatmap(each.class_map, each.frame, 1.0, 0.0), opacity)
    else:
        scan_rgb = np.repeat(scan[:, :, None], 3, axis=2)
    height, width = scan.shape
    scale = _TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    left, top = (_TILE - size[0]) // 2, (_TILE - size[1]) // 2
    tile[top : top + size[1], left : left + size[0]] = cv2.resize(
        scan_rgb, size, interpolation=cv2.INTER_LINEAR
    )
    for outline in outlines:
        for polygon in outline.polygons:
            points = np.array(polygon) * size + (left, top)
            cv2.polylines(tile, [points.round().astype(np.int32)], True, _OUTLINE, 1, cv2.LINE_AA)
    prob = f"p {each.prediction.prob:.2f}" if each.answered and each.prediction else "set aside"
    text = f"{each.cut.index}  {prob}  {each.cut.position_mm:.1f} mm"
    cv2.putText(tile, text, (6, _TILE - 8), _FONT, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def draw_curve(run: SeriesRun, width: int = 900, height: int = 320) -> NDArray[np.uint8]:
    """Draw the probability of each slice along the series: RGB uint8 ``[height, width, 3]``.

    Dots are answered slices, the red line is what a slice of this series needs to be ``tumor``,
    coloured bands are findings.
    Slices that were set aside leave a gap.
    """
    answer, threshold = run.answer, run.slice_threshold
    left, right, top, bottom = 56, width - 16, 34, height - 44
    image = np.full((height, width, 3), 255, np.uint8)
    last = max(len(answer.slices) - 1, 1)

    def at(index: float, prob: float) -> tuple[int, int]:
        return (
            round(left + (right - left) * index / last),
            round(bottom - (bottom - top) * prob),
        )

    for finding in answer.findings:
        cv2.rectangle(image, at(finding.first - 0.5, 1), at(finding.last + 0.5, 0), _BAND, -1)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        cv2.line(image, at(0, level), at(last, level), _GRID, 1)
        _write(image, f"{level:.2f}", (12, at(0, level)[1] + 4))
    for index in np.linspace(0, last, 9).round().astype(int).tolist():
        _write(image, str(index), (at(index, 0)[0] - 8, bottom + 18))
    cv2.line(image, at(0, threshold), at(last, threshold), _LIMIT, 1, cv2.LINE_AA)
    _plot(image, {each.index: at(each.index, each.prob) for each in answer.slices
                  if each.prob is not None})  # fmt: skip
    series = "none" if answer.prob is None else f"{answer.prob:.3f}"
    _write(image, f"P(tumour) of each {answer.plane} slice; series {series}", (left, 20))
    _write(image, "slice", (right - 30, height - 8))
    return image


def _plot(image: NDArray[np.uint8], points: Mapping[int, tuple[int, int]]) -> None:
    for index, point in points.items():
        if index - 1 in points:
            cv2.line(image, points[index - 1], point, _LINE, 1, cv2.LINE_AA)
        cv2.circle(image, point, 2, _LINE, -1, cv2.LINE_AA)


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int]) -> None:
    cv2.putText(image, text, at, _FONT, 0.42, _INK, 1, cv2.LINE_AA)
