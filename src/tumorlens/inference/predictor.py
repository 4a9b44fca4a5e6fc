"""From a file or bytes to a `Prediction`: the one way to ask a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
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
    ModelNotFoundError,
)
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.preprocess import prepare
from tumorlens.imaging.quality import Quality, assess
from tumorlens.inference.engine import Engine, Outputs, Provider
from tumorlens.inference.overlay import to_display, to_heatmap
from tumorlens.inference.prediction import Explanation, Label, ModelRef, Prediction
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.decision import decide, prediction_set
from tumorlens.modelfile import ModelCard, ModelFile, read_model
from tumorlens.modelfile.self_test import self_test_failure

MODEL_VARIABLE = "TUMORLENS_MODEL"

# A file's content, its path, a decoded image, or its pixels.
Source = bytes | str | Path | Image | NDArray[Any]
# Rounding in preprocessing may leave 0..1 by this much and no more.
_RANGE_SLACK = 1e-3
NOT_AN_MRI = "not recognised as a slice of a head's MRI (it may be another picture, an X-ray or CT)"


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """One image ready for the network.

    Attributes:
        tensor: float32 ``[C, h, w]`` in 0..1.
        frame: Where the tensor's square lies on the image.
        quality: Whether rules, before any network, take the image for a usable slice of a head.
            What surrounds the scan is left out where the model's preprocessing leaves it out.
    """

    tensor: NDArray[np.float32]
    frame: Frame
    quality: Quality


class Predictor:
    """An opened model. Every method may be called from several threads at once.

    There is one way from a source to an answer: `decode`, `prepare`, `infer`, `interpret`, and
    `show` for the heat map. The stages can be called one by one; all else chains them.
    """

    def __init__(self, model: ModelFile, engine: Engine) -> None:
        """Use a verified model and its engine; `open` is the usual way."""
        self.card: ModelCard = model.card
        self.sha256: str = model.sha256
        self._engine = engine
        self._conformal = model.card.conformal[0] if model.card.conformal else None
        self._ref = ModelRef(name=model.card.name, version=model.card.version, sha256=model.sha256)

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
            path: The model; None takes ``$TUMORLENS_MODEL``, or the packaged default.
            threads: Threads one forward pass may use; None: every core of this process.
            provider: ``cpu``, or ``cuda`` with onnxruntime-gpu installed.

        Raises:
            ModelFileError: Missing, damaged, foreign or newer (see the subclasses), or its
                self-test gives another answer than when it was exported.
            ConfigError: The provider is absent or ``threads`` is below 1.
        """
        chosen = find_model(path)
        model = read_model(chosen)
        try:
            engine = Engine(model.onnx_bytes, threads=threads, provider=provider)
            predictor = cls(model, engine)
            predictor._check_itself()
        except ModelDamagedError as error:
            raise ModelDamagedError(f"{chosen}: {error}") from error
        return predictor

    def decode(
        self, source: bytes | str | Path, name: str | None = None, limits: Limits | None = None
    ) -> Image:
        """Read one picture; see `tumorlens.imaging.decode.decode` for what is raised."""
        return decode(source, name=name, limits=limits)

    def prepare(self, image: Image) -> NetworkInput:
        """Return the network's input for one image, and what is known before the network runs.

        Raises `InputError` when the pixels leave 0..1, which float pixels can when the model's
        preprocessing expects them in that range already.
        """
        prepared = prepare(image.pixels, self.card.preprocess)
        try:
            _check_range(prepared.tensor)
        except InputError as error:
            raise InputError(f"{image.name}: {error}") from error
        return NetworkInput(prepared.tensor, prepared.frame, assess(prepared.visible))

    def infer(self, batch: NDArray[np.float32], batch_size: int | None = None) -> Outputs:
        """Run the network on float32 ``[N, C, h, w]`` in 0..1, as `prepare` gives, N at least 1.

        With ``batch_size`` the rows are run that many at a time. Raises `InputError` for another
        shape, dtype or range, `ModelFileError` when the model fails on it.
        """
        spec = self.card.preprocess
        wanted = (spec.channels, spec.size, spec.size)
        if batch.ndim != 4 or batch.shape[1:] != wanted or batch.dtype != np.float32:
            raise InputError(
                f"the network takes float32 [N, {', '.join(map(str, wanted))}], "
                f"not {batch.dtype} {list(batch.shape)}; use Predictor.prepare"
            )
        _check_range(batch)
        found = self._engine.run(batch, batch_size)
        if not np.isfinite(found.logits).all():
            raise ModelFileError(f"model {self.card.name}: the answer is not a finite number")
        return found

    def calibrate(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return the calibrated probability of a tumour for each logit, of any shape."""
        scaled = np.asarray(logits, dtype=np.float64) / self.card.temperature
        return np.asarray(sigmoid(scaled), dtype=np.float64)

    def interpret(
        self, outputs: Outputs, quality: Quality, latency_ms: float, row: int = 0
    ) -> Prediction:
        """Turn one row of the network's outputs into the answer: calibrate, compare, decide.

        An image is in the model's domain when the rules that gave ``quality`` and the model's own
        score agree.
        """
        card, threshold, conformal = self.card, self.card.threshold, self._conformal
        prob = float(self.calibrate(outputs.logits[row]))
        label: Label = "tumor" if prob >= threshold.value else "healthy"
        score, ood = outputs.in_domain, card.ood
        # Written so that a score that is no number refuses.
        if (quality.usable and ood is not None and score is not None
                and not score[row] >= ood.threshold):  # fmt: skip
            quality = Quality(usable=False, reason=NOT_AN_MRI)
        return Prediction(
            label=label,
            prob=prob,
            decision=decide(prob, threshold.value, conformal) if quality.usable else "uncertain",
            prediction_set=prediction_set(prob, conformal) if conformal else (label,),
            threshold=threshold.value,
            threshold_origin=threshold.origin,
            in_domain=quality.usable,
            in_domain_reason=quality.reason,
            latency_ms=round(latency_ms, 3),
            model=self._ref,
        )

    def predict(self, source: Source) -> Prediction:
        """Answer for one image.

        Raises `InputError` (see its subclasses) when the source cannot be read. An image that
        is no usable slice of a head is answered, with ``in_domain`` False.
        """
        return next(self.predict_many([source], 1))

    def predict_many(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[Prediction]:
        """Answer for many images, ``batch_size`` at a time, in order and lazily.

        The first source that cannot be read raises its `InputError`; use
        `tumorlens.inference.batch.run_batch` to go on past such files.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; give 1 or more")
        waiting = iter(sources)
        while group := [self._read(source) for source in islice(waiting, batch_size)]:
            yield from self.answer(*zip(*group, strict=True))

    def answer(
        self, inputs: Sequence[NetworkInput], read_ms: Sequence[float]
    ) -> Iterator[Prediction]:
        """Answer for images that are prepared, in one forward pass.

        ``read_ms`` is what reading and preparing each took; the network's time is shared evenly.
        """
        start = perf_counter()
        outputs = self.infer(np.stack([each.tensor for each in inputs]))
        shared = _ms_since(start) / len(inputs)
        for row, (each, ms) in enumerate(zip(inputs, read_ms, strict=True)):
            yield self.interpret(outputs, each.quality, ms + shared, row)

    def explain(self, source: Source) -> Explanation:
        """Answer for one image, with the heat map the answer was computed from.

        Raises as `predict`, and `ExplanationUnavailableError` when the model has no class map.
        """
        start = perf_counter()
        if not self.card.has_map:
            raise ExplanationUnavailableError(
                f"model {self.card.name} ({self.card.architecture}) has no class map; "
                "use predict, or a model whose card says has_map"
            )
        image = self._image(source)
        ready = self.prepare(image)
        outputs = self.infer(ready.tensor[None])
        assert outputs.maps is not None  # _check_itself compared the card with the graph
        prediction = self.interpret(outputs, ready.quality, _ms_since(start))
        return self.show(image, ready.frame, outputs.maps[0], prediction)

    def show(
        self, image: Image, frame: Frame, class_map: NDArray[np.float32], prediction: Prediction
    ) -> Explanation:
        """Lay the class map that `infer` gave for an image, float32 ``[h', w']``, over it.

        ``frame`` is what `prepare` gave; ``image`` may be a copy of another size in pixels.
        """
        height, width = image.pixels.shape[:2]
        heatmap = to_heatmap(class_map, frame.scaled_to(height, width), self.card.temperature)
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

    def _check_itself(self) -> None:
        if self._engine.has_map != self.card.has_map:
            raise ModelDamagedError("the card and the graph disagree on whether there is a map")
        if self._engine.has_ood != (self.card.ood is not None):
            raise ModelDamagedError("the card and the graph disagree on an OOD detector")
        failure = self_test_failure(lambda batch: float(self.infer(batch).logits[0]), self.card)
        if failure:
            raise ModelDamagedError(f"{failure}; this onnxruntime computes something else")


def find_model(path: str | Path | None = None) -> Path:
    """Return ``path``, or else ``$TUMORLENS_MODEL``, or else the packaged default model.

    Raises `ModelNotFoundError` when none is given and the package holds no default.
    """
    chosen = path or os.environ.get(MODEL_VARIABLE)
    if chosen:
        return Path(chosen)
    default = resources.files("tumorlens") / "weights" / "default.onnx"
    if not default.is_file():
        raise ModelNotFoundError(
            "this installation holds no default model; name one with --model "
            f"or {MODEL_VARIABLE}, or train one: tumorlens train"
        )
    return Path(str(default))


def _check_range(tensor: NDArray[np.float32]) -> None:
    low, high = float(tensor.min(initial=0)), float(tensor.max(initial=0))
    # Written so that NaN fails as well.
    if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):
        raise InputError(
            f"the network's input spans {low:g}..{high:g}, not 0..1; "
            "give uint8 or uint16 pixels, or floats in 0..1"
        )


def _ms_since(start: float) -> float:
    return (perf_counter() - start) * 1000
