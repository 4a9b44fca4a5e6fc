"""What is done with one image: the predictor's stages, each timed, run in a pool thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import ExplanationUnavailableError, NotBrainMRIError
from tumorlens.imaging.decode import Image, Limits, to_grey
from tumorlens.imaging.quality import assess
from tumorlens.inference.overlay import encode_png, heat_rgba, render_overlay
from tumorlens.inference.prediction import Explanation, Prediction
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.pool import Ticket
from tumorlens.serving.problems import UPLOAD_NAME


@dataclass(frozen=True)
class InputFacts:
    """What the metrics may know about an image: its kind and its statistics, no content."""

    format: str
    bytes: int
    pixels: int
    mean: float
    contrast: float


@dataclass(frozen=True)
class Answer:
    """A prediction, the facts about its input, and the pictures that were asked for."""

    prediction: Prediction
    facts: InputFacts
    scan_png: bytes | None = None
    heat_png: bytes | None = None
    overlay_png: bytes | None = None
    height: int = 0
    width: int = 0


def predict(predictor: Predictor, data: bytes, limits: Limits) -> Callable[[Ticket], Answer]:
    """Return the job that answers for one image; it raises what ``Predictor`` raises.

    An image that is no usable slice of a head raises :class:`NotBrainMRIError`.
    """

    def job(ticket: Ticket) -> Answer:
        return _run(predictor, data, limits, ticket)[0]

    return job


def explain(
    predictor: Predictor, data: bytes, limits: Limits, *, overlay_opacity: float | None = None
) -> Callable[[Ticket], Answer]:
    """Return the job that answers with pictures.

    With ``overlay_opacity`` (0..1) the one picture is the scan under the heat map, else the
    scan (grey) and the heat map (RGBA) come apart, both in the scan's size.
    """

    def job(ticket: Ticket) -> Answer:
        if not predictor.card.has_map:
            raise ExplanationUnavailableError(
                f"Model {predictor.card.name} has no class map; use /predict."
            )
        answer, explanation = _run(predictor, data, limits, ticket, with_map=True)
        assert explanation is not None  # asked for with with_map
        with ticket.stage("encode"):
            return _with_pictures(answer, explanation, overlay_opacity)

    return job


def _run(
    predictor: Predictor, data: bytes, limits: Limits, ticket: Ticket, *, with_map: bool = False
) -> tuple[Answer, Explanation | None]:
    begin = time.perf_counter()
    with ticket.stage("decode"):
        image = predictor.decode(data, name=UPLOAD_NAME, limits=limits)
    with ticket.stage("preprocess"):
        quality = assess(image.pixels)
        if not quality.usable:
            raise NotBrainMRIError(f"{UPLOAD_NAME}: {quality.reason}")
        batch = predictor.prepare(image)[None]
    with ticket.stage("forward"):
        logits, maps = predictor.forward(batch)
    elapsed_ms = (time.perf_counter() - begin) * 1000
    prediction = predictor.answer(float(logits[0]), quality, elapsed_ms)
    answer = Answer(prediction, _facts(image, len(data)))
    if not with_map or maps is None:
        return answer, None
    with ticket.stage("encode"):
        return answer, predictor.show(image, maps[0], prediction)


def _with_pictures(answer: Answer, explanation: Explanation, opacity: float | None) -> Answer:
    scan, heatmap = explanation.scan, explanation.heatmap
    pictures: dict[str, Any] = {"height": scan.shape[0], "width": scan.shape[1]}
    if opacity is None:
        pictures["scan_png"] = encode_png(scan)
        pictures["heat_png"] = encode_png(heat_rgba(heatmap))
    else:
        pictures["overlay_png"] = encode_png(render_overlay(scan, heatmap, opacity))
    return Answer(answer.prediction, answer.facts, **pictures)


def _facts(image: Image, size: int) -> InputFacts:
    # A coarse grid is enough for drift, and costs nothing on a large scan.
    pixels: NDArray[Any] = image.pixels
    grey: NDArray[Any] = to_grey(pixels)
    step = max(1, min(grey.shape) // 128)
    sample = grey[::step, ::step].astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        low, span = 0.0, float(np.iinfo(pixels.dtype).max)
    else:
        low = float(sample.min())
        span = float(sample.max()) - low or 1.0
    share = (sample - low) / span
    return InputFacts(image.format, size, int(grey.size), float(share.mean()), float(share.std()))
