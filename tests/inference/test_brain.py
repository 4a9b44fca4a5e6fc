"""The brain detector of a model file: an output that sets slices aside, after rules and OOD."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.models_for_tests import tiny_card, tiny_onnx
from tumorlens.errors import ModelDamagedError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.batch import run_batch
from tumorlens.inference.domain import TOO_LITTLE_BRAIN
from tumorlens.inference.predictor import Predictor
from tumorlens.modelfile import write_model

HEAD = draw_phantom(7, lesion=True).image


def opened(path: Path, **detectors: float) -> Predictor:
    onnx_bytes = tiny_onnx(**detectors)  # type: ignore[arg-type]
    write_model(onnx_bytes, tiny_card(onnx_bytes), path)
    return Predictor.open(path, threads=1)


def test_a_slice_with_too_little_brain_has_no_answer(tmp_path: Path) -> None:
    brightness = tiny_card(tiny_onnx()).self_test.logit
    keeping = opened(tmp_path / "keeping.onnx", brain=brightness - 0.01)
    kept = keeping.predict(HEAD)
    assert (kept.in_domain, kept.in_domain_reason) == (True, None)
    model = opened(tmp_path / "setting_aside.onnx", brain=brightness + 0.01)
    assert cv2.imwrite(str(tmp_path / "head.png"), HEAD)
    (listed,) = run_batch(model, [tmp_path / "head.png"])
    assert listed.prediction is not None
    answers = [listed.prediction, model.predict(HEAD), *model.predict_many([HEAD]),
               model.explain(HEAD).prediction]  # fmt: skip
    for answer in answers:
        assert (answer.in_domain, answer.in_domain_reason) == (False, "too little brain")
        assert answer.decision == "uncertain"
        # Probability and label are stated as ever: the detector decides about the domain alone.
        assert (answer.prob, answer.label) == (kept.prob, kept.label)


def test_the_rules_and_the_ood_detector_speak_first(tmp_path: Path) -> None:
    brightness = tiny_card(tiny_onnx()).self_test.logit
    both = opened(tmp_path / "both.onnx", ood=brightness - 0.01, brain=brightness + 0.01)
    assert "not recognised as a slice" in str(both.predict(HEAD).in_domain_reason)
    assert "blank" in str(both.predict(np.zeros((64, 64), np.uint8)).in_domain_reason)
    brain_alone = opened(tmp_path / "one.onnx", ood=brightness + 1, brain=brightness + 0.01)
    assert brain_alone.predict(HEAD).in_domain_reason == TOO_LITTLE_BRAIN


def test_a_card_that_disagrees_about_the_detector_is_refused(tmp_path: Path) -> None:
    path, onnx_bytes = tmp_path / "odd.onnx", tiny_onnx(brain=1.0)
    write_model(onnx_bytes, tiny_card(onnx_bytes, brain=None), path)
    with pytest.raises(ModelDamagedError, match="disagree on a brain detector"):
        Predictor.open(path)
