"""Limits of shortcut tests and their findings."""

from __future__ import annotations

import pytest

from tumorlens.evaluation.shortcuts.measurement import Measurement
from tumorlens.metrics.intervals import Estimate


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "fails"),
    [(0.9, 0.9, None, False), (0.89, 0.9, None, True), (0.6, None, 0.6, False),
     (0.61, None, 0.6, True), (0.25, 0.3, 0.7, True), (float("nan"), 0.9, None, False),
     (0.1, None, None, False)],
)  # fmt: skip
def test_a_limit_is_compared_with_the_value(
    value: float, at_least: float | None, at_most: float | None, fails: bool
) -> None:
    found = Measurement("t", "n", Estimate(value, 0.0, 1.0, 9), at_least, at_most, "So {}")
    assert found.fails is fails
