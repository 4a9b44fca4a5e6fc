"""The job for one image: the stages of the predictor, timed, in a thread of the pool."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tumorlens.drift.statistics import observe
from tumorlens.errors import ExplanationUnavailableError, NotBrainMRIError, TooLargeError
from tumorlens.imaging.decode import Image, Limits
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.image import to_grey
from tumorlens.imaging.preprocess import bounded
from tumorlens.inference.overlay import encode_png, heat_levels, heat_palette, render_overlay
from tumorlens.inference.prediction import Explanation, Prediction
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.problems import UPLOAD_NAME
from tumorlens.serving.processing import png

# Images of up to this many pixels are processed concurrently; no known MRI slice is larger.
USUAL_PIXELS = 2048 * 2048


class Progress(Protocol):
    """Times the stages of a job, and stops it when the client has disconnected."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold the lock for memory-intensive work: one job at a time."""


@dataclass(frozen=True)
class InputFacts:
    """Properties of an image for the metrics: format and statistics, no content.

    ``observed`` is what is watched for drift; empty out of domain, and where the model has no
    reference.
    """

    format: str
    bytes: int
    pixels: int
    mean: float
    contrast: float
    observed: tuple[float, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A prediction, the properties of its input, the requested PNG images, the raw evidence.

    ``facts`` is None where no image was sent; ``logit`` is not calibrated, ``class_map`` float32
    ``[h, w]`` in its units.
    """

    prediction: Prediction
    facts: InputFacts | None
    scan_png: bytes | None = None
    heat_png: bytes | None = None
    evidence_png: bytes | None = None
    overlay_png: bytes | None = None
    pixel_mm: float | None = None
    height: int = 0
    width: int = 0
    logit: float = 0.0
    class_map: NDArray[np.float32] | None = None


def predict(
    predictor: Predictor, data: bytes, limits: Limits, *, refuse: bool = True
) -> Callable[[Progress], Answer]:
    """Return the job that predicts one image; it raises the errors of ``Predictor``.

    An image that is not a usable slice of a brain MRI raises :class:`NotBrainMRIError`, or without
    ``refuse`` gets a prediction that says so.
    """

    def work(progress: Progress, bounds: Limits) -> Answer:
        return _analyse(predictor, data, bounds, progress, refuse=refuse)[0]

    return _large_images_alone(work, limits)


def explain(
    predictor: Predictor, data: bytes, limits: Limits, *, overlay_opacity: float | None = None
) -> Callable[[Progress], Answer]:
    """Return the job that predicts and explains one image.

    With ``overlay_opacity`` (0..1) the answer has the overlay of scan and heat map, else both
    separately (grey, and colours with transparency), of the scan's size, but at most 2048 pixels a
    side.
    """

    def work(progress: Progress, bounds: Limits) -> Answer:
        if not predictor.card.has_map:
            raise ExplanationUnavailableError(
                f"Model {predictor.card.name} has no class map; use /predict."
            )
        answer, image, frame = _analyse(predictor, data, bounds, progress)
        assert answer.class_map is not None  # the card's has_map, which the predictor verified
        with progress.stage("encode"):
            explanation = predictor.to_explanation(
                image, frame, answer.class_map, answer.prediction
            )
            pixel_mm = _pixel_mm(image, explanation.scan.shape[0] / frame.height)
            return _with_images(answer, explanation, overlay_opacity, pixel_mm)

    return _large_images_alone(work, limits)


def _large_images_alone(
    work: Callable[[Progress, Limits], Answer], limits: Limits
) -> Callable[[Progress], Answer]:
    """Process large images one at a time, to bound memory.

    The size is read from the image's header, so the first attempt fails before decoding.
    """
    usual = replace(limits, max_pixels=min(limits.max_pixels, USUAL_PIXELS))

    def job(progress: Progress) -> Answer:
        try:
            return work(progress, usual)
        except TooLargeError:
            if usual == limits:
                raise
        with progress.alone():
            return work(progress, limits)

    return job


def _analyse(
    predictor: Predictor, data: bytes, limits: Limits, progress: Progress, *, refuse: bool = True
) -> tuple[Answer, Image, Frame]:
    """Return the answer, the image at display size, and its frame."""
    begin = time.perf_counter()
    with progress.stage("decode"):
        image = predictor.decode(data, name=UPLOAD_NAME, limits=limits)
    with progress.stage("preprocess"):
        ready = predictor.prepare(image)
        if refuse and not ready.quality.usable:
            raise NotBrainMRIError(f"{UPLOAD_NAME}: {ready.quality.reason}")
    with progress.stage("forward"):
        outputs = predictor.infer(ready.tensor[None])
    elapsed_ms = (time.perf_counter() - begin) * 1000
    prediction = predictor.interpret(outputs, ready.quality, elapsed_ms, sequence=ready.sequence)
    if refuse and not prediction.in_domain:
        raise NotBrainMRIError(f"{UPLOAD_NAME}: {prediction.in_domain_reason}")
    class_map = None if outputs.maps is None else outputs.maps[0]
    logit = float(outputs.logits[0])
    observed: tuple[float, ...] = ()
    if predictor.card.drift is not None and prediction.in_domain:
        domain = None if outputs.in_domain is None else float(outputs.in_domain[0])
        observed = observe(ready.tensor, prediction.prob, domain)
    facts = replace(_facts(image, len(data)), observed=observed)
    answer = Answer(prediction, facts, logit=logit, class_map=class_map)
    # Release the full-size image: the next steps allocate several more of its size.
    image = replace(image, pixels=bounded(image.pixels))
    return answer, image, ready.frame


def _pixel_mm(image: Image, shown: float) -> float | None:
    """Return the side of a pixel shown at ``shown`` times its size, by the header, or None."""
    spacing = image.header.spacing_mm if image.header else None
    # Pixels that were not square have been made so on the finer side.
    return round(min(spacing) / shown, 5) if spacing and min(spacing) > 0 else None


def _with_images(
    answer: Answer, explanation: Explanation, opacity: float | None, pixel_mm: float | None
) -> Answer:
    scan, heatmap = explanation.scan, explanation.heatmap
    images: dict[str, Any] = {"height": scan.shape[0], "width": scan.shape[1]}
    if opacity is None:
        images["pixel_mm"] = pixel_mm
        heat = png.CompressedPixels(heat_levels(heatmap))
        images["evidence_png"] = heat.as_grey()
        images["heat_png"] = heat.as_colours(heat_palette())
        images["scan_png"] = png.CompressedPixels(scan).as_grey()
    else:
        images["overlay_png"] = encode_png(render_overlay(scan, heatmap, opacity))
    return Answer(answer.prediction, answer.facts, **images)


def _facts(image: Image, size: int) -> InputFacts:
    # A coarse grid is sufficient for drift detection, and fast for large scans.
    pixels: NDArray[Any] = image.pixels
    height, width = pixels.shape[:2]
    step = max(1, min(height, width) // 128)
    coarse: NDArray[Any] = to_grey(np.ascontiguousarray(pixels[::step, ::step]))
    sample = coarse.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        low, span = 0.0, float(np.iinfo(pixels.dtype).max)
    else:
        low = float(sample.min())
        span = float(sample.max()) - low or 1.0
    share = (sample - low) / span
    return InputFacts(image.format, size, height * width, float(share.mean()), float(share.std()))
