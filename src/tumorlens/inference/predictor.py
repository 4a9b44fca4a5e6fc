"""The `Predictor`: from a file, bytes or pixels to a `Prediction`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import (
    ConfigError,
    ExplanationUnavailableError,
    InputError,
    ModelDamagedError,
    ModelFileError,
)
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.header import ScanHeader, SequenceName
from tumorlens.imaging.preprocess import prepare
from tumorlens.imaging.quality import Quality, assess
from tumorlens.inference.default_model import find_model
from tumorlens.inference.domain import domain_of
from tumorlens.inference.engine import Engine, Outputs, Provider
from tumorlens.inference.network_input import NetworkInput
from tumorlens.inference.overlay import to_display, to_heatmap
from tumorlens.inference.prediction import Explanation, Label, ModelRef, Prediction
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.inference.series.source import SeriesSource, open_series
from tumorlens.metrics.calibration import probability
from tumorlens.metrics.decision import decide, prediction_set
from tumorlens.modelfile import ModelCard, ModelFile, read_model
from tumorlens.modelfile.self_test import self_test_failure

# File content, a path, a decoded image, or pixels.
Source = bytes | str | Path | Image | NDArray[Any]
# Rounding tolerance around the range 0..1.
_RANGE_TOLERANCE = 1e-3


class Predictor:
    """A loaded model. Thread-safe.

    The stages of a prediction are `decode`, `prepare`, `infer`, `interpret`, and `to_explanation`
    for the heat map. They can be called one by one; all other methods chain them.
    """

    def __init__(self, model: ModelFile, engine: Engine) -> None:
        """Wrap a verified model file and its engine; normally called by `open`."""
        self.card: ModelCard = model.card
        self.sha256: str = model.sha256
        self._engine = engine
        self._conformal = model.card.conformal[0] if model.card.conformal else None
        self.ref = ModelRef(name=model.card.name, version=model.card.version, sha256=model.sha256)

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
    ) -> Predictor:
        """Open and verify a model file, and run its self-test.

        Args:
            path: Model file; None: ``$TUMORLENS_MODEL``, or the packaged default.
            threads: Threads per forward pass; None: one per core available to this process.
            provider: ``cpu``; ``cuda`` or ``tensorrt`` with onnxruntime-gpu installed.

        Raises:
            ModelFileError: Missing, damaged, foreign or newer (see the subclasses), or its
                self-test gives another logit than at export.
            ConfigError: The provider is not available or ``threads`` is below 1.
        """
        model_path = find_model(path)
        model = read_model(model_path)
        try:
            engine = Engine(model.onnx_bytes, threads=threads, provider=provider)
            predictor = cls(model, engine)
            predictor._verify()
        except ModelDamagedError as error:
            raise ModelDamagedError(f"{model_path}: {error}") from error
        return predictor

    def decode(
        self, source: bytes | str | Path, name: str | None = None, limits: Limits | None = None
    ) -> Image:
        """Read one image; raises as `tumorlens.imaging.decode.decode`."""
        return decode(source, name=name, limits=limits)

    def prepare(self, image: Image) -> NetworkInput:
        """Preprocess one image and check its quality.

        Raises `InputError` when values are outside 0..1: float pixels under a preprocessing that
        only divides by the dtype's maximum.
        """
        prepared = prepare(image.pixels, self.card.preprocess)
        try:
            _check_range(prepared.tensor)
        except InputError as error:
            raise InputError(f"{image.name}: {error}") from error
        header = image.header or ScanHeader()
        if header.refusal:
            quality = Quality(False, header.refusal)
        else:
            quality = assess(prepared.visible, prepared.content)
        return NetworkInput(prepared.tensor, prepared.frame, quality, header.sequence)

    def infer(self, batch: NDArray[np.float32], batch_size: int | None = None) -> Outputs:
        """Run the network on float32 ``[N, C, h, w]`` in 0..1 from `prepare`, N at least 1.

        ``batch_size`` limits the images per forward pass. Raises `InputError` for another shape,
        dtype or range, `ModelFileError` when the model fails.
        """
        spec = self.card.preprocess
        expected = (spec.channels, spec.size, spec.size)
        if batch.ndim != 4 or batch.shape[1:] != expected or batch.dtype != np.float32:
            raise InputError(
                f"the network expects float32 [N, {', '.join(map(str, expected))}], "
                f"not {batch.dtype} {list(batch.shape)}; use Predictor.prepare"
            )
        _check_range(batch)
        outputs = self._engine.run(batch, batch_size)
        if not np.isfinite(outputs.logits).all():
            raise ModelFileError(f"model {self.card.name}: the logit is not a finite number")
        return outputs

    def calibrate(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return the calibrated probability of a tumour for each logit, of any shape."""
        return probability(logits, self.card.temperature, self.card.bias)

    def interpret(
        self, outputs: Outputs, quality: Quality, latency_ms: float, row: int = 0,
        sequence: SequenceName = "unknown",
    ) -> Prediction:  # fmt: skip
        """Turn row ``row`` of the network's outputs into a prediction.

        An image is in domain when the rule-based ``quality`` check, the model's OOD detector and
        its brain detector accept it.
        """
        card, threshold, conformal = self.card, self.card.threshold, self._conformal
        prob = float(self.calibrate(outputs.logits[row]))
        label: Label = "tumor" if prob >= threshold.value else "healthy"
        quality = domain_of(quality, outputs, row, card)
        return Prediction(
            label=label,
            prob=prob,
            decision=decide(prob, threshold.value, conformal) if quality.usable else "uncertain",
            prediction_set=prediction_set(prob, conformal) if conformal else (label,),
            threshold=threshold.value,
            threshold_origin=threshold.origin,
            in_domain=quality.usable,
            in_domain_reason=quality.reason,
            sequence=sequence,
            latency_ms=round(latency_ms, 3),
            model=self.ref,
        )

    def predict(self, source: Source) -> Prediction:
        """Predict one image.

        Raises `InputError` (see its subclasses) when the source cannot be read. An image that is
        not a usable slice of a head gets a prediction with ``in_domain`` False.
        """
        return next(self.predict_many([source], 1))

    def predict_many(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[Prediction]:
        """Predict many images, ``batch_size`` at a time, in order and lazily.

        The first unreadable source raises its `InputError`; `tumorlens.inference.batch.run_batch`
        continues past such files.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; give 1 or more")
        remaining = iter(sources)
        while batch := [self._read(source) for source in islice(remaining, batch_size)]:
            yield from self.predict_prepared(*zip(*batch, strict=True))

    def predict_prepared(
        self, inputs: Sequence[NetworkInput], read_ms: Sequence[float]
    ) -> Iterator[Prediction]:
        """Predict preprocessed images in one forward pass.

        ``read_ms`` is the time to read and prepare each image, in milliseconds; the network's
        time is divided evenly among them.
        """
        start = perf_counter()
        outputs = self.infer(np.stack([each.tensor for each in inputs]))
        network_ms = _ms_since(start) / len(inputs)
        for row, (each, ms) in enumerate(zip(inputs, read_ms, strict=True)):
            yield self.interpret(outputs, each.quality, ms + network_ms, row, each.sequence)

    def predict_series(
        self,
        source: SeriesSource,
        plane: Plane | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> SeriesPrediction:
        """Predict one volume or series, with its slices and findings.

        Args:
            source: A volume, a file of one, the folder of one DICOM series, or an entry of
                `tumorlens.volumes.discover.discover`.
            plane: Plane to cut; None: the plane of acquisition.
            progress: Called with the number of slices done and in total.

        Raises:
            InputError: The source cannot be read, or holds no or several series.
            ConfigError: Another plane.
        """
        run = self.run_series(source, plane)
        for done, of in run:
            if progress is not None:
                progress(done, of)
        return run.answer

    def run_series(self, source: SeriesSource, plane: Plane | None = None) -> SeriesRun:
        """Open a series without running the network yet; arguments as for `predict_series`."""
        return open_series(self, source, plane)

    def require_map(self) -> None:
        """Raise `ExplanationUnavailableError` when the model has no class map."""
        if not self.card.has_map:
            raise ExplanationUnavailableError(
                f"model {self.card.name} ({self.card.architecture}) has no class map; "
                "use predict, or a model with a class map"
            )

    def explain(self, source: Source) -> Explanation:
        """Predict one image and return the heat map the prediction was computed from.

        Raises as `predict`, and `ExplanationUnavailableError` when the model has no class map.
        """
        start = perf_counter()
        self.require_map()
        image = self._image(source)
        ready = self.prepare(image)
        outputs = self.infer(ready.tensor[None])
        assert outputs.maps is not None  # _verify compared the card with the graph
        prediction = self.interpret(outputs, ready.quality, _ms_since(start), 0, ready.sequence)
        return self.to_explanation(image, ready.frame, outputs.maps[0], prediction)

    def to_explanation(
        self, image: Image, frame: Frame, class_map: NDArray[np.float32], prediction: Prediction
    ) -> Explanation:
        """Map the class map from `infer`, float32 ``[h', w']``, onto the image's pixels.

        ``frame`` is that of `prepare`; ``image`` may be a resized copy of the prepared image.
        """
        height, width = image.pixels.shape[:2]
        whole = frame.scaled_to(height, width)
        heatmap = to_heatmap(class_map, whole, self.card.temperature, self.card.bias)
        return Explanation(prediction, heatmap, to_display(image.pixels))

    def _read(self, source: Source) -> tuple[NetworkInput, float]:
        start = perf_counter()
        return self.prepare(self._image(source)), _ms_since(start)

    def _image(self, source: Source) -> Image:
        if isinstance(source, Image):
            return source
        if isinstance(source, np.ndarray):
            return Image(source, "array", "array")
        return self.decode(source)

    def _verify(self) -> None:
        if self._engine.has_map != self.card.has_map:
            raise ModelDamagedError(
                "the card and the graph disagree on whether there is a class map"
            )
        if self._engine.has_ood != (self.card.ood is not None):
            raise ModelDamagedError("the card and the graph disagree on an OOD detector")
        if self._engine.has_brain != (self.card.brain is not None):
            raise ModelDamagedError("the card and the graph disagree on a brain detector")
        failure = self_test_failure(lambda batch: float(self.infer(batch).logits[0]), self.card)
        if failure:
            raise ModelDamagedError(f"{failure}; this onnxruntime computes different values")


def _check_range(tensor: NDArray[np.float32]) -> None:
    low, high = float(tensor.min(initial=0)), float(tensor.max(initial=0))
    # Negated so that NaN fails too.
    if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):
        raise InputError(
            f"the network's input spans {low:g}..{high:g} instead of 0..1; "
            "give uint8 or uint16 pixels, or floats in 0..1"
        )


def _ms_since(start: float) -> float:
    return (perf_counter() - start) * 1000
