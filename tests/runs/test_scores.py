"""Calibration on held-out scores: what is fitted, on which part, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.decision import ALPHAS, fit_conformal
from tumorlens.runs.scores import Scores, calibrate


def drawn_scores(n: int) -> Scores:
    rng = np.random.default_rng(0)
    logits = 2 * rng.standard_normal(n)
    labels = (rng.random(n) < sigmoid(logits)).astype(np.int64)
    return Scores(3 * logits, labels, np.arange(n) // 3, ("drawn",) * n)


def test_sets_come_from_the_calibration_part_and_know_its_groups() -> None:
    scores = drawn_scores(600)
    found = calibrate(scores, 0.95, "calibration")
    assert found.temperature == pytest.approx(3, rel=0.15)
    prob = sigmoid(scores.logits / found.temperature)
    wanted = tuple(fit_conformal(scores.labels, prob, a, scores.groups) for a in ALPHAS)
    assert found.conformal == wanted
    assert [entry.alpha for entry in wanted] == [0.05, 0.1]
    assert wanted[0].groups_tumor is not None


@pytest.mark.parametrize(("n", "part"), [(600, "validation"), (30, "calibration")])
def test_scans_that_chose_the_epoch_or_are_too_few_give_no_sets(n: int, part: str) -> None:
    assert calibrate(drawn_scores(n), 0.95, part).conformal is None
