"""What is done with one image: the predictor's stages, each timed, run in a pool thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import ExplanationUnavailableError, NotBrainMRIError, TooLargeError
from tumorlens.imaging.decode import Image, Limits
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.image import to_grey
from tumorlens.imaging.preprocess import bounded
from tumorlens.inference.overlay import encode_png, heat_rgba, render_overlay
from tumorlens.inference.prediction import Explanation, Prediction
from tumorlens.inference.predictor import Predictor
from tumorlens.serving.problems import UPLOAD_NAME

# Images of up to this many pixels are processed side by side; no known slice has more.
USUAL_PIXELS = 2048 * 2048


class Progress(Protocol):
    """Times the stages of a job, and ends it when nobody waits for the answer any more."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time a stage."""

    def alone(self) -> AbstractContextManager[None]:
        """Wait until no other job is in such a block: for what needs much memory."""


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


def predict(predictor: Predictor, data: bytes, limits: Limits) -> Callable[[Progress], Answer]:
    """Return the job that answers for one image; it raises what ``Predictor`` raises.

    An image that is no usable slice of a head raises :class:`NotBrainMRIError`.
    """

    def work(progress: Progress, bounds: Limits) -> Answer:
        return _analyse(predictor, data, bounds, progress)[0]

    return _large_images_alone(work, limits)


def explain(
    predictor: Predictor, data: bytes, limits: Limits, *, overlay_opacity: float | None = None
) -> Callable[[Progress], Answer]:
    """Return the job that answers with pictures.

    With ``overlay_opacity`` (0..1) the one picture is the scan under the heat map, else the
    scan (grey) and the heat map (RGBA) are separate, both in the scan's size, or with 2048
    pixels on the longer side when the scan is larger.
    """

    def work(progress: Progress, bounds: Limits) -> Answer:
        if not predictor.card.has_map:
            raise ExplanationUnavailableError(
                f"Model {predictor.card.name} has no class map; use /predict."
            )
        answer, image, frame, class_map = _analyse(predictor, data, bounds, progress)
        assert class_map is not None  # the card says so, and the predictor has checked it
        with progress.stage("encode"):
            shown = predictor.to_explanation(image, frame, class_map, answer.prediction)
            return _with_pictures(answer, shown, overlay_opacity)

    return _large_images_alone(work, limits)


def _large_images_alone(
    work: Callable[[Progress, Limits], Answer], limits: Limits
) -> Callable[[Progress], Answer]:
    """Process large images one at a time, so that memory is bounded by one of them.

    The size comes from the image's header: nothing was decoded when the first try refuses.
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
    predictor: Predictor, data: bytes, limits: Limits, progress: Progress
) -> tuple[Answer, Image, Frame, NDArray[np.float32] | None]:
    """Return the answer, the image as it can be shown, its frame, and the class map if any."""
    begin = time.perf_counter()
    with progress.stage("decode"):
        image = predictor.decode(data, name=UPLOAD_NAME, limits=limits)
    with progress.stage("preprocess"):
        ready = predictor.prepare(image)
        if not ready.quality.usable:
            raise NotBrainMRIError(f"{UPLOAD_NAME}: {ready.quality.reason}")
    with progress.stage("forward"):
        outputs = predictor.infer(ready.tensor[None])
    elapsed_ms = (time.perf_counter() - begin) * 1000
    prediction = predictor.interpret(outputs, ready.quality, elapsed_ms)
    if not prediction.in_domain:
        raise NotBrainMRIError(f"{UPLOAD_NAME}: {prediction.in_domain_reason}")
    answer = Answer(prediction, _facts(image, len(data)))
    # The full image is released here: what follows allocates several more of its size.
    image = replace(image, pixels=bounded(image.pixels))
    class_map = None if outputs.maps is None else outputs.maps[0]
    return answer, image, ready.frame, class_map


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
