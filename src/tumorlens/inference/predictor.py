"""From a file or bytes to a `Prediction`: the one way to ask a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import resources
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import (
    ConfigError,
    ExplanationUnavailableError,
    InputError,
    ModelDamagedError,
    ModelFileError,
    ModelNotFoundError,
)
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.imaging.preprocess import locate, preprocess, scan_in
from tumorlens.imaging.quality import Quality, assess
from tumorlens.inference.engine import Engine, Outputs, Provider
from tumorlens.inference.overlay import as_heat, as_scan
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


class Predictor:
    """An opened model. Every method may be called from several threads at once.

    The stages `decode`, `prepare`, `outputs`, `judge`, `answer` and `show` can be called one by
    one; `predict` and `explain` chain them.
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

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Return the network's input for one image, float32 ``[C, h, w]`` in 0..1.

        Raises `InputError` when the pixels leave that range, which float pixels can when the
        model's preprocessing expects them in 0..1 already.
        """
        tensor = preprocess(image.pixels, self.card.preprocess)
        try:
            _check_range(tensor)
        except InputError as error:
            raise InputError(f"{image.name}: {error}") from error
        return tensor

    def forward(
        self, batch: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the logits and class maps of a batch; see `outputs`."""
        logits, maps, _ = self.outputs(batch)
        return logits, maps

    def outputs(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on float32 ``[N, C, h, w]`` in 0..1, as `prepare` gives.

        Returns logits float32 ``[N]``, class maps float32 ``[N, h', w']`` in logit units, and the
        guard's scores float32 ``[N]``; None for what the model does not have. Raises `InputError`
        for another shape, dtype or range, `ModelFileError` when the model fails on it.
        """
        spec = self.card.preprocess
        wanted = (spec.channels, spec.size, spec.size)
        if batch.ndim != 4 or batch.shape[1:] != wanted or batch.dtype != np.float32:
            raise InputError(
                f"the network takes float32 [N, {', '.join(map(str, wanted))}], "
                f"not {batch.dtype} {list(batch.shape)}; use Predictor.prepare"
            )
        _check_range(batch)
        found = self._engine.outputs(batch)
        if not np.isfinite(found.logits).all():
            raise ModelFileError(f"model {self.card.name}: the answer is not a finite number")
        return found

    def assess(self, image: Image) -> Quality:
        """Judge by rules whether an image is a usable slice of a head, before any network.

        A white page and a frame around the scan are left out where the model's preprocessing does.
        """
        return assess(scan_in(image.pixels, self.card.preprocess))

    def judge(self, quality: Quality, outputs: Outputs, row: int = 0) -> Quality:
        """Return whether a picture is in the model's domain: the rules and the guard must agree.

        Args:
            quality: What :meth:`assess` says of the picture.
            outputs: The network's for a batch; its ``row`` is the picture's.
        """
        score, guard = outputs.in_domain, self.card.guard
        # Written so that a score that is no number refuses.
        if not quality.usable or guard is None or score is None or score[row] >= guard.threshold:
            return quality
        return Quality(usable=False, reason=NOT_AN_MRI)

    def answer(self, logit: float, quality: Quality, latency_ms: float) -> Prediction:
        """Turn a raw logit into the answer: calibrate, compare, decide."""
        card, threshold = self.card, self.card.threshold
        prob = float(sigmoid(np.float64(logit) / card.temperature))
        label: Label = "tumor" if prob >= threshold.value else "healthy"
        conformal = self._conformal
        decision = decide(prob, threshold.value, conformal) if quality.usable else "uncertain"
        return Prediction(
            label=label,
            prob=prob,
            decision=decision,
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
        start = perf_counter()
        image = self._image(source)
        outputs = self.outputs(self.prepare(image)[None])
        quality = self.judge(self.assess(image), outputs)
        return self.answer(float(outputs.logits[0]), quality, _ms_since(start))

    def predict_many(self, sources: Iterable[Source], batch_size: int = 8) -> Iterator[Prediction]:
        """Answer for many images, ``batch_size`` at a time, in order and lazily.

        The first source that cannot be read raises its `InputError`; use
        `tumorlens.inference.batch.run_batch` to go on past such files.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; give 1 or more")
        waiting = iter(sources)
        while group := tuple(islice(waiting, batch_size)):
            yield from self._predict_group(group)

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
        outputs = self.outputs(self.prepare(image)[None])
        assert outputs.maps is not None  # _check_itself compared the card with the graph
        quality = self.judge(self.assess(image), outputs)
        prediction = self.answer(float(outputs.logits[0]), quality, _ms_since(start))
        return self.show(image, outputs.maps[0], prediction)

    def show(
        self, image: Image, class_map: NDArray[np.float32], prediction: Prediction
    ) -> Explanation:
        """Lay the class map that `forward` gave for an image, float32 ``[h', w']``, over it."""
        frame = locate(image.pixels, self.card.preprocess)
        heatmap = as_heat(class_map, frame, self.card.temperature)
        return Explanation(prediction, heatmap, as_scan(image.pixels))

    def _predict_group(self, sources: tuple[Source, ...]) -> Iterator[Prediction]:
        tensors, qualities, read_ms = [], [], []
        for source in sources:
            start = perf_counter()
            image = self._image(source)
            tensors.append(self.prepare(image))
            qualities.append(self.assess(image))
            read_ms.append(_ms_since(start))
        start = perf_counter()
        outputs = self.outputs(np.stack(tensors))
        shared = _ms_since(start) / len(tensors)
        for row, (quality, ms) in enumerate(zip(qualities, read_ms, strict=True)):
            judged = self.judge(quality, outputs, row)
            yield self.answer(float(outputs.logits[row]), judged, ms + shared)

    def _image(self, source: Source) -> Image:
        if isinstance(source, Image):
            return source
        if isinstance(source, np.ndarray):
            return Image(source, "array", "array")
        return self.decode(source)

    def _check_itself(self) -> None:
        if self._engine.has_map != self.card.has_map:
            raise ModelDamagedError("the card and the graph disagree on whether there is a map")
        if self._engine.has_guard != (self.card.guard is not None):
            raise ModelDamagedError("the card and the graph disagree on whether there is a guard")
        failure = self_test_failure(lambda batch: float(self.forward(batch)[0][0]), self.card)
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
