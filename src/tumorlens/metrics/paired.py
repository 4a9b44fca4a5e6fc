"""Differences of metrics between two models on the same scans, with paired intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import weighted_metrics
from tumorlens.metrics.intervals import Estimate, Floats, bootstrap
from tumorlens.metrics.summary import Predictions


def paired_difference(
    first: Predictions, second: Predictions, *, n_boot: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Return every metric of ``first`` minus ``second`` with its 95 % interval.

    Both tables hold the same scans, each once, in any order. Groups of scans are drawn with
    replacement, the same for both tables, so that the difficulty of a scan, which both share,
    cancels (paired bootstrap; Efron & Tibshirani 1993, ch. 8). Resamples in which a metric is
    undefined for either table are left out.

    Raises:
        DataError: No predictions, a scan listed twice, or tables of different scans, labels or
            groups.
    """
    order = _row_order(first, second)
    labels = first.labels
    tables = (
        (first.prob, first.threshold),
        (second.prob[order], second.threshold[order]),
    )

    def difference(weights: Floats) -> dict[str, Floats]:
        one, other = (weighted_metrics(labels, *table, weights) for table in tables)
        return {name: one[name] - other[name] for name in one}

    return bootstrap(difference, first.groups, n_boot=n_boot, seed=seed)


def _row_order(first: Predictions, second: Predictions) -> NDArray[np.int64]:
    """Return the index of each row of ``first`` in ``second`` ``[N]``."""
    if not len(first) or len(set(first.keys)) < len(first):
        raise DataError("a paired comparison needs tables that hold each scan once")
    if len(second) != len(first) or set(first.keys) != set(second.keys):
        missing = sorted(set(first.keys) ^ set(second.keys))[:3]
        raise DataError(f"a paired comparison needs the same scans in both; only in one: {missing}")
    row_of = {key: row for row, key in enumerate(second.keys)}
    order = np.array([row_of[key] for key in first.keys], dtype=np.int64)
    if not (
        np.array_equal(first.labels, second.labels[order])
        and np.array_equal(first.groups, second.groups[order])
    ):
        raise DataError("the two tables give the same scans different labels or groups")
    return order
