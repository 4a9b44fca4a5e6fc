"""The rule that combines slices: what stands alone does not carry a series."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.inference.series.rule import Track, longest_run, run_length, score_series
from tumorlens.modelfile.series import RuleName, SeriesRule


def track(
    logits: list[float], *, thickness: float = 3.0, missing: tuple[int, ...] = (),
    peaks: list[tuple[float, float]] | None = None,
) -> Track:  # fmt: skip
    kept = [each for each in range(len(logits)) if each not in missing]
    places = peaks or [(50.0, 50.0)] * len(logits)
    return Track(
        np.array(kept, dtype=np.int64),
        np.array([logits[each] for each in kept]),
        np.array([places[each] for each in kept], dtype=np.float64).reshape(-1, 2),
        thickness,
    )


@pytest.mark.parametrize(
    ("thickness", "span", "length"),
    [(1.0, 6.0, 6), (2.0, 6.0, 3), (2.5, 6.0, 3), (3.0, 6.0, 2), (4.0, 6.0, 2), (4.9, 6.0, 2),
     (5.0, 6.0, 1), (8.0, 6.0, 1), (1.0, 10.0, 10), (0.5, 6.0, 12)],
)  # fmt: skip
def test_a_run_covers_its_millimetres(thickness: float, span: float, length: int) -> None:
    assert run_length(thickness, SeriesRule(span_mm=span)) == length


ALONE = [-4.0, -4.0, 6.0, -4.0, -4.0, -4.0, -4.0]
PAIR = [-4.0, -4.0, 2.0, 2.0, -4.0, -4.0, -4.0]


@pytest.mark.parametrize(
    ("name", "alone", "pair"),
    [("maximum", 6.0, 2.0), ("top_mean", -2 / 3, 0.0), ("run_mean", 1.0, 2.0),
     ("run_minimum", -4.0, 2.0), ("agreeing_run", 1.0, 2.0)],
)  # fmt: skip
def test_a_slice_that_stands_alone_against_two_neighbours(
    name: RuleName, alone: float, pair: float
) -> None:
    rule = SeriesRule(name=name)
    assert score_series(track(ALONE), rule).value == pytest.approx(alone)
    assert score_series(track(PAIR), rule).value == pytest.approx(pair)


def test_evidence_that_jumps_about_counts_with_its_least_slice() -> None:
    jumping = [(20.0, 20.0), (20.0, 20.0), (20.0, 20.0), (90.0, 20.0), *[(20.0, 20.0)] * 3]
    mixed = [-4.0, -4.0, 3.0, 1.0, -4.0, -4.0, -4.0]
    assert score_series(track(mixed), SeriesRule()).value == pytest.approx(2.0)
    assert score_series(track(mixed, peaks=jumping), SeriesRule()).value == pytest.approx(1.0)
    # Without a map, places are not known and say nothing.
    unknown = [(float("nan"), float("nan"))] * 7
    assert score_series(track(mixed, peaks=unknown), SeriesRule()).value == pytest.approx(2.0)


def test_one_missing_slice_does_not_end_a_run_and_two_do() -> None:
    logits = [-4.0, 2.0, 9.0, 9.0, 2.0, -4.0]
    rule = SeriesRule(name="run_minimum")
    assert score_series(track(logits, missing=(2,)), rule).value == pytest.approx(2.0)
    apart = score_series(track([-4.0, 2.0, 0.0, 0.0, 2.0, -4.0], missing=(2, 3)), rule)
    assert apart.value == pytest.approx(-4.0)


def test_the_carrying_slices_are_named() -> None:
    found = score_series(track(PAIR), SeriesRule())
    assert (found.first, found.last) == (2, 3)


@pytest.mark.parametrize("logits", [[1.5], [1.5, 1.5]])
def test_a_series_shorter_than_a_run_uses_all_it_has(logits: list[float]) -> None:
    assert score_series(track(logits, thickness=1.0), SeriesRule()).value == pytest.approx(1.5)


def test_no_slices_have_no_score() -> None:
    with pytest.raises(DataError, match="no score"):
        score_series(track([]), SeriesRule())


def test_the_longest_run_ends_at_a_missing_slice() -> None:
    flags = np.array([True, True, False, True, True, True])
    assert longest_run(flags, np.array([0, 1, 2, 3, 4, 5])) == 3
    assert longest_run(flags, np.array([0, 1, 2, 3, 5, 6])) == 2
    assert longest_run(np.zeros(0, np.bool_), np.zeros(0, np.int64)) == 0
