"""Robustness curves of models with known behaviour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.drawn_data import draw_heads
from tests.models_for_tests import write_tiny_model
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.evaluation.corruptions import CORRUPTIONS, Corruption, GreyImage
from tumorlens.evaluation.robustness import Robustness, robustness_curves
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.binary import metric_values


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    spec = PreprocessSpec(size=64, crop="none", intensity="unit")  # the answer is the brightness
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    return Predictor.open(write_tiny_model(path, spec), threads=1)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Twelve plain pictures: healthy at 40 … 45, tumours at 80 … 85."""
    folder = tmp_path_factory.mktemp("scans")
    found = []
    for number in range(12):
        level = 40 + 40 * (number % 2) + number // 2
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), np.full((64, 64), level, dtype=np.uint8))
        found.append(Record(key=str(number), path=path, source="s", label=number % 2, group=number))
    return found


def brighter(image: GreyImage, by: float, rng: np.random.Generator) -> GreyImage:
    """Corrupt by light: level 3 saturates everything, level 4 turns the order over."""
    if by > 300:
        return np.asarray(255 - image, dtype=np.uint8)
    return np.asarray(np.clip(image.astype(float) + by, 0, 255), dtype=np.uint8)


LIGHT = Corruption("light", "steps", (5, 20, 300, 400, 400), brighter)


@pytest.fixture(scope="module")
def found(predictor: Predictor, records: list[Record]) -> Robustness:
    return robustness_curves(predictor, records, part="test", n_boot=50, corruptions=[LIGHT])


def test_a_curve_falls_where_the_signal_is_lost(found: Robustness) -> None:
    assert found.clean["roc_auc"].value == 1.0
    (curve,) = found.curves
    assert [level["roc_auc"].value for level in curve.levels] == [1.0, 1.0, 0.5, 0.0, 0.0]
    # The tiny model says tumour from a mean of a quarter (64 of 255) on.
    assert found.clean["specificity"].value == 1.0
    assert [level["specificity"].value for level in curve.levels][1:3] == [
        pytest.approx(4 / 6),  # 40 … 43 stay at or below 63, 44 and 45 do not
        0.0,
    ]
    assert curve.levels[2]["sensitivity"].value == 1.0


def test_findings_name_corruptions_below_the_target(found: Robustness) -> None:
    (said,) = found.findings()
    assert said.startswith(
        "With light of 300 (steps) the ROC-AUC falls to 0.50 (95 % interval 0.50"
    )
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["curves"][0]["strengths"] == [5, 20, 300, 400, 400]
    assert document["threshold"] == 0.5
    assert found.plot().axes[0].get_title() == "light"


def test_every_corruption_is_measured_reproducibly(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
    heads = group_records(load_source(draw_heads(tmp_path, each=6) / "heads"))
    steps: list[tuple[int, int]] = []

    def measure(seed: int, **options: Any) -> Robustness:
        return robustness_curves(predictor, heads, limit=8, seed=seed, n_boot=20, **options)

    first = measure(3, progress=lambda done, total: steps.append((done, total)))
    assert (first.images, first.drawn_from) == (8, 12)
    assert len(first.curves) == 10
    assert steps == [(i, 51) for i in range(1, 52)]
    few = [measure(seed, corruptions=CORRUPTIONS[2:4]).to_dict() for seed in (3, 3, 4)]
    assert few[0] == few[1] != few[2]
    assert few[0]["curves"] == first.to_dict()["curves"][2:4]


def test_clean_metrics_match_the_predictor(predictor: Predictor, records: list[Record]) -> None:
    found = robustness_curves(predictor, records, n_boot=5, corruptions=[])
    prob = [predictor.predict(record.path).prob for record in records]
    assert (
        found.clean["roc_auc"].value == metric_values([r.label for r in records], prob)["roc_auc"]
    )
    assert found.curves == ()
