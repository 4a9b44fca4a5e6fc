"""Coverage of conformal sets by class and source, abstention, accuracy of decided scans."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.coverage import conformal_coverage
from tumorlens.metrics.decision import Conformal
from tumorlens.metrics.shares import share_estimate
from tumorlens.metrics.summary import Predictions

CONFIDENT = Conformal(0.05, tumor=0.4, healthy=0.3, n_tumor=50, n_healthy=50)
WIDE = Conformal(0.1, tumor=1.0, healthy=1.0, n_tumor=3, n_healthy=3)


def answers() -> Predictions:
    prob = [0.9, 0.5, 0.2, 0.1, 0.8, 0.65]
    sources = ("one", "one", "one", "two", "two", "two")
    return Predictions(
        keys=tuple("abcdef"),
        labels=np.array([1, 1, 1, 0, 0, 1]),
        prob=np.array(prob),
        threshold=np.full(6, 0.5),
        groups=np.arange(6),
        sources=sources,
        views=(None,) * 6,
    )


def test_coverage_and_abstention_match_the_predictions() -> None:
    # Sets: {tumor}, none, {healthy}, {healthy}, {tumor}, {tumor}; one answer is uncertain.
    narrow, wide = conformal_coverage(answers(), (CONFIDENT, WIDE))
    assert json.loads(json.dumps([narrow, wide])) == [narrow, wide]
    assert (narrow["alpha"], narrow["decides"]) == (0.05, True)
    assert (wide["alpha"], wide["decides"]) == (0.1, False)
    assert narrow["coverage"]["tumor"]["value"] == 0.5
    assert narrow["coverage"]["tumor"]["n"] == 4
    assert narrow["coverage"]["healthy"]["value"] == 0.5
    assert narrow["uncertain"]["value"] == pytest.approx(1 / 6)
    assert narrow["certain_accuracy"]["value"] == pytest.approx(3 / 5)
    assert narrow["certain_accuracy"]["n"] == 5
    one = narrow["by_source"]["one"]
    assert one["coverage"]["tumor"]["value"] == pytest.approx(1 / 3)
    assert one["coverage"]["healthy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert one["uncertain"]["value"] == pytest.approx(1 / 3)
    assert wide["coverage"]["healthy"]["value"] == 1.0
    assert wide["uncertain"]["value"] == 1.0
    assert wide["certain_accuracy"]["value"] is None


def test_without_quantiles_the_coverage_is_empty() -> None:
    assert conformal_coverage(answers(), None) == []


def test_share_intervals_depend_on_groups_and_have_width() -> None:
    hits = np.array([1] * 18 + [0] * 2)
    alone, together = (share_estimate(hits, ids) for ids in (np.arange(20), np.arange(20) // 2))
    assert alone.value == together.value == 0.9
    assert alone.low == pytest.approx(0.6902, abs=5e-3)  # Wilson's at n = 19
    assert together.high - together.low > alone.high - alone.low
    every = share_estimate(np.ones(20), np.arange(20) // 2)
    assert (every.value, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(10 / (10 + 1.959964**2))  # Wilson's for 10 of 10
    assert math.isnan(share_estimate([], []).value)
    with pytest.raises(DataError, match="differ"):
        share_estimate([1, 0], [1])
