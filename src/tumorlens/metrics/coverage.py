"""Empirical coverage and abstention rate of conformal sets, by class and source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.metrics.decision import Conformal, decide, prediction_set
from tumorlens.metrics.shares import share_estimate
from tumorlens.metrics.summary import Predictions

_CLASSES = ((1, "tumor"), (0, "healthy"))


def conformal_coverage(
    predictions: Predictions, conformal: Sequence[Conformal] | None
) -> list[dict[str, Any]]:
    """Return coverage, abstention and accuracy at each error rate; JSON-ready, undefined is None.

    Args:
        predictions: Calibrated predictions on scans the quantiles were not fitted on.
        conformal: The model card's quantiles; the first entry is the one that decisions use.

    Returns:
        For each entry: ``alpha`` and ``decides``; then, overall and in ``by_source``: ``coverage``
        (share of sets that hold the true class) by class, ``uncertain`` (share without a
        decision) and ``certain_accuracy`` (accuracy of the decisions made). Each estimate has
        value, low, high and n scans.
    """
    return [_entry(predictions, entry, index == 0) for index, entry in enumerate(conformal or ())]


def _entry(predictions: Predictions, conformal: Conformal, decides: bool) -> dict[str, Any]:
    pairs = zip(predictions.prob.tolist(), predictions.threshold.tolist(), strict=True)
    decisions = np.array([decide(p, t, conformal) for p, t in pairs])
    names = np.where(predictions.labels == 1, "tumor", "healthy")
    covered = np.array(
        [
            name in prediction_set(p, conformal)
            for name, p in zip(names, predictions.prob.tolist(), strict=True)
        ],
        dtype=bool,
    )
    uncertain = decisions == "uncertain"
    sources = np.array(predictions.sources)

    def share(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> dict[str, float | int | None]:
        return share_estimate(hits[rows], predictions.groups[rows]).to_dict()

    def estimates(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "coverage": {
                name: share(covered, rows & (predictions.labels == label))
                for label, name in _CLASSES
            },
            "uncertain": share(uncertain, rows),
            "certain_accuracy": share(decisions == names, rows & ~uncertain),
        }

    return {
        "alpha": conformal.alpha,
        "decides": decides,
        **estimates(np.ones(len(predictions), dtype=bool)),
        "by_source": {
            name: estimates(sources == name) for name in sorted(set(predictions.sources))
        },
    }
