"""Do conformal sets keep their word? Coverage by class and source, and what abstaining buys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import Estimate
from tumorlens.metrics.decision import Conformal, decide, effective_size, prediction_set
from tumorlens.metrics.summary import Predictions

_Z = 1.959964  # 97.5 % of the standard normal
_CLASSES = ((1, "tumor"), (0, "healthy"))


def share_estimate(hits: ArrayLike, groups: ArrayLike) -> Estimate:
    """Return the share of truths ``[N]`` with a 95 % interval that knows of groups ``[N]``.

    Wilson's interval (JASA 22 (1927) 209) at the effective number of scans, which follows from
    how alike a group's scans are, and is the number of groups where all or none are true
    (`effective_size`); so a share of 0 or 1 still has an interval. Without scans all is ``nan``.

    Raises `DataError` when the lengths differ.
    """
    h, ids = np.asarray(hits, dtype=np.float64), np.asarray(groups)
    if h.shape != ids.shape:
        raise DataError(f"{h.shape} answers and {ids.shape} group ids do not fit")
    if not h.size:
        return Estimate(math.nan, math.nan, math.nan, 0)
    share, n = float(h.mean()), effective_size(h, ids)
    spread = share * (1 - share)
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(spread / n + _Z**2 / (4 * n**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Estimate(share, min(low, share), max(high, share), h.size)


def conformal_report(
    answers: Predictions, conformal: Sequence[Conformal] | None
) -> list[dict[str, Any]]:
    """Measure sets and decisions at each error rate; JSON-ready, undefined figures are None.

    Args:
        answers: Calibrated answers on scans the quantiles were not fitted on.
        conformal: The card's; the first entry is the one that decides.

    Returns:
        For each entry: ``alpha``, ``decides``, ``coverage`` (the true class is in the set) by
        class, overall and in ``by_source``; ``uncertain``, the share without a decision, overall
        and by source; ``certain_accuracy``, that of the decisions which were made. Each figure
        has value, low, high and n scans.
    """
    return [_entry(answers, entry, index == 0) for index, entry in enumerate(conformal or ())]


def _entry(answers: Predictions, conformal: Conformal, decides: bool) -> dict[str, Any]:
    pairs = zip(answers.prob.tolist(), answers.threshold.tolist(), strict=True)
    decisions = np.array([decide(p, t, conformal) for p, t in pairs])
    names = np.where(answers.labels == 1, "tumor", "healthy")
    sets = [prediction_set(p, conformal) for p in answers.prob.tolist()]
    covered = np.array([name in kept for name, kept in zip(names, sets, strict=True)], dtype=bool)
    uncertain = decisions == "uncertain"
    everywhere = np.ones(len(answers), dtype=bool)
    sources = np.array(answers.sources)

    def of(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> dict[str, float | int | None]:
        return _plain(share_estimate(hits[rows], answers.groups[rows]))

    def figures(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "coverage": {
                name: of(covered, rows & (answers.labels == label)) for label, name in _CLASSES
            },
            "uncertain": of(uncertain, rows),
            "certain_accuracy": of(decisions == names, rows & ~uncertain),
        }

    return {
        "alpha": conformal.alpha,
        "decides": decides,
        **figures(everywhere),
        "by_source": {name: figures(sources == name) for name in sorted(set(answers.sources))},
    }


def _plain(estimate: Estimate) -> dict[str, float | int | None]:
    return {
        key: value if math.isfinite(value) else None for key, value in estimate.to_dict().items()
    }
