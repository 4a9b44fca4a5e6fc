"""`Predictor`: stages, formulas, refusals, the self-test."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from tests.models_for_tests import TINY_SPEC, tiny_card, tiny_onnx, write_tiny_model
from tumorlens.errors import (
    ConfigError,
    DecodeError,
    EmptyInputError,
    ExplanationUnavailableError,
    InputError,
    ModelDamagedError,
    ModelFileError,
    ModelNotFoundError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.decode import Image
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, prepare, preprocess
from tumorlens.imaging.quality import Quality
from tumorlens.inference.default_model import find_model
from tumorlens.inference.engine import Outputs
from tumorlens.inference.predictor import Predictor, Source
from tumorlens.metrics.decision import Threshold
from tumorlens.modelfile import SelfTest, write_model

USABLE = Quality(usable=True, reason=None)


@pytest.fixture(scope="module")
def predictor(tiny_model_path: Path) -> Predictor:
    return Predictor.open(tiny_model_path, threads=1)


@pytest.fixture(scope="module")
def scan() -> NDArray[np.uint8]:
    return draw_phantom(1, lesion=True).image


def of_logit(logit: float) -> Outputs:
    return Outputs(np.array([logit], np.float32), None, None)


def without_time(prediction: Any) -> dict[str, Any]:
    return {key: value for key, value in prediction.to_dict().items() if key != "latency_ms"}


def test_a_prediction_has_these_fields_and_is_json(predictor: Predictor, scan: Any) -> None:
    prediction = predictor.predict(scan).to_dict()
    assert list(prediction) == [
        "label",
        "prob",
        "decision",
        "prediction_set",
        "threshold",
        "threshold_origin",
        "in_domain",
        "in_domain_reason",
        "sequence",
        "latency_ms",
        "model",
        "disclaimer",
    ]
    assert json.loads(json.dumps(prediction)) == prediction
    assert prediction["model"] == {"name": "tiny", "version": "1.0", "sha256": predictor.sha256}
    assert "not for clinical use" in prediction["disclaimer"]
    assert prediction["latency_ms"] > 0


def test_predict_chains_the_stages(predictor: Predictor, scan: Any) -> None:
    ready = predictor.prepare(Image(scan, "array", "scan"))
    batch = ready.tensor[None]
    np.testing.assert_array_equal(batch[0], preprocess(scan, TINY_SPEC))
    assert ready.quality == USABLE
    outputs = predictor.infer(batch)
    assert outputs.maps is not None
    # The tiny model: map = 4 * mean of 8x8 pixels - 1, logit = mean of the map.
    logit = 4 * batch.mean(dtype=np.float64) - 1
    np.testing.assert_allclose(outputs.logits, logit, atol=1e-5)
    prediction = predictor.predict(scan)
    assert prediction.prob == pytest.approx(1 / (1 + math.exp(-logit / 0.5)), abs=1e-5)
    assert without_time(prediction) == without_time(predictor.interpret(outputs, USABLE, 0.0))


@pytest.mark.parametrize(
    ("logit", "prob", "label", "decision", "labels"),
    [  # temperature 0.5, threshold 0.5, a class stays in the set down to a probability of 0.4
        (0.0, 0.5, "tumor", "uncertain", ("tumor", "healthy")),
        (-0.001, 0.4995, "healthy", "uncertain", ("tumor", "healthy")),
        (1.0, 0.880797, "tumor", "tumor", ("tumor",)),
        (-1.0, 0.119203, "healthy", "healthy", ("healthy",)),
        (1000.0, 1.0, "tumor", "tumor", ("tumor",)),
        (-1000.0, 0.0, "healthy", "healthy", ("healthy",)),
    ],
)
def test_the_prediction_follows_from_the_logit(
    predictor: Predictor,
    logit: float,
    prob: float,
    label: str,
    decision: str,
    labels: tuple[str, ...],
) -> None:
    prediction = predictor.interpret(of_logit(logit), USABLE, 1.23456)
    assert prediction.prob == pytest.approx(prob, abs=1e-6)
    assert (prediction.label, prediction.decision, prediction.prediction_set) == (
        label,
        decision,
        labels,
    )
    assert prediction.latency_ms == 1.235


def test_without_conformal_quantiles_the_decision_is_the_label(tmp_path: Path) -> None:
    threshold = Threshold(value=0.9, target=0.95, origin="sensitivity 0.95", n=100)
    path = write_tiny_model(tmp_path / "m.onnx", conformal=None, threshold=threshold)
    predictor = Predictor.open(path, threads=1)
    prediction = predictor.interpret(of_logit(1.0), USABLE, 0.0)  # prob 0.88
    assert (prediction.label, prediction.decision, prediction.prediction_set) == (
        "healthy",
        "healthy",
        ("healthy",),
    )
    assert (prediction.threshold, prediction.threshold_origin) == (0.9, "sensitivity 0.95")


def test_an_out_of_domain_image_is_uncertain(predictor: Predictor) -> None:
    prediction = predictor.predict(np.zeros((256, 256), dtype=np.uint8))
    assert prediction.decision == "uncertain"
    assert not prediction.in_domain
    assert prediction.in_domain_reason
    assert prediction.label in ("tumor", "healthy")


def test_every_kind_of_source_gives_the_same_prediction(
    predictor: Predictor, scan: NDArray[np.uint8], tmp_path: Path
) -> None:
    path = tmp_path / "scan.png"
    cv2.imwrite(str(path), scan)
    sources: list[Source] = [scan, path, str(path), path.read_bytes(), Image(scan, "array", "x")]
    answers = [without_time(predictor.predict(source)) for source in sources]
    assert answers == [answers[0]] * 5


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_predict_many_equals_predict_one_by_one(predictor: Predictor, batch_size: int) -> None:
    scans = [draw_phantom(seed, lesion=seed % 2 == 0).image for seed in range(7)]
    many = list(predictor.predict_many(scans, batch_size))
    assert [a.prob for a in many] == pytest.approx(
        [predictor.predict(s).prob for s in scans], abs=1e-6
    )
    assert len({a.prob for a in many}) == 7


def test_predict_many_is_lazy(predictor: Predictor, scan: Any) -> None:
    taken = count()

    def endless() -> Any:
        while True:
            next(taken)
            yield scan

    answers = predictor.predict_many(endless(), batch_size=2)
    next(answers)
    assert next(taken) == 2
    with pytest.raises(ConfigError, match="give 1 or more"):
        next(predictor.predict_many([scan], 0))
    assert list(predictor.predict_many([])) == []


def test_threads_share_one_predictor(predictor: Predictor) -> None:
    scans = [draw_phantom(seed, lesion=True).image for seed in range(6)]
    alone = [predictor.explain(scan) for scan in scans]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(predictor.explain, scans * 3))
    for one, other in zip(alone * 3, together, strict=True):
        assert without_time(one.prediction) == without_time(other.prediction)
        np.testing.assert_array_equal(one.heatmap, other.heatmap)


def test_the_heat_map_has_a_fixed_scale(predictor: Predictor) -> None:
    tall = np.zeros((400, 200), dtype=np.uint8)
    tall[60:260, 20:180] = draw_phantom(2, lesion=True, size=256).image[28:228, 48:208]
    explanation = predictor.explain(tall)
    maps = predictor.infer(preprocess(tall, TINY_SPEC)[None]).maps
    assert maps is not None
    spread = prepare(tall, TINY_SPEC).frame.map_to_image(maps[0])
    wanted = np.maximum(0, 2 / (1 + np.exp(-spread / 0.5)) - 1)
    assert wanted.max() > 0.1
    np.testing.assert_allclose(explanation.heatmap, wanted, atol=1e-6)
    assert explanation.heatmap.shape == (400, 200)
    assert explanation.heatmap.dtype == np.float32
    assert (explanation.heatmap[-50:] == 0).all()  # outside the frame
    np.testing.assert_array_equal(explanation.scan, tall)
    assert without_time(explanation.prediction) == without_time(predictor.predict(tall))


def test_a_model_without_a_class_map_predicts_but_cannot_explain(tmp_path: Path, scan: Any) -> None:
    path = write_tiny_model(tmp_path / "flat.onnx", has_map=False)
    predictor = Predictor.open(path, threads=1)
    assert 0 < predictor.predict(scan).prob < 1
    with pytest.raises(ExplanationUnavailableError, match=r"tiny \(tiny\) has no class map"):
        predictor.explain(scan)


@pytest.mark.parametrize(
    ("source", "error", "reason"),
    [
        (b"", EmptyInputError, "empty"),
        (b"hello", UnsupportedFormatError, "not a"),
        ("no/such.png", UnreadableFileError, "no such file"),
        (np.zeros((8, 8), dtype=np.int64), DecodeError, "int64"),
        (np.zeros((8, 8, 4), dtype=np.uint8), DecodeError, r"\(8, 8, 4\)"),
        (np.full((8, 8), np.nan, dtype=np.float32), DecodeError, "finite"),
    ],
)
def test_unreadable_sources_are_refused(
    predictor: Predictor, source: Source, error: type[InputError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        predictor.predict(source)


def test_floats_outside_0_to_1_are_refused(tmp_path: Path) -> None:
    scan = draw_phantom(1, lesion=True, size=64).image  # of the input's size: no resizing rounds
    spec = PreprocessSpec(size=64, crop="none", intensity="unit")
    predictor = Predictor.open(write_tiny_model(tmp_path / "unit.onnx", spec), threads=1)
    right = predictor.predict(scan.astype(np.float32) / 255).prob
    assert right == pytest.approx(predictor.predict(scan).prob, abs=1e-6)
    with pytest.raises(
        InputError, match=r"array: .* spans 0\.\.2\d\d.* instead of 0\.\.1; give uint8"
    ):
        predictor.predict(scan.astype(np.float32))


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (np.zeros((1, 1, 32, 32), np.float32), r"expects float32 \[N, 1, 64, 64\], not float32"),
        (np.zeros((1, 64, 64), np.float32), r"not float32 \[1, 64, 64\]"),
        (np.zeros((1, 1, 64, 64), np.float64), "not float64"),
        (np.full((1, 1, 64, 64), 2, np.float32), r"spans 0\.\.2 instead of"),
        (np.full((1, 1, 64, 64), -1, np.float32), r"spans -1\.\.0 instead of"),
        (np.full((1, 1, 64, 64), np.nan, np.float32), "spans nan"),
    ],
)
def test_infer_refuses_other_shapes_and_ranges(
    predictor: Predictor, batch: Any, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        predictor.infer(batch)


def test_a_non_finite_logit_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_onnx())
    bias = np.array([np.nan], dtype=np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias, "bias"))
    write_model(model.SerializeToString(), tiny_card(tiny_onnx()), tmp_path / "nan.onnx")
    with pytest.raises(ModelFileError, match="not a finite number"):
        Predictor.open(tmp_path / "nan.onnx", threads=1)


def test_a_failed_self_test_is_reported(tmp_path: Path) -> None:
    logit = tiny_card(tiny_onnx()).self_test.logit
    within = SelfTest(seed=7, lesion=True, logit=logit + 9e-4, tolerance=1e-3)
    Predictor.open(write_tiny_model(tmp_path / "within.onnx", self_test=within), threads=1)
    beyond = SelfTest(seed=7, lesion=True, logit=logit + 2e-3, tolerance=1e-3)
    path = write_tiny_model(tmp_path / "beyond.onnx", self_test=beyond)
    with pytest.raises(ModelDamagedError, match=r"beyond\.onnx: the self-test gives"):
        Predictor.open(path)
    other_head = SelfTest(seed=7, lesion=False, logit=logit, tolerance=1e-3)
    path = write_tiny_model(tmp_path / "other.onnx", self_test=other_head)
    with pytest.raises(ModelDamagedError, match="the self-test gives"):
        Predictor.open(path)


def test_a_card_that_disagrees_with_the_graph_is_refused(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "m.onnx", has_map=True)
    card = Predictor.open(path).card.model_copy(update={"has_map": False, "pooling": None})
    write_model(path.read_bytes(), card, path)
    with pytest.raises(ModelDamagedError, match=r"m\.onnx: the card and the graph disagree"):
        Predictor.open(path)


def test_the_model_comes_from_argument_environment_or_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORLENS_MODEL", "from/environment.onnx")
    assert find_model("named.onnx") == Path("named.onnx")
    assert find_model() == Path("from/environment.onnx")
    monkeypatch.setenv("TUMORLENS_MODEL", "")
    monkeypatch.setattr("tumorlens.inference.default_model.resources.files", lambda _: tmp_path)
    with pytest.raises(ModelNotFoundError, match="has no default model; give one with --model"):
        find_model()
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "default.onnx").touch()
    assert find_model() == tmp_path / "weights" / "default.onnx"


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"absent\.onnx: no such model file"):
        Predictor.open(tmp_path / "absent.onnx")
