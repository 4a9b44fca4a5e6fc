"""Choose the rule that combines the slices of a series, and fit its probability and threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.inference.series.rule import Track, longest_run, score_series
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.shares import auc_estimate, share_estimate
from tumorlens.metrics.site import fit_platt
from tumorlens.modelfile import SeriesRule
from tumorlens.modelfile.series import RuleName

Floats = NDArray[np.float64]
# At most this share of healthy series may be called tumour, counted by person.
FALSE_ALARMS = 0.05
_SPANS_MM = (4.0, 6.0, 9.0, 12.0, 18.0)
_RUNS: tuple[RuleName, ...] = ("run_mean", "run_minimum", "agreeing_run")
_FEWEST_PERSONS = 3


@dataclass(frozen=True, eq=False)
class SeriesCase:
    """One series whose answer is known.

    Attributes:
        name: for reports.
        person: series of one person count as one.
        tumour: whether it shows one.
        track: its answered slices, at least one.
        positive: bool ``[n]``: slices at or above the slices' threshold.
    """

    name: str
    person: str
    tumour: bool
    track: Track
    positive: NDArray[np.bool_]


@dataclass(frozen=True)
class RuleFigures:
    """What a rule does: its fit, and figures of each series by a fit without its person.

    ``log_loss`` is the mean over persons, both classes counting alike.
    """

    rule: SeriesRule
    log_loss: float
    roc_auc: Estimate
    called_tumour: Estimate
    found: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {
            "rule": self.rule.model_dump(mode="json"),
            "log_loss": self.log_loss,
            "roc_auc": self.roc_auc.to_dict(),
            "healthy_called_tumour": self.called_tumour.to_dict(),
            "tumours_found": self.found.to_dict(),
        }


def candidate_rules() -> list[SeriesRule]:
    """Return the rules that are compared."""
    runs = [SeriesRule(name=name, span_mm=span) for name in _RUNS for span in _SPANS_MM]
    tops = [SeriesRule(name="top_mean", top_k=k) for k in (3, 5, 10)]
    return [SeriesRule(name="maximum"), *tops, *runs]


def choose_rule(cases: Sequence[SeriesCase], where: str) -> list[RuleFigures]:
    """Fit and measure every candidate; returns them by rising log loss, the chosen one first.

    The log loss is cross-validated: each person's series by a fit without that person.

    Args:
        cases: series that the network was not trained on.
        where: on which series, in words, for the threshold's origin.

    Raises:
        DataError: fewer than three persons of a class, or tumours score no higher by any rule.
    """
    persons = {tumour: {each.person for each in cases if each.tumour is tumour}
               for tumour in (True, False)}  # fmt: skip
    if min(len(each) for each in persons.values()) < _FEWEST_PERSONS:
        raise DataError(
            f"{len(persons[True])} persons with a tumour and {len(persons[False])} without; a "
            f"series rule needs {_FEWEST_PERSONS} of each"
        )
    measured = (_measure(cases, rule, where) for rule in candidate_rules())
    found = [each for each in measured if each is not None]
    if not found:
        raise DataError("tumours score no higher than healthy series by any rule")
    return sorted(found, key=lambda each: each.log_loss)


def longest_healthy_run(cases: Sequence[SeriesCase]) -> int:
    """Return the longest run of neighbouring tumour slices in any healthy series."""
    return max(
        (longest_run(each.positive, each.track.indices) for each in cases if not each.tumour),
        default=0,
    )


def _measure(cases: Sequence[SeriesCase], rule: SeriesRule, where: str) -> RuleFigures | None:
    """Return the figures of a rule, None where tumours score no higher by it."""
    scores = np.array([score_series(each.track, rule).value for each in cases])
    labels = np.array([each.tumour for each in cases], dtype=np.int64)
    persons = np.array([each.person for each in cases])
    weights = _weights(labels, persons)
    names = np.unique(persons)
    without = np.array([weights * (persons != name) for name in names])
    fits = fit_platt(scores, labels, persons, np.vstack([weights[None], without]))
    if not np.isfinite(fits).all():
        return None
    slope, intercept = (float(each) for each in fits[:, 0])
    place = np.searchsorted(names, persons)
    # Probability and threshold of each series by the fit without its person.
    probs = sigmoid(fits[0, 1 + place] * scores + fits[1, 1 + place])
    limits = np.array([
        best_threshold(sigmoid(fits[0, 1 + at] * scores + fits[1, 1 + at]), labels, row)
        for at, row in enumerate(without)
    ])  # fmt: skip
    called = probs >= limits[place]
    loss = -np.log(np.clip(np.where(labels == 1, probs, 1 - probs), 1e-6, 1))
    threshold = best_threshold(sigmoid(slope * scores + intercept), labels, weights)
    healthy = labels == 0
    fitted = rule.model_copy(
        update={
            "slope": slope, "intercept": intercept, "threshold": threshold, "n": len(cases),
            "persons": len(names),
            "origin": f"at most {FALSE_ALARMS:.0%} of healthy series called tumour, on {where} "
            f"({len(cases)} series of {len(names)} persons); probability calibrated for half "
            "tumours",
        }
    )  # fmt: skip
    return RuleFigures(
        fitted,
        float((loss * weights).sum() / weights.sum()),
        auc_estimate(labels, scores, persons),
        share_estimate(called[healthy], persons[healthy]),
        share_estimate(called[~healthy], persons[~healthy]),
    )


def _weights(labels: NDArray[np.int64], persons: NDArray[np.str_]) -> Floats:
    """Return weights ``[N]``: persons count alike within a class, and the classes alike."""
    weights = np.zeros(len(labels))
    for label in (0, 1):
        own = labels == label
        names, place, counts = np.unique(persons[own], return_inverse=True, return_counts=True)
        weights[own] = 1 / counts[place] / len(names)
    return weights * len(labels) / 2


def best_threshold(probs: Floats, labels: NDArray[np.int64], weights: Floats) -> float:
    """Return the lowest threshold at which healthy series keep to `FALSE_ALARMS`.

    Midway to the next lower probability, so that rounding changes no answer.

    Args:
        probs: probability of each series ``[N]``.
        labels: 0 or 1, ``[N]``.
        weights: how much each counts, ``[N]``; 0 leaves it out.
    """
    used = weights > 0
    p, y, w = probs[used], labels[used], weights[used]
    healthy = float(w[y == 0].sum())
    levels = np.unique(p)
    allowed = [
        at for at, level in enumerate(levels)
        if float(w[(y == 0) & (p >= level)].sum()) <= FALSE_ALARMS * healthy
    ]  # fmt: skip
    if not allowed:
        return float((levels[-1] + 1) / 2)
    at = allowed[0]
    below = float(levels[at - 1]) if at else 0.0
    return (float(levels[at]) + below) / 2
