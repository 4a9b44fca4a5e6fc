"""The model card as Markdown: Mitchell's sections, and every figure the card holds."""

from __future__ import annotations

import re

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.metrics.decision import Conformal
from tumorlens.modelfile import BrainDetector, DataSource, Metric, OodCheck, OodDetector
from tumorlens.modelfile.markdown import model_card_markdown

SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
METRIC = Metric(name="roc_auc", split="test", value=0.91234, low=0.87, high=0.95, n=321)
CLEAR = DataSource(source="cheng2017", n=3064, sha256="ab" * 32, licence="CC-BY-4.0", citation="C")
UNCLEAR = DataSource(source="br35h", n=60, sha256="cd" * 32, licence="unclear: a | b")


def test_the_sections_are_those_of_mitchell_et_al_in_their_order() -> None:
    text = model_card_markdown(tiny_card(tiny_onnx()))
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert text.count("Not measured.") == 2
    assert "Not stated." in text


def test_metrics_data_and_limitations_come_from_the_card() -> None:
    card = tiny_card(tiny_onnx(), metrics=(METRIC,), data=(CLEAR, UNCLEAR),
                     recipe={"seed": 3, "data": {"split": {"kind": "random-leaky"}}})  # fmt: skip
    text = model_card_markdown(card)
    assert "| test | ROC-AUC | 0.912 | 0.870 to 0.950 | 321 |" in text
    assert "| br35h | 60 | unclear: a \\| b | – | `cdcdcdcdcdcdcdcd` |" in text
    assert "of these sources cheng2017 states a licence clearly" in text
    assert "optimistically biased" in text
    assert "- knows brightness only" in text
    assert "with seed 3" in text


def test_subsets_of_a_part_are_not_counted_twice() -> None:
    axial = Metric(name="roc_auc", split="test/axial", value=0.8, low=0.7, high=0.9, n=21)
    text = model_card_markdown(tiny_card(tiny_onnx(), metrics=(METRIC, axial)))
    assert "| test/axial | ROC-AUC | 0.800 | 0.700 to 0.900 | 21 |" in text
    assert "Scans by part: test 321." in text


def test_sets_and_detector_are_stated_with_their_n_and_their_limits() -> None:
    sets = Conformal(0.05, 0.31, 0.62, 335, 235, 26, 13, 126.4, 59.0)
    check = OodCheck(images="scans", mri=True, refused=0.004, low=0.001, high=0.02, n=570)
    ood = OodDetector(method="by distance", n_mri=1600, n_negatives=1400, checks=(check,))
    card = tiny_card(tiny_onnx(ood=1.0), conformal=(sets,), ood=ood)
    text = model_card_markdown(card)
    assert "| 95% | tumor | 0.31 | 335 | 26 | 126 |" in text
    assert "| 95% | healthy | 0.62 | 235 | 13 | 59 |" in text
    assert "another hospital's scans" in text
    assert "Fitted on 1600 scans and 1400 images that are no brain MRI: by distance." in text
    assert "| scans | keep | 0.004 | 0.001 to 0.020 | 570 |" in text
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS


def test_the_brain_detector_is_stated_with_what_it_sets_aside() -> None:
    checks = (
        OodCheck(images="test slices with a tumour", mri=True, refused=0.001, low=0.0, high=0.01,
                 n=640),
        OodCheck(images="test slices with too little brain", mri=False, refused=0.91, low=0.85,
                 high=0.95, n=120),
    )  # fmt: skip
    brain = BrainDetector(method="a small classifier", n_enough=900, n_too_little=300,
                          checks=checks)  # fmt: skip
    text = model_card_markdown(tiny_card(tiny_onnx(brain=1.0), brain=brain))
    assert "Fitted on 900 slices with enough brain and 300 with too little" in text
    assert '"too little brain": a small classifier.' in text
    assert "| test slices with a tumour | keep | 0.001 | 0.000 to 0.010 | 640 |" in text
    assert (
        "| test slices with too little brain | set aside | 0.910 | 0.850 to 0.950 | 120 |" in text
    )
    assert "too little brain" not in model_card_markdown(tiny_card(tiny_onnx()))
