"""The rule for series is chosen by persons, and its threshold keeps false alarms rare."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tumorlens.calibration.series import (
    FALSE_ALARMS,
    SeriesCase,
    best_threshold,
    candidate_rules,
    choose_rule,
    longest_healthy_run,
)
from tumorlens.errors import DataError
from tumorlens.inference.series.rule import Track, score_series
from tumorlens.metrics.calibration import sigmoid


def case(person: str, tumour: bool, rng: np.random.Generator, n: int = 60) -> SeriesCase:
    """Return a series of 3 mm: false alarms stand alone, a tumour lasts six weaker slices."""
    logits = rng.normal(-3, 0.6, n)
    alone = rng.choice(np.arange(2, n - 2, 4), 3, replace=False)
    logits[alone] = rng.uniform(3, 6, 3)
    if tumour:
        first = int(rng.integers(5, n - 15))
        logits[first : first + 6] = rng.normal(2, 0.6, 6)
    indices = np.arange(n, dtype=np.int64)
    return SeriesCase(
        person, person, tumour, Track(indices, logits, np.full((n, 2), 50.0), 3.0), logits > 0
    )


@pytest.fixture(scope="module")
def cases() -> list[SeriesCase]:
    rng = np.random.default_rng(4)
    return [case(f"p{at // 2}", at % 4 < 2, rng) for at in range(80)]


def test_where_false_alarms_stand_alone_a_run_is_chosen(cases: list[SeriesCase]) -> None:
    figures = choose_rule(cases, "drawn series")
    assert len(candidate_rules()) - 4 <= len(figures) <= len(candidate_rules())
    assert [each.log_loss for each in figures] == sorted(each.log_loss for each in figures)
    best = figures[0]
    assert best.rule.name in ("run_mean", "run_minimum", "agreeing_run")
    assert best.roc_auc.value > 0.99
    # By the largest logits alone, drawn tumours are no higher: such rules come last or not at all.
    assert {each.rule.name for each in figures[:5]} <= {"run_mean", "run_minimum", "agreeing_run"}
    assert best.called_tumour.value <= 2 * FALSE_ALARMS
    assert best.found.value > 0.95
    json.dumps(best.to_dict())


def test_the_fit_is_on_the_rule(cases: list[SeriesCase]) -> None:
    rule = choose_rule(cases, "drawn series")[0].rule
    assert (rule.n, rule.persons) == (80, 40)
    assert "drawn series (80 series of 40 persons)" in rule.origin
    assert rule.threshold is not None
    probs = sigmoid(
        [rule.slope * score_series(each.track, rule).value + rule.intercept for each in cases]
    )
    labels = np.array([each.tumour for each in cases])
    assert (probs[~labels] >= rule.threshold).mean() <= FALSE_ALARMS
    assert (probs[labels] >= rule.threshold).mean() > 0.95
    assert probs[labels].mean() > 0.9 > 0.1 > probs[~labels].mean()


def test_a_person_counts_once_however_many_series(cases: list[SeriesCase]) -> None:
    few = choose_rule(cases, "drawn series")[0].rule
    many = choose_rule([*cases, *[cases[0]] * 40], "drawn series")
    same = next(each.rule for each in many if each.rule.name == few.name
                and each.rule.span_mm == few.span_mm)  # fmt: skip
    assert same.persons == few.persons
    assert same.slope == pytest.approx(few.slope, rel=0.25)


def test_too_few_persons_are_refused(cases: list[SeriesCase]) -> None:
    with pytest.raises(DataError, match="needs 3 of each"):
        choose_rule(cases[:4], "drawn series")


@pytest.mark.parametrize(
    ("probs", "labels", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.5),
        ([0.1, 0.8, 0.7, 0.9], [0, 0, 1, 1], 0.85),  # a healthy one above a tumour
        ([0.1, 0.9], [1, 0], 0.95),  # no threshold keeps to it
    ],
)
def test_the_threshold_is_the_lowest_allowed(
    probs: list[float], labels: list[int], expected: float
) -> None:
    found = best_threshold(np.array(probs), np.array(labels), np.ones(len(probs)))
    assert found == pytest.approx(expected)


def test_the_longest_run_of_healthy_series(cases: list[SeriesCase]) -> None:
    assert longest_healthy_run(cases) == 1
    assert longest_healthy_run([each for each in cases if each.tumour]) == 0
