"""The operating point for the worst source."""

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.decision import threshold_for_sensitivity
from tumorlens.metrics.worst_case import pooled_strata, threshold_for_worst_stratum


def two_sources() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A large source with high scores and a small one whose tumours score 0.3 to 0.5."""
    large = np.concatenate([np.linspace(0.8, 0.99, 400), np.linspace(0.01, 0.2, 400)])
    small = np.concatenate([np.linspace(0.3, 0.5, 40), np.linspace(0.01, 0.1, 40)])
    labels = np.array([1] * 400 + [0] * 400 + [1] * 40 + [0] * 40)
    return labels, np.concatenate([large, small]), ["large"] * 800 + ["small"] * 80


def test_a_small_source_keeps_its_tumours() -> None:
    labels, prob, strata = two_sources()
    pooled = threshold_for_sensitivity(labels, prob, 0.9, "")
    assert (prob[(labels == 1) & (np.array(strata) == "small")] >= pooled.value).mean() < 0.1
    worst = threshold_for_worst_stratum(labels, prob, strata, 0.92, 0.96, "origin")
    assert 0.2 < worst.value < 0.3
    assert (worst.origin, worst.n, worst.target) == ("origin", 880, 0.92)


def test_targets_decide_where_strata_overlap() -> None:
    labels = np.array([1] * 100 + [0] * 100)
    prob = np.concatenate([np.linspace(0.3, 1.0, 100), np.linspace(0.0, 0.7, 100)])
    sensitive = threshold_for_worst_stratum(labels, prob, ["s"] * 200, 0.95, 0.5, "").value
    specific = threshold_for_worst_stratum(labels, prob, ["s"] * 200, 0.5, 0.95, "").value
    assert sensitive < 0.4
    assert specific > 0.6
    # Both shares are then as far from their targets.
    found = (prob[:100] >= sensitive).mean() - 0.95, (prob[100:] < sensitive).mean() - 0.5
    assert found[0] == pytest.approx(found[1], abs=0.02)


def test_small_strata_are_pooled() -> None:
    names = pooled_strata(["a"] * 30 + ["b"] * 5 + ["c"] * 19)
    assert sorted(set(names.tolist())) == ["a", "others"]
    assert (names == "others").sum() == 24


@pytest.mark.parametrize(("labels", "strata"), [([1, 1], ["a", "a"]), ([0, 1], ["a"]), ([], [])])
def test_one_class_or_other_lengths_are_refused(labels: list[int], strata: list[str]) -> None:
    with pytest.raises(DataError, match="needs tumours and other scans"):
        threshold_for_worst_stratum(labels, [0.5] * len(labels), strata, 0.9, 0.9, "")
