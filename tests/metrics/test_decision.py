"""Thresholds, conformal sets and the three-way decision."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import metric_values
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.decision import (
    Conformal,
    decide,
    effective_size,
    fit_conformal,
    prediction_set,
    threshold_for_sensitivity,
)

LABELS = [1, 1, 1, 1, 0, 0]
PROB = [0.9, 0.8, 0.6, 0.2, 0.7, 0.1]


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (0.25, (0.9 + 0.8) / 2),
        (0.5, (0.8 + 0.7) / 2),
        (0.51, (0.6 + 0.2) / 2),
        (0.75, (0.6 + 0.2) / 2),
        (0.9, (0.2 + 0.1) / 2),
        (1.0, (0.2 + 0.1) / 2),
    ],
)
def test_threshold_is_the_highest_that_reaches_the_target(target: float, value: float) -> None:
    threshold = threshold_for_sensitivity(LABELS, PROB, target, "validation")
    assert threshold.value == pytest.approx(value)
    assert (threshold.target, threshold.origin, threshold.n) == (target, "validation", 6)
    assert metric_values(LABELS, PROB, threshold.value)["sensitivity"] >= target


def test_threshold_reaches_its_target_on_random_scans_with_ties() -> None:
    rng = np.random.default_rng(0)
    for target in (0.5, 0.8, 0.9, 0.95, 1.0):
        labels = (rng.random(200) < 0.4).astype(int)
        prob = np.round(np.clip(rng.random(200) + 0.2 * labels, 0, 1), 2)
        value = threshold_for_sensitivity(labels, prob, target, "here").value
        assert metric_values(labels, prob, value)["sensitivity"] >= target
        higher = prob[prob > value].min() + 1e-9
        assert metric_values(labels, prob, higher)["sensitivity"] < target


@pytest.mark.parametrize(
    ("labels", "prob", "target"), [([0, 0], [0.1, 0.2], 0.9), ([1], [0.5], 0.0), ([1], [0.5], 1.1),
                                   ([1, 1], [0.5], 0.9), ([], [], 0.9)]
)  # fmt: skip
def test_threshold_needs_tumours_and_a_target(
    labels: list[int], prob: list[float], target: float
) -> None:
    with pytest.raises(DataError, match="threshold"):
        threshold_for_sensitivity(labels, prob, target, "here")


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),  # rank = ceil((n + 1)(1 - alpha)); None: more than n
    [(9, 0.1, 9), (19, 0.1, 18), (99, 0.05, 95), (4, 0.5, 3), (8, 0.1, None), (3, 0.2, None)],
)
def test_conformal_takes_the_finite_sample_rank(n: int, alpha: float, rank: int | None) -> None:
    scores = (np.arange(n) + 1) / (n + 1)
    quantile = 1.0 if rank is None else scores[rank - 1]
    rng = np.random.default_rng(n)
    labels = np.repeat([1, 0], n)
    prob = np.concatenate([1 - rng.permutation(scores), rng.permutation(scores)])
    fitted = fit_conformal(labels, prob, alpha)
    assert fitted.tumor == pytest.approx(quantile, abs=1e-12)
    assert fitted.healthy == pytest.approx(quantile, abs=1e-12)
    assert (fitted.alpha, fitted.n_tumor, fitted.n_healthy) == (alpha, n, n)


@pytest.mark.parametrize(
    ("labels", "prob", "alpha"), [([1, 1], [0.5, 0.6], 0.1), ([0, 1], [0.5, 0.6], 0.0),
                                  ([0, 1], [0.5, 0.6], 1.0), ([0, 1], [0.5], 0.1)]
)  # fmt: skip
def test_conformal_needs_both_classes(labels: list[int], prob: list[float], alpha: float) -> None:
    with pytest.raises(DataError, match="conformal"):
        fit_conformal(labels, prob, alpha)


def draw(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels = (np.arange(n) % 4 == 0).astype(np.int64)
    # Badly calibrated on purpose: coverage must hold all the same.
    logit = 3 * (rng.standard_normal(n) + 2.0 * labels - 0.3)
    return labels, 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_each_class_reaches_its_nominal_coverage(alpha: float) -> None:
    rng = np.random.default_rng(7)
    covered = {"tumor": [], "healthy": []}  # type: dict[str, list[float]]
    for _ in range(200):
        fitted = fit_conformal(*draw(rng, 800), alpha)
        labels, prob = draw(rng, 2000)
        covered["tumor"].append(float(np.mean(1 - prob[labels == 1] <= fitted.tumor)))
        covered["healthy"].append(float(np.mean(prob[labels == 0] <= fitted.healthy)))
    for label, shares in covered.items():
        assert np.mean(shares) == pytest.approx(1 - alpha, abs=0.01), label


def draw_grouped(rng: np.random.Generator, groups: int) -> tuple[NDArray[np.float64], ...]:
    """Groups of 1 to 12 scans of one class; half of a logit's variance is its group's."""
    sizes = rng.integers(1, 13, groups)
    ids = np.repeat(np.arange(groups), sizes)
    labels = ids % 2
    noise = (rng.standard_normal(groups)[ids] + rng.standard_normal(ids.size)) / np.sqrt(2)
    return labels, sigmoid(3 * (noise + 2.0 * labels - 1)), ids


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_grouped_calibration_reaches_nominal_coverage(alpha: float) -> None:
    rng, tests = np.random.default_rng(11), np.random.default_rng(12)
    labels, prob, _ = draw_grouped(tests, 4000)
    kept: dict[str, list[float]] = {"grouped": [], "plain": []}
    for _ in range(200):
        y, p, ids = draw_grouped(rng, 160)
        for name, known in (("grouped", ids), ("plain", None)):
            fitted = fit_conformal(y, p, alpha, known)
            kept[name].append(float(np.mean(1 - prob[labels == 1] <= fitted.tumor)))
            kept[name].append(float(np.mean(prob[labels == 0] <= fitted.healthy)))
    assert np.mean(kept["grouped"]) == pytest.approx(1 - alpha, abs=0.01)
    assert np.mean(kept["plain"]) < np.mean(kept["grouped"])


def test_groups_of_one_scan_change_nothing_but_the_counts() -> None:
    labels, prob = draw(np.random.default_rng(3), 200)
    plain, single = (fit_conformal(labels, prob, 0.1, ids) for ids in (None, np.arange(200)))
    assert (single.tumor, single.healthy) == (plain.tumor, plain.healthy)
    assert (single.groups_tumor, single.groups_healthy) == (50, 150)
    assert (single.effective_tumor, single.effective_healthy) == (50, 150)
    assert plain.groups_tumor is None


@pytest.mark.parametrize(
    ("hits", "groups", "size"),
    [
        ([1, 0, 1, 0], [0, 1, 2, 3], 3.0),  # p(1-p) / (1/16 * 4/3)
        ([1, 1, 0, 0], [0, 0, 1, 1], 1.0),  # two groups, each of one mind
        ([1, 1, 1, 1], [0, 0, 1, 1], 2.0),  # nothing to tell by: the number of groups
        ([1, 0, 1, 0], [0, 0, 1, 1], 2.0),
    ],
)
def test_effective_size(hits: list[int], groups: list[int], size: float) -> None:
    assert effective_size(hits, groups) == pytest.approx(size)


CONFIDENT = Conformal(0.1, tumor=0.4, healthy=0.3, n_tumor=50, n_healthy=50)  # a gap between
DOUBTFUL = Conformal(0.1, tumor=0.7, healthy=0.6, n_tumor=50, n_healthy=50)  # an overlap


@pytest.mark.parametrize(
    ("prob", "threshold", "conformal", "kept", "decision"),
    [
        (0.9, 0.5, CONFIDENT, ("tumor",), "tumor"),
        (0.6, 0.5, CONFIDENT, ("tumor",), "tumor"),  # the quantile itself is in
        (0.5, 0.5, CONFIDENT, (), "uncertain"),
        (0.3, 0.5, CONFIDENT, ("healthy",), "healthy"),
        (0.45, 0.5, DOUBTFUL, ("tumor", "healthy"), "uncertain"),
        (0.2, 0.5, DOUBTFUL, ("healthy",), "healthy"),
        (0.65, 0.7, CONFIDENT, ("tumor",), "uncertain"),  # below its threshold
        (0.25, 0.2, CONFIDENT, ("healthy",), "uncertain"),
    ],
)
def test_set_and_decision(
    prob: float, threshold: float, conformal: Conformal, kept: tuple[str, ...], decision: str
) -> None:
    assert prediction_set(prob, conformal) == kept
    assert decide(prob, threshold, conformal) == decision


@pytest.mark.parametrize(("prob", "decision"), [(0.5, "tumor"), (0.49, "healthy")])
def test_without_quantiles_the_label_decides(prob: float, decision: str) -> None:
    assert decide(prob, 0.5, None) == decision
