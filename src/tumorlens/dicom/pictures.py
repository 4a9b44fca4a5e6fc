"""Pictures for viewers that show nothing else: the scan under its evidence, with a banner in it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.dicom.equipment import NOT_CLINICAL
from tumorlens.inference.overlay import render_overlay, to_display, to_heatmap
from tumorlens.inference.series.answer import SeriesPrediction, SliceOutline
from tumorlens.inference.series.pictures import draw_curve, draw_montage
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.scan import SliceEvidence

_SIDE = 768  # pixels of the longer side of a slice
_BAR, _LINE = 44, 26
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WARNING, _WHITE, _SOFT, _OUTLINE = (138, 20, 20), (255, 255, 255), (190, 190, 190), (0, 230, 230)
_OPACITY = 0.45
# Letters at the left, right, upper and lower edge.
EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}


def slice_picture(
    run: SeriesRun, each: SliceEvidence, outlines: Sequence[SliceOutline]
) -> NDArray[np.uint8]:
    """Draw one slice with heat map, outlines, letters of orientation, facts and banner.

    Returns RGB uint8 ``[H, W, 3]``; the patient's right is on the left.
    """
    picture = _overlaid(each)
    height, width = picture.shape[:2]
    for outline in outlines:
        for polygon in outline.polygons:
            points = np.array(polygon) * (width, height) - 0.5
            cv2.polylines(picture, [np.rint(points).astype(np.int32)], True, _OUTLINE, 2,
                          cv2.LINE_AA)  # fmt: skip
    if run.volume.oriented:
        _letters(picture, EDGES[run.plane])
    prob = "set aside" if not each.answered or each.prediction is None else (
        f"P(tumour) of this slice {each.prediction.prob:.2f}")  # fmt: skip
    place = f"{run.plane} slice {each.cut.index}, {each.cut.position_mm:.1f} mm"
    return _framed(picture, [f"{place}: {prob}", _verdict(run.answer)])


def summary_picture(run: SeriesRun) -> NDArray[np.uint8]:
    """Draw the answer on one page: decision, findings, probability along the slices, montage."""
    montage = draw_montage(run, _OPACITY)
    width = max(montage.shape[1], 900)
    curve = draw_curve(run, width)
    if montage.shape[1] < width:
        montage = np.pad(montage, ((0, 0), (0, width - montage.shape[1]), (0, 0)))
    return _framed(np.vstack([curve, montage]), [_verdict(run.answer), *_facts(run.answer)])


def _overlaid(each: SliceEvidence) -> NDArray[np.uint8]:
    scan = to_display(each.cut.pixels())
    scale = _SIDE / max(scan.shape)
    if each.class_map is not None and each.frame is not None and each.answered:
        # The maps are calibrated logits already.
        drawn = render_overlay(scan, to_heatmap(each.class_map, each.frame, 1.0, 0.0), _OPACITY)
    else:
        drawn = np.repeat(scan[:, :, None], 3, axis=2)
    size = (max(1, round(scan.shape[1] * scale)), max(1, round(scan.shape[0] * scale)))
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _letters(picture: NDArray[np.uint8], letters: str) -> None:
    height, width = picture.shape[:2]
    places = ((8, height // 2), (width - 26, height // 2), (width // 2 - 8, 26),
              (width // 2 - 8, height - 10))  # fmt: skip
    for letter, at in zip(letters, places, strict=True):
        cv2.putText(picture, letter, at, _FONT, 0.8, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.putText(picture, letter, at, _FONT, 0.8, _WHITE, 2, cv2.LINE_AA)


def _verdict(answer: SeriesPrediction) -> str:
    prob = "not answered" if answer.prob is None else f"P(tumour) {answer.prob:.2f}"
    reason = "" if answer.in_domain else f": {answer.in_domain_reason}"
    return f"Series: {answer.decision}{reason}; {prob}, threshold {answer.threshold:.2f}"


def _facts(answer: SeriesPrediction) -> list[str]:
    found = [
        f"Finding {number}: slices {each.first} to {each.last}, {each.laterality}, "
        f"{each.diameter_mm:.0f} mm, {each.volume_ml:.1f} ml"
        for number, each in enumerate(answer.findings, 1)
    ]
    model = f"Model {answer.model.name} {answer.model.version}, SHA-256 {answer.model.sha256[:16]}"
    return [*(found or ["No finding was outlined."]), model]


def _framed(picture: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Put the banner above the picture and lines of text below, never over pixels of the scan."""
    height, width = picture.shape[:2]
    width = max(width, 760)
    page = np.zeros((_BAR + height + _LINE * len(lines) + 14, width, 3), np.uint8)
    page[:_BAR] = _WARNING
    left = (width - picture.shape[1]) // 2
    page[_BAR : _BAR + height, left : left + picture.shape[1]] = picture
    _write(page, f"TumorLens: {NOT_CLINICAL}", _BAR - 14, _WHITE, 0.75)
    for number, line in enumerate(lines, 1):
        _write(page, line, _BAR + height + _LINE * number, _SOFT, 0.55)
    return page


def _write(
    page: NDArray[np.uint8], text: str, y: int, colour: tuple[int, int, int], size: float
) -> None:
    """Write one line that fits the page; the font has no letters beyond ASCII."""
    plain = text.encode("ascii", "replace").decode()
    wide = cv2.getTextSize(plain, _FONT, size, 1)[0][0]
    size *= min(1.0, (page.shape[1] - 24) / max(wide, 1))
    cv2.putText(page, plain, (12, y), _FONT, size, colour, 1, cv2.LINE_AA)
