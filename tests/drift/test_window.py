"""The reference of drawn numbers, and the window that is compared with it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tumorlens.drift.reference import columns, make_reference
from tumorlens.drift.statistics import STATISTICS
from tumorlens.drift.window import NONE, Window, compare
from tumorlens.errors import DataError
from tumorlens.metrics.drift import LARGE, count_bins
from tumorlens.modelfile import DriftReference

N = 1000


def drawn(seed: int, n: int, shift: float = 0.0) -> list[tuple[float, ...]]:
    """Return observations of which the brightness is shifted, and no domain."""
    rng = np.random.default_rng(seed)
    table = rng.normal(0, 1, (n, 5)) + np.array([0, shift, 0, 0, 0])
    table[:, 4] = math.nan
    return [tuple(row) for row in table.tolist()]


def reference(groups: int = N) -> DriftReference:
    return make_reference(columns(drawn(0, N)), np.arange(N) % groups, "drawn scans")


def filled(shift: float, n: int, size: int = 500) -> Window:
    window = Window(reference(), size)
    for row in drawn(1, n, shift):
        window.add(row)
    return window


def test_the_reference_holds_every_statistic_that_is_finite() -> None:
    made = reference(40)
    assert [each.name for each in made.histograms] == list(STATISTICS[:4])
    assert (made.n, made.groups) == (N, 40)
    assert all(sum(each.counts) == N and len(each.edges) == 99 for each in made.histograms)
    assert made.describe().startswith("1000 drawn scans in 40 groups, 20")


def test_too_few_scans_make_no_reference() -> None:
    with pytest.raises(DataError, match=r"50 scans that the model answers, and there are 49"):
        make_reference(columns(drawn(0, 49)), np.arange(49), "drawn scans")


def test_a_shift_shows_in_its_statistic_alone() -> None:
    window = filled(0.7, 500)
    found = compare(window.reference, window.counts())
    assert found["brightness"].psi > LARGE > found["brightness"].psi_by_chance
    assert found["brightness"].ks > found["brightness"].ks_by_chance
    for name in ("score", "contrast", "sharpness"):
        assert found[name].n == 500
        assert found[name].psi < found[name].psi_by_chance
        assert found[name].ks < found[name].ks_by_chance


def test_the_window_slides() -> None:
    window = filled(5.0, 400, size=100)
    for row in drawn(2, 100):
        window.add(row)
    whole = np.array(drawn(2, 100))
    for at, each in enumerate(window.reference.histograms):
        expected = count_bins(whole[:, at], each.edges)
        assert window.counts()[each.name].tolist() == expected.tolist()


def test_changes_tell_what_entered_and_left() -> None:
    window = Window(reference(), 2)
    changes = [window.add((value,) * 5) for value in (-9.0, 9.0, math.nan, 0.0)]
    assert [change[0] for change in changes[:3]] == [(0, NONE), (99, NONE), (NONE, 0)]
    gained, lost = changes[3][0]
    assert 30 < gained < 70
    assert lost == 99


def test_fewer_groups_of_the_reference_allow_more_chance() -> None:
    counts = filled(0.0, 300).counts()
    few, many = compare(reference(20), counts), compare(reference(), counts)
    assert few["score"].psi_by_chance > 5 * many["score"].psi_by_chance
    assert few["score"].psi == many["score"].psi


def test_an_empty_window_is_no_number() -> None:
    found = compare(reference(), {})
    assert all(each.n == 0 and math.isnan(each.psi) for each in found.values())
