"""The OOD detector of a model file: a third output that may refuse, beside the rules."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.errors import ModelDamagedError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.batch import run_batch
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import write_model


def test_the_detector_and_the_rules_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "detecting.onnx"
    brightness = tiny_card(tiny_onnx()).self_test.logit
    onnx_bytes = tiny_onnx(ood=brightness + 0.003)  # keeps what is hardly brighter than the head
    write_model(onnx_bytes, tiny_card(onnx_bytes), path)
    detecting = Predictor.open(path, threads=1)
    kept = detecting.predict(draw_phantom(7, lesion=True).image)
    assert (kept.in_domain, kept.in_domain_reason) == (True, None)
    bright = cv2.circle(np.zeros((128, 128), np.uint8), (64, 64), 62, 200, -1)
    bright[::2] = (bright[::2] * 0.9).astype(np.uint8)
    assert cv2.imwrite(str(tmp_path / "bright.png"), bright)
    (listed,) = run_batch(detecting, [tmp_path / "bright.png"])
    assert listed.prediction is not None
    answers = [listed.prediction, detecting.predict(bright),
               *detecting.predict_many([bright]), detecting.explain(bright).prediction]  # fmt: skip
    for answer in answers:
        assert not answer.in_domain
        assert answer.decision == "uncertain"
        assert "not recognised as a slice of a head's MRI" in str(answer.in_domain_reason)
    blank = detecting.predict(np.zeros((64, 64), np.uint8))
    assert "blank" in str(blank.in_domain_reason)  # the rules speak first


def test_a_card_that_disagrees_about_the_detector_is_refused(tmp_path: Path) -> None:
    path, onnx_bytes = tmp_path / "odd.onnx", tiny_onnx(ood=1.0)
    write_model(onnx_bytes, tiny_card(onnx_bytes, ood=None), path)
    with pytest.raises(ModelDamagedError, match="disagree on an OOD detector"):
        Predictor.open(path)
