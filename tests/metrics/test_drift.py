"""PSI and Kolmogorov-Smirnov against hand-computed values and their distribution by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.drift import (
    bin_of,
    count_bins,
    equal_frequency_edges,
    ks_by_chance,
    ks_distance,
    psi,
    psi_by_chance,
)


@pytest.mark.parametrize(
    ("reference", "window", "expected"),
    [
        ([50, 50], [5, 5], 0.0),
        # (0.75 - 0.5) ln 1.5 + (0.25 - 0.5) ln 0.5
        ([50, 50], [75, 25], 0.25 * math.log(3)),
        ([1, 1, 2], [2, 1, 1], 0.25 * math.log(2) + 0.25 * math.log(2)),
    ],
)
def test_psi_of_small_histograms(reference: list[int], window: list[int], expected: float) -> None:
    assert psi(reference, window) == pytest.approx(expected)


def test_an_empty_bin_counts_as_half_a_scan() -> None:
    # Shares 0.5/10.5 and 10/10.5 against one half each.
    low, high = 0.5 / 10.5, 10 / 10.5
    expected = (low - 0.5) * math.log(low / 0.5) + (high - 0.5) * math.log(high / 0.5)
    assert psi([10, 10], [0, 10]) == pytest.approx(expected)


def test_psi_joins_bins_to_ten_groups_of_the_reference() -> None:
    reference, window = np.full(100, 7), np.zeros(100, dtype=int)
    window[::10] = 10  # one in ten bins is full, but every tenth holds its share
    assert psi(reference, window) == 0
    assert ks_distance(reference, window) == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("reference", "window", "expected"),
    [([1, 1], [3, 3], 0.0), ([4, 0, 0], [0, 0, 9], 1.0), ([2, 2, 4], [1, 2, 1], 0.25)],
)
def test_distance_of_small_histograms(
    reference: list[int], window: list[int], expected: float
) -> None:
    assert ks_distance(reference, window) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [psi, ks_distance, psi_by_chance, ks_by_chance])
def test_an_empty_window_has_no_drift_and_unequal_bins_are_refused(measure: object) -> None:
    assert callable(measure)
    assert math.isnan(measure([3, 4], [0, 0]))
    with pytest.raises(DataError, match="bins"):
        measure([3, 4], [1, 2, 3])


def test_edges_part_values_evenly() -> None:
    values = np.arange(1000.0)
    edges = equal_frequency_edges(values)
    assert len(edges) == 99
    assert set(count_bins(values, edges)) == {10}
    assert len(equal_frequency_edges(values[:120])) == 19
    assert bin_of([-5.0, edges[0], edges[0] + 0.01, 5000.0], edges).tolist() == [0, 0, 1, 99]


def test_edges_of_repeated_values() -> None:
    assert equal_frequency_edges(np.full(60, 3.0)).tolist() == []
    edges = equal_frequency_edges(np.r_[np.zeros(900), np.ones(100)])
    assert count_bins(np.r_[np.zeros(900), np.ones(100)], edges).tolist() == [900, 100]
    with pytest.raises(DataError, match="50 finite values"):
        equal_frequency_edges(np.arange(49))
    with pytest.raises(DataError, match="finite"):
        equal_frequency_edges(np.r_[np.arange(60), np.nan])


@pytest.mark.parametrize(("n", "m"), [(2000, 1000), (500, 200)])
def test_chance_exceeds_the_values_once_in_a_thousand_times(n: int, m: int) -> None:
    """Both samples are drawn anew from one distribution, 4,000 times."""
    rng = np.random.default_rng(0)
    shares = np.full(100, 0.01)
    exceeded = np.zeros(2)
    for _ in range(4000):
        reference, window = rng.multinomial(n, shares), rng.multinomial(m, shares)
        exceeded += [
            psi(reference, window) > psi_by_chance(reference, window),
            ks_distance(reference, window) > ks_by_chance(reference, window),
        ]
    # 4 are expected; 0 to 11 with a probability of 0.9991.
    assert (exceeded <= 11).all(), exceeded


def test_chance_follows_the_sizes() -> None:
    reference = np.full(10, 200)
    small, large = (psi_by_chance(reference, np.full(10, n)) for n in (5, 500))
    # Chi-squared with 9 degrees of freedom: 27.877 at 0.999.
    assert small == pytest.approx((1 / 2000 + 1 / 50) * 27.877, rel=0.01)
    assert large == pytest.approx((1 / 2000 + 1 / 5000) * 27.877, rel=0.01)
    assert psi_by_chance(reference, reference, 100) > psi_by_chance(reference, reference)
    assert ks_by_chance(reference, reference) == pytest.approx(1.9495 * math.sqrt(2 / 2000))
