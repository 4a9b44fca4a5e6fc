"""Platt scaling and the prior by EM: known values are recovered, few scans move little."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.decision import threshold_for_sensitivity
from tumorlens.metrics.intervals import bootstrap
from tumorlens.metrics.site import (
    FOLDS,
    cross_validate,
    fit_platt,
    fit_prior,
    group_folds,
    log_odds,
    threshold_values,
)
from tumorlens.metrics.summary import ece_difference, ece_estimate

Floats = NDArray[np.float64]


def draw(
    n: int, slope: float = 1.0, shift: float = 0.0, seed: int = 0
) -> tuple[Floats, NDArray[np.int64]]:
    """Return shipped log-odds and labels whose true log-odds are ``slope * x + shift``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2.5, n)
    return x, (rng.random(n) < sigmoid(slope * x + shift)).astype(np.int64)


def fit(x: Floats, y: NDArray[np.int64], groups: NDArray[np.int64] | None = None) -> Floats:
    ids = np.arange(x.size) if groups is None else groups
    return fit_platt(x, y, ids, np.ones((1, x.size)))[:, 0]


@pytest.mark.parametrize(("slope", "shift"), [(1, 0), (0.4, 0), (2, -1.5), (0.6, 2), (1, -3)])
def test_a_known_slope_and_shift_are_recovered(slope: float, shift: float) -> None:
    found = fit(*draw(40_000, slope, shift))
    assert found == pytest.approx([slope, shift], abs=0.06)


def test_their_intervals_hold_the_truth() -> None:
    x, y = draw(400, 0.5, -1)
    found = bootstrap(
        lambda weights: dict(
            zip(("slope", "shift"), fit_platt(x, y, np.arange(400), weights), strict=True)
        ),
        np.arange(400),
        n_boot=400,
        seed=0,
    )
    assert found["slope"].low < 0.5 < found["slope"].high
    assert found["shift"].low < -1 < found["shift"].high
    assert found["slope"].high - found["slope"].low < 0.4


def test_it_is_the_minimum_of_loss_and_priors() -> None:
    x, y = draw(60, 0.5, 1)

    def objective(slope: float, shift: float) -> float:
        z = slope * x + shift
        loss = float((np.logaddexp(0, z) - y * z).sum())
        return loss + ((slope - 1) / 0.5) ** 2 / 2 + (shift / 2) ** 2 / 2

    best = fit(x, y)
    for step in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert objective(*(best + step)) > objective(*best)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_a_few_separable_scans_cannot_blow_it_up(scale: float) -> None:
    x = np.array([-2.0, -1.0, 1.0, 2.0]) * scale
    slope, shift = fit(x, np.array([0, 0, 1, 1]))
    assert 0.9 < slope < 2
    assert shift == pytest.approx(0, abs=1e-6)


def test_copies_in_one_group_count_once() -> None:
    x, y = draw(50, 0.5, 1)
    copied = fit(np.repeat(x, 20), np.repeat(y, 20), np.repeat(np.arange(50), 20))
    np.testing.assert_allclose(copied, fit(x, y), atol=1e-7)
    alone = fit(np.repeat(x, 20), np.repeat(y, 20))
    assert np.abs(alone - copied).max() > 0.05


def test_weights_are_repetitions() -> None:
    x, y = draw(40, 0.7, -1)
    groups = np.arange(40) // 2
    weights = np.where(groups % 2 == 0, 2.0, 0.0)
    rows = np.repeat(np.arange(40), weights.astype(int))
    by_weight = fit_platt(x, y, groups, weights[None])[:, 0]
    repeated = fit_platt(x[rows], y[rows], np.arange(40) // 2, np.ones((1, 40)))[:, 0]
    np.testing.assert_allclose(by_weight, repeated, atol=1e-8)


def test_answers_against_the_labels_and_single_classes_are_not_fitted() -> None:
    x, y = draw(400)
    assert np.isnan(fit(x, 1 - y)).all()
    assert np.isnan(fit(x, np.ones_like(y))).all()
    assert np.isnan(fit(x, np.zeros_like(y))).all()


def mixture(share: float, n: int, seed: int, shipped: float = 0.6) -> Floats:
    """Return P(tumour), calibrated for ``shipped``, of scans of which ``share`` are tumours."""
    rng = np.random.default_rng(seed)
    tumour = rng.random(n) < share
    ratio = rng.normal(np.where(tumour, 2.0, -2.0), 2.0)  # log likelihood ratio: mean ±v/2
    return sigmoid(ratio + log_odds(shipped))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6, 0.9])
def test_the_interval_of_the_prior_holds_the_known_one(share: float) -> None:
    prob, groups = mixture(share, 1500, seed=3), np.arange(1500)
    found = bootstrap(
        lambda weights: {"prior": fit_prior(prob, 0.6, groups, weights)},
        groups,
        n_boot=400,
        seed=0,
    )["prior"]
    assert found.low < share < found.high
    assert found.high - found.low < 0.08


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_prior_is_where_em_ends(share: float) -> None:
    prob, shipped = mixture(share, 200, seed=1), 0.6
    prior = shipped
    for _ in range(3000):  # Saerens et al., equations 2.8 and 2.9, with one scan added
        tumour = prior / shipped * prob
        healthy = (1 - prior) / (1 - shipped) * (1 - prob)
        prior = ((tumour / (tumour + healthy)).sum() + shipped) / 201
    found = fit_prior(prob, shipped, np.arange(200), np.ones((1, 200)))[0]
    assert found == pytest.approx(prior, abs=1e-9)


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_the_prior_stays_inside_0_to_1(answer: float) -> None:
    found = fit_prior(np.full(50, answer), 0.6, np.arange(50), np.ones((1, 50)))[0]
    assert 0 < found < 1
    assert abs(found - answer) < 0.05


@pytest.mark.parametrize("target", [0.5, 0.9, 0.95, 1.0])
def test_the_threshold_is_that_of_threshold_for_sensitivity(target: float) -> None:
    x, y = draw(101, seed=5)
    x = np.round(x, 1)  # with ties
    once = np.ones((1, x.size))
    fitted = np.array([[0.7], [-0.4]])
    wanted = threshold_for_sensitivity(y, sigmoid(0.7 * x - 0.4), target, "tests").value
    assert threshold_values(x, y, target, fitted, once)[0] == pytest.approx(wanted, abs=1e-12)
    without = threshold_values(x, np.zeros_like(y), target, fitted, once)
    assert np.isnan(without).all()


def test_folds_keep_groups_whole_and_spread_both_classes() -> None:
    groups = np.repeat(np.arange(50), 3)
    labels = (groups < 15).astype(int)
    fold = group_folds(labels, groups, seed=0)
    assert all(len(set(fold[groups == group])) == 1 for group in range(50))
    for number in range(FOLDS):
        assert len(set(groups[(fold == number) & (labels == 1)])) == 3
        assert len(set(groups[(fold == number) & (labels == 0)])) == 7


def test_no_scan_is_measured_at_values_its_fold_was_fitted_on() -> None:
    x, y = draw(200, 0.5, 1)
    groups = np.arange(200) // 2
    fold = group_folds(y, groups, 0)
    changed = x.copy()
    changed[fold == 2] += 3.0
    before, after = (cross_validate(z, y, groups, 0.9)[0] for z in (x, changed))
    slope = (after - before)[fold == 2] / 3.0
    assert np.ptp(slope) < 1e-9  # one line, not fitted on these scans
    assert np.abs(after - before)[fold != 2].max() > 1e-3


def test_folds_of_one_class_are_refused() -> None:
    x = np.linspace(-1, 1, 10)
    with pytest.raises(DataError, match="cannot be cross-validated"):
        cross_validate(x, np.eye(10, dtype=np.int64)[9], np.arange(10), 0.9)


def test_the_difference_of_the_ece_is_that_of_its_values() -> None:
    x, y = draw(500, 0.4)
    p, q = sigmoid(x), sigmoid(0.4 * x)
    found = ece_difference(y, p, q, groups=np.arange(500), n_boot=200)
    values = [ece_estimate(y, prob, "width", n_boot=10).value for prob in (p, q)]
    assert found.value == pytest.approx(values[1] - values[0])
    assert found.low <= found.value <= found.high < 0
