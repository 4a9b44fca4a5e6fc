"""Answers as HTML for notebooks: what ``_repr_html_`` of each answer returns.

Each function returns one element without scripts, style sheets or addresses: every value escaped,
legible on light and dark backgrounds, with the disclaimer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.inference.overlay import render_overlay
from tumorlens.pages.render import data_uri, render

if TYPE_CHECKING:  # both import this module
    from tumorlens.inference.prediction import Explanation, Prediction
    from tumorlens.inference.series.answer import Finding, SeriesPrediction, SliceAnswer

_HEADLINES = {
    "tumor": "Tumour suspected",
    "healthy": "No tumour suspected",
    "uncertain": "Uncertain: treat this as no result",
}
Pixel = TypeVar("Pixel", np.uint8, np.float32)
# At least 3:1 against white and against near-black.
_ACCENTS = {"tumor": "#e8590c", "healthy": "#2f9e44", "uncertain": "#868e96"}
# Longer side of a picture in pixels, and findings listed.
_PICTURE, _FINDINGS = 320, 5
# The curve's plot area inside the template's viewBox.
_LEFT, _RIGHT, _TOP, _BOTTOM = 30.0, 596.0, 4.0, 104.0


def prediction_html(prediction: Prediction) -> str:
    """Return a prediction as HTML: headline, probability beside its threshold, and the model."""
    return _answer(prediction)


def explanation_html(explanation: Explanation) -> str:
    """Return the same with the scan and its heat map, as JPEG of at most 320 pixels a side."""
    scan, heatmap = _smaller(explanation.scan), _smaller(explanation.heatmap)
    overlay = render_overlay(scan, np.clip(heatmap, 0, 1))
    peak = float(explanation.heatmap.max(initial=0))
    pictures = [
        {"uri": _uri(scan), "words": "scan"},
        {
            "uri": _uri(overlay),
            "words": f"evidence for a tumour, peak {peak:.2f} on the fixed scale 0 to 1",
        },
    ]
    return _answer(explanation.prediction, pictures=pictures)


def series_html(series: SeriesPrediction) -> str:
    """Return a series as HTML: the curve of its slices, the largest findings, its geometry."""
    answered = [each for each in series.slices if each.prob is not None]
    findings = [_row(each) for each in series.findings[:_FINDINGS]]
    remarks = list(series.remarks)
    if len(series.findings) > _FINDINGS:
        remarks.append(f"{len(series.findings) - _FINDINGS} smaller findings are not listed.")
    facts = [
        f"{len(answered)} of {len(series.slices)} slices answered",
        series.plane,
        f"slices {series.geometry.slice_mm:g} mm apart",
    ]
    return _answer(
        series, curve=_curve(series) if answered else None, findings=findings, remarks=remarks,
        facts=facts,
    )  # fmt: skip


def _answer(
    answer: Prediction | SeriesPrediction, *, pictures: Sequence[dict[str, str]] = (),
    curve: dict[str, Any] | None = None, findings: Sequence[Sequence[str]] = (),
    remarks: Sequence[str] = (), facts: Sequence[str] = (),
) -> str:  # fmt: skip
    if answer.in_domain_reason:
        remarks = [f"Out of domain: {answer.in_domain_reason}", *remarks]
    model = answer.model
    return render(
        "answer.html",
        headline=_HEADLINES[answer.decision],
        accent=_ACCENTS[answer.decision],
        prob="no slice could be answered" if answer.prob is None
        else f"probability of a tumour {_probability(answer.prob)}",
        bar=None if answer.prob is None else _bar(answer.prob, answer.threshold),
        pictures=pictures,
        curve=curve,
        findings=findings,
        remarks=remarks,
        facts=[
            f"threshold {answer.threshold:.3f} ({answer.threshold_origin})",
            f"prediction set {{{', '.join(answer.prediction_set)}}}",
            *([] if answer.sequence == "unknown" else [f"sequence {answer.sequence}"]),
            *facts,
            f"{model.name} {model.version}, {model.sha256[:12]}",
            f"{answer.latency_ms:.0f} ms",
        ],
        disclaimer=answer.disclaimer,
    )  # fmt: skip


def _probability(prob: float) -> str:
    """Return three decimals; 0 and 1 are never claimed."""
    return "below 0.001" if prob < 0.001 else "above 0.999" if prob > 0.999 else f"{prob:.3f}"


def _bar(prob: float, threshold: float) -> dict[str, Any]:
    return {
        "width": f"{100 * prob:.1f}",
        "threshold": f"{100 * threshold:.1f}",
        "words": f"probability {_probability(prob)}, threshold {threshold:.3f}",
    }


def _row(finding: Finding) -> list[str]:
    return [
        f"{finding.first} to {finding.last}, peak {finding.peak}",
        _probability(finding.prob),
        f"{finding.volume_ml:.1f} ml",
        f"{finding.diameter_mm:.0f} mm",
        finding.laterality,
    ]


def _curve(series: SeriesPrediction) -> dict[str, Any]:
    """Return the curve's shapes; the dots are slices called ``tumor``."""
    last = max(each.index for each in series.slices)
    step = (_RIGHT - _LEFT) / max(last, 1)

    def x(index: float) -> str:
        return f"{min(max(_LEFT + step * index, _LEFT), _RIGHT):.1f}"

    def y(prob: float | None) -> str:
        return f"{_BOTTOM - (_BOTTOM - _TOP) * (prob or 0):.1f}"

    return {
        "bands": [{"left": x(each.first - 0.5), "right": x(each.last + 0.5)}
                  for each in series.findings],
        "lines": [" ".join(f"{x(each.index)},{y(each.prob)}" for each in run)
                  for run in _runs(series.slices)],
        "dots": [{"x": x(each.index), "y": y(each.prob)}
                 for each in series.slices if each.decision == "tumor"],
        "last": last,
        "words": f"probability of each slice from 0 to {last}, findings shaded",
    }  # fmt: skip


def _runs(slices: Sequence[SliceAnswer]) -> Iterator[list[SliceAnswer]]:
    """Yield the answered slices in runs that none set aside interrupts."""
    for answered, run in groupby(slices, key=lambda each: each.prob is not None):
        if answered:
            yield list(run)


def _uri(pixels: NDArray[np.uint8]) -> str:
    """Return grey ``[H, W]`` or RGB ``[H, W, 3]`` as a data URI of a tenth of a PNG's size."""
    ordered = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data_uri(encoded.tobytes(), "jpeg")


def _smaller(pixels: NDArray[Pixel]) -> NDArray[Pixel]:
    height, width = pixels.shape
    scale = _PICTURE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), pixels.dtype)
