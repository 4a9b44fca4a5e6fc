"""Means and ROC-AUCs with grouped intervals, against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.binary import metric_values
from tumorlens.metrics.shares import auc_estimate, macro_auc_estimate, mean_estimate


def test_a_share_is_the_mean_of_booleans() -> None:
    found = mean_estimate([True, True, True, False], [1, 2, 3, 4])
    assert (found.value, found.n) == (0.75, 4)
    # Four draws of four: all three successes missed at most once in 256, so the interval is wide.
    assert (found.low, found.high) == (0.25, 1.0)


def test_groups_are_resampled_whole() -> None:
    # Two groups that disagree: every resample is 0, one half or 1.
    found = mean_estimate([1] * 50 + [0] * 50, [1] * 50 + [2] * 50, n_boot=400)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    alone = mean_estimate([1] * 50 + [0] * 50, np.arange(100), n_boot=400)
    assert alone.low > 0.38
    assert alone.high < 0.62


def test_the_mean_of_no_values_is_undefined() -> None:
    found = mean_estimate([], [])
    assert found.n == 0
    assert math.isnan(found.value)


@pytest.mark.parametrize(
    ("values", "groups"), [([1.0], [1, 2]), ([math.nan], [1]), ([[1.0]], [[1]])]
)
def test_mismatched_lengths_are_rejected(values: list[float], groups: list[int]) -> None:
    with pytest.raises(DataError, match="differ"):
        mean_estimate(values, groups)


def test_auc_of_two_classes_matches_the_binary_auc() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 80)
    scores = rng.normal(labels, 1.0) * 7 - 3
    found = auc_estimate(labels, scores, np.arange(80), n_boot=200)
    ranks = np.argsort(np.argsort(scores)) / 80
    assert found.value == pytest.approx(metric_values(labels, ranks)["roc_auc"])
    assert found.low < found.value < found.high


def test_auc_of_three_classes_is_the_macro_average() -> None:
    classes = np.array([0, 0, 1, 1, 2, 2])
    scores = np.array(
        [[3, 1, 0], [3, 0, 1], [0, 3, 0], [0, 0, 0], [1, 0, 3], [0, 0, 3]], dtype=float
    )
    # Class 0 and 2 are told perfectly; class 1: 3 beats all four, 0 beats none and ties three.
    found = macro_auc_estimate(classes, scores, np.arange(6), n_boot=300)
    assert found.value == pytest.approx((1 + (4 + 0.5 * 3) / 8 + 1) / 3)
    assert found.n == 6


def test_auc_of_one_class_is_undefined() -> None:
    assert math.isnan(auc_estimate([1, 1], [0.1, 0.2], [1, 2], n_boot=5).value)
    with pytest.raises(DataError, match="scores"):
        auc_estimate([1, 0], [0.1], [1, 2])
    with pytest.raises(DataError, match="ids differ in length"):
        macro_auc_estimate([0, 1], np.zeros((3, 2)), [1, 2])
