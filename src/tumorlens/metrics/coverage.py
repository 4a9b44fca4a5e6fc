"""Do conformal sets keep their word? Coverage by class and source, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.metrics.decision import Conformal, decide, prediction_set
from tumorlens.metrics.shares import share_estimate
from tumorlens.metrics.summary import Predictions

_CLASSES = ((1, "tumor"), (0, "healthy"))


def conformal_report(
    predictions: Predictions, conformal: Sequence[Conformal] | None
) -> list[dict[str, Any]]:
    """Measure sets and decisions at each error rate; JSON-ready, undefined values are None.

    Args:
        predictions: Calibrated predictions on scans the quantiles were not fitted on.
        conformal: The card's; the first entry is the one that decides.

    Returns:
        For each entry: ``alpha``, ``decides``, ``coverage`` (the true class is in the set) by
        class, overall and in ``by_source``; ``uncertain``, the share without a decision, overall
        and by source; ``certain_accuracy``, that of the decisions which were made. Each estimate
        has value, low, high and n scans.
    """
    return [_entry(predictions, entry, index == 0) for index, entry in enumerate(conformal or ())]


def _entry(predictions: Predictions, conformal: Conformal, decides: bool) -> dict[str, Any]:
    pairs = zip(predictions.prob.tolist(), predictions.threshold.tolist(), strict=True)
    decisions = np.array([decide(p, t, conformal) for p, t in pairs])
    names = np.where(predictions.labels == 1, "tumor", "healthy")
    sets = [prediction_set(p, conformal) for p in predictions.prob.tolist()]
    covered = np.array([name in kept for name, kept in zip(names, sets, strict=True)], dtype=bool)
    uncertain = decisions == "uncertain"
    everywhere = np.ones(len(predictions), dtype=bool)
    sources = np.array(predictions.sources)

    def of(hits: NDArray[np.bool_], rows: NDArray[np.bool_]) -> dict[str, float | int | None]:
        return share_estimate(hits[rows], predictions.groups[rows]).to_dict()

    def estimates(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            "coverage": {
                name: of(covered, rows & (predictions.labels == label)) for label, name in _CLASSES
            },
            "uncertain": of(uncertain, rows),
            "certain_accuracy": of(decisions == names, rows & ~uncertain),
        }

    return {
        "alpha": conformal.alpha,
        "decides": decides,
        **estimates(everywhere),
        "by_source": {
            name: estimates(sources == name) for name in sorted(set(predictions.sources))
        },
    }
