"""Paired differences: sign, alignment of scans, narrower than unpaired intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics import binary as metrics
from tumorlens.metrics.paired import paired_difference
from tumorlens.metrics.summary import Predictions, summarize


def table(labels: list[int], prob: list[float], groups: list[int] | None = None) -> Predictions:
    n = len(labels)
    return Predictions(
        keys=tuple(f"s:{at}" for at in range(n)),
        labels=np.array(labels),
        prob=np.array(prob),
        threshold=np.full(n, 0.5),
        groups=np.arange(n) if groups is None else np.array(groups),
        sources=("s",) * n,
        views=(None,) * n,
    )


def noisy(seed: int, n: int = 200) -> tuple[Predictions, Predictions]:
    """Two models that find the same scans hard; the second is a little worse."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    hard = rng.normal(0, 1.5, n)
    first = labels * 2 - 1 + hard
    prob = [1 / (1 + np.exp(-logit)) for logit in (first, first - rng.normal(0.2, 0.2, n))]
    return table(labels.tolist(), prob[0].tolist()), table(labels.tolist(), prob[1].tolist())


def test_the_value_is_the_difference_of_the_two_metrics() -> None:
    first = table([1, 1, 0, 0], [0.9, 0.8, 0.4, 0.2])
    second = table([1, 1, 0, 0], [0.9, 0.3, 0.4, 0.2])
    found = paired_difference(first, second, n_boot=50)
    assert found["accuracy"].value == pytest.approx(0.25)
    assert found["sensitivity"].value == pytest.approx(0.5)
    assert found["roc_auc"].value == pytest.approx(1 - 0.75)
    assert found["accuracy"].n == 4


def test_reordered_predictions_have_no_difference() -> None:
    first, _ = noisy(1)
    turned = first.take(np.arange(len(first))[::-1])
    for estimate in paired_difference(first, turned, n_boot=100).values():
        assert estimate.value == pytest.approx(0, abs=1e-12)
        assert (estimate.low, estimate.high) == pytest.approx((0, 0), abs=1e-12)


def test_pairing_narrows_the_interval_and_keeps_each_table_s_own_thresholds() -> None:
    first, second = noisy(2)
    found = paired_difference(first, second)["roc_auc"]
    alone = summarize(first)["roc_auc"]
    assert found.low <= found.value <= found.high
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    moved = replace(second, threshold=np.full(len(second), 0.9))
    expected = (
        metrics.metric_values(first.labels, first.prob)["accuracy"]
        - metrics.metric_values(second.labels, second.prob, 0.9)["accuracy"]
    )
    assert paired_difference(first, moved, n_boot=20)["accuracy"].value == pytest.approx(expected)


def test_groups_are_resampled_whole() -> None:
    # All wrong answers in one group: a resample holds them 0, 1, 2 … times, which is wide.
    labels, right = [0, 1] * 20, [0.1, 0.9] * 20
    wrong = [0.9 if at < 10 and label == 0 else p
             for at, (label, p) in enumerate(zip(labels, right, strict=True))]  # fmt: skip
    bound = [0 if a != b else at for at, (a, b) in enumerate(zip(right, wrong, strict=True))]
    narrow = paired_difference(table(labels, right), table(labels, wrong))["accuracy"]
    wide = paired_difference(table(labels, right, bound), table(labels, wrong, bound))["accuracy"]
    assert wide.value == narrow.value == pytest.approx(5 / 40)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (table([1, 0, 1], [0.9, 0.1, 0.8]), "only in one"),
        (table([1, 1], [0.9, 0.1]), "different labels or groups"),
        (table([1, 0], [0.9, 0.1], [5, 5]), "different labels or groups"),
    ],
)
def test_tables_of_different_scans_are_rejected(second: Predictions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired_difference(table([1, 0], [0.9, 0.1]), second)


def test_a_repeated_scan_is_rejected() -> None:
    first = table([1, 0], [0.9, 0.1])
    with pytest.raises(DataError, match="each scan once"):
        paired_difference(replace(first, keys=("s:0", "s:0")), first)
