"""Two tables of answers on the same scans: how much they differ, with the interval of a pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import Estimate, all_metrics, estimate_from
from tumorlens.metrics.summary import Predictions


def paired_difference(
    first: Predictions, second: Predictions, *, n_boot: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Return every metric of ``first`` minus ``second`` with its 95 % interval.

    Both tables answer the same scans, each once, in any order. Groups of scans are drawn with
    replacement, the same for both tables: what makes a scan hard is common to both and cancels
    (the paired bootstrap of Efron & Tibshirani 1993, ch. 8). A resample in which a metric is
    undefined for either is left out.

    Raises:
        DataError: No answers, a scan answered twice, or tables of different scans, labels or
            groups.
    """
    order = _aligned(first, second)
    labels = first.labels
    tables = (
        (first.prob, first.threshold),
        (second.prob[order], second.threshold[order]),
    )
    names, member = np.unique(first.groups, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        names.size, np.full(names.size, 1 / names.size), size=n_boot
    )
    single = np.ones((1, labels.size))
    weights = draws[:, member].astype(np.float64)
    values = [all_metrics(labels, prob, limit, single) for prob, limit in tables]
    drawn = [all_metrics(labels, prob, limit, weights) for prob, limit in tables]
    return {
        name: estimate_from(
            float(values[0][name][0] - values[1][name][0]),
            drawn[0][name] - drawn[1][name],
            labels.size,
        )
        for name in values[0]
    }


def _aligned(first: Predictions, second: Predictions) -> NDArray[np.int64]:
    """Return the rows of ``second`` in the order of ``first``."""
    if not len(first) or len(set(first.keys)) < len(first):
        raise DataError("a paired comparison needs tables that answer each scan once")
    if len(second) != len(first) or set(first.keys) != set(second.keys):
        missing = sorted(set(first.keys) ^ set(second.keys))[:3]
        raise DataError(f"a paired comparison needs the same scans twice; only in one: {missing}")
    at = {key: row for row, key in enumerate(second.keys)}
    order = np.array([at[key] for key in first.keys], dtype=np.int64)
    if not (
        np.array_equal(first.labels, second.labels[order])
        and np.array_equal(first.groups, second.groups[order])
    ):
        raise DataError("the two tables give the same scans different labels or groups")
    return order
