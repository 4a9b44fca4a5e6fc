"""Every metric against scikit-learn and hand-computed values; intervals against a known truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.binary import evaluate
from tumorlens.metrics.intervals import Estimate

sklearn_metrics = pytest.importorskip("sklearn.metrics")

# tp 3, fn 1, fp 1, tn 2 at the threshold 0.5, which itself is positive
LABELS = [1, 1, 1, 1, 0, 0, 0]
PROB = [0.9, 0.8, 0.5, 0.2, 0.7, 0.4, 0.1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 5 / 7),
        ("balanced_accuracy", (3 / 4 + 2 / 3) / 2),
        ("sensitivity", 3 / 4),
        ("specificity", 2 / 3),
        ("precision", 3 / 4),
        ("f1", 3 / 4),
        ("mcc", (3 * 2 - 1 * 1) / math.sqrt(4 * 4 * 3 * 3)),
        ("roc_auc", 9 / 12),  # of twelve pairs: 0.9 and 0.8 win 3, 0.5 wins 2, 0.2 wins 1
        ("pr_auc", (1 + 1 + 3 / 4 + 4 / 6) / 4),
        ("brier", (0.01 + 0.04 + 0.25 + 0.64 + 0.49 + 0.16 + 0.01) / 7),
        ("nll", -math.log(0.9 * 0.8 * 0.5 * 0.2 * 0.3 * 0.6 * 0.9) / 7),
    ],
)
def test_metrics_match_hand_computed_values(name: str, value: float) -> None:
    assert metrics.metric_values(LABELS, PROB)[name] == pytest.approx(value, abs=1e-12)
    assert evaluate(LABELS, PROB, n_boot=2)[name].value == pytest.approx(value, abs=1e-12)


def scikit(name: str) -> Callable[[NDArray[np.int64], NDArray[np.float64]], float]:
    """Return scikit-learn's function of labels and probabilities for our metric."""
    called: dict[str, Any] = {
        "accuracy": sklearn_metrics.accuracy_score,
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score,
        "sensitivity": sklearn_metrics.recall_score,
        "specificity": lambda y, c: sklearn_metrics.recall_score(1 - y, 1 - c),
        "precision": sklearn_metrics.precision_score,
        "f1": sklearn_metrics.f1_score,
        "mcc": sklearn_metrics.matthews_corrcoef,
    }
    scored: dict[str, Any] = {
        "roc_auc": sklearn_metrics.roc_auc_score,
        "pr_auc": sklearn_metrics.average_precision_score,
        "brier": sklearn_metrics.brier_score_loss,
        "nll": sklearn_metrics.log_loss,
    }
    if name in called:
        return lambda y, p: float(called[name](y, (p >= 0.5).astype(int)))
    return lambda y, p: float(scored[name](y, p))


NAMES = ["accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "mcc",
         "roc_auc", "pr_auc", "brier", "nll"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [None, 12, 3], ids=["no ties", "ties", "many ties"])
def test_agrees_with_scikit_learn(name: str, levels: int | None) -> None:
    rng = np.random.default_rng(NAMES.index(name))
    for n in (9, 60, 700):
        labels = rng.permutation(np.arange(n) % 3 == 0).astype(np.int64)
        prob = np.clip(rng.random(n) * 0.8 + 0.2 * labels, 0, 1)
        if levels:
            prob = np.round(prob * levels) / levels
        expected = scikit(name)(labels, prob)
        assert metrics.metric_values(labels, prob)[name] == pytest.approx(expected, abs=1e-9)


def test_log_loss_clips_like_scikit_learn() -> None:
    expected = sklearn_metrics.log_loss([1, 0], [0.0, 0.5])
    assert metrics.metric_values([1, 0], [0.0, 0.5])["nll"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("labels", "prob", "undefined"),
    [
        ([1, 1], [0.9, 0.2], {"balanced_accuracy", "specificity", "roc_auc", "mcc"}),
        ([0, 0], [0.9, 0.2], {"balanced_accuracy", "sensitivity", "roc_auc", "pr_auc", "mcc"}),
        ([0, 1], [0.1, 0.2], {"precision", "mcc"}),
        ([0], [0.1], {"balanced_accuracy", "sensitivity", "precision", "f1", "mcc", "roc_auc",
                      "pr_auc"}),
    ],
)  # fmt: skip
def test_undefined_metrics_are_nan(
    labels: list[int], prob: list[float], undefined: set[str]
) -> None:
    assert {
        name for name in NAMES if math.isnan(metrics.metric_values(labels, prob)[name])
    } == undefined
    estimates = evaluate(labels, prob, n_boot=20)
    assert {name for name, estimate in estimates.items() if math.isnan(estimate.value)} == undefined
    for name in undefined:
        assert math.isnan(estimates[name].low)


@pytest.mark.parametrize(
    ("labels", "prob"),
    [([], []), ([0, 1], [0.5]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan]),
     ([[0, 1]], [[0.1, 0.2]])],
)  # fmt: skip
def test_invalid_labels_and_probabilities_are_rejected(labels: list[Any], prob: list[Any]) -> None:
    with pytest.raises(DataError):
        metrics.metric_values(labels, prob)["accuracy"]
    with pytest.raises(DataError):
        evaluate(labels, prob)


def scans(rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    labels = (rng.random(n) < 0.4).astype(np.int64)
    logit = rng.standard_normal(n) + 1.4 * labels
    return labels, 1 / (1 + np.exp(-logit))


def test_intervals_depend_on_the_seed_alone() -> None:
    labels, prob = scans(np.random.default_rng(0), 80)
    first = evaluate(labels, prob, n_boot=200, seed=5)
    assert evaluate(labels, prob, n_boot=200, seed=5) == first
    assert evaluate(labels, prob, n_boot=200, seed=6)["roc_auc"].low != first["roc_auc"].low
    for estimate in first.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == 80


def test_intervals_cover_the_truth_in_about_95_of_100_studies() -> None:
    # Two normal populations 1.4 apart: AUROC = Phi(1.4 / sqrt 2).
    auroc = 0.5 * (1 + math.erf(1.4 / 2))
    sensitivity = 0.5 * (1 + math.erf(1.4 / math.sqrt(2)))  # threshold at logit 0
    held = np.zeros(2)
    trials = 300
    for trial in range(trials):
        labels, prob = scans(np.random.default_rng(trial), 250)
        found = evaluate(labels, prob, n_boot=300, seed=trial)
        for k, (name, truth) in enumerate((("roc_auc", auroc), ("sensitivity", sensitivity))):
            held[k] += found[name].low <= truth <= found[name].high
    # Three standard errors of a proportion of 0.95 in 300 trials are 0.038.
    assert (np.abs(held / trials - 0.95) < 0.045).all(), held / trials


def test_groups_widen_the_interval_and_are_resampled_whole() -> None:
    labels, prob = scans(np.random.default_rng(1), 100)
    copies = 6
    groups = np.repeat(np.arange(100), copies)
    many = np.repeat(labels, copies), np.repeat(prob, copies)
    alone = evaluate(labels, prob, n_boot=500)["roc_auc"]
    grouped = evaluate(*many, groups=groups, n_boot=500)["roc_auc"]
    naive = evaluate(*many, n_boot=500)["roc_auc"]
    # Copies of the same scans say no more than the scans do.
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)
    with pytest.raises(DataError, match="group"):
        evaluate(*many, groups=groups[1:])


def test_a_resample_without_tumours_is_left_out() -> None:
    estimate = evaluate([1, 0, 0, 0], [0.9, 0.1, 0.2, 0.3], n_boot=300)["sensitivity"]
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_estimate_as_text_and_dict() -> None:
    estimate = Estimate(0.91, 0.85, 0.96, 120)
    assert str(estimate) == "0.910 [0.850, 0.960] (n = 120)"
    assert estimate.to_dict() == {"value": 0.91, "low": 0.85, "high": 0.96, "n": 120}
