"""Means, shares and areas with grouped-bootstrap intervals, for tests that are no plain metric.

As in `metrics`, whole groups are drawn with replacement and intervals are the 2.5th to 97.5th
percentile of what the resamples give. A share of exactly 0 or 1 has an interval without width:
no resample can hold what no scan showed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import Estimate, weighted_roc_auc

Floats = NDArray[np.float64]
UNKNOWN = Estimate(math.nan, math.nan, math.nan, 0)
"""What a test over no scans gives."""


def mean_estimate(
    values: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the mean of numbers, or the share of truths, ``[N]``; without values `UNKNOWN`.

    Raises `DataError` when values and group ids do not fit together, or a value is not finite.
    """
    numbers, ids = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if numbers.shape != ids.shape or numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise DataError(f"{numbers.shape} finite numbers and {ids.shape} group ids do not fit")
    if not numbers.size:
        return UNKNOWN
    weights = _resamples(ids, n_boot, seed)
    drawn = weights @ numbers / weights.sum(axis=1)
    return _estimate(float(numbers.mean()), drawn, numbers.size)


def auc_estimate(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the ROC-AUC of scores ``[N]`` of any range; ``nan`` with one class only.

    Raises `DataError` when labels, scores and group ids do not fit together.
    """
    truth = np.asarray(labels)
    table = np.asarray(scores, dtype=np.float64)
    if truth.shape != table.shape:
        raise DataError(f"{truth.shape} labels and {table.shape} scores do not fit")
    return macro_auc_estimate(truth, table[:, None], groups, n_boot=n_boot, seed=seed)


def macro_auc_estimate(
    classes: ArrayLike, scores: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the mean one-against-rest ROC-AUC of K classes (Hand & Till 2001 compare pairs).

    Args:
        classes: int ``[N]``; column k of the scores belongs to class k, or, of a single column,
            to class 1.
        scores: float ``[N, K]`` of any range.
        groups: Ids ``[N]``, resampled whole. A resample without one of the classes is left out.
        n_boot: Resamples.
        seed: Of the resampling.

    Raises:
        DataError: Shapes that do not fit together.
    """
    truth, table, ids = (
        np.asarray(classes),
        np.asarray(scores, dtype=np.float64),
        np.asarray(groups),
    )
    if table.ndim != 2 or truth.shape != ids.shape or truth.shape != table.shape[:1]:
        raise DataError(f"{truth.shape} classes, {table.shape} scores, {ids.shape} group ids")
    if not truth.size:
        return UNKNOWN
    wanted = [1] if table.shape[1] == 1 else range(table.shape[1])
    weights = np.concatenate([np.ones((1, truth.size)), _resamples(ids, n_boot, seed)])
    areas = [
        weighted_roc_auc((truth == name).astype(np.int64), table[:, column], weights)
        for column, name in enumerate(wanted)
    ]
    mean = np.mean(areas, axis=0)
    return _estimate(float(mean[0]), mean[1:], truth.size)


def _resamples(groups: NDArray[np.generic], n_boot: int, seed: int) -> Floats:
    """Return how often each scan is drawn, ``[n_boot, N]``."""
    names, member = np.unique(groups, return_inverse=True)
    shares = np.full(names.size, 1 / names.size)
    draws = np.random.default_rng(seed).multinomial(names.size, shares, size=n_boot)
    return np.asarray(draws[:, member], dtype=np.float64)


def _estimate(value: float, drawn: Floats, n: int) -> Estimate:
    defined = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or not defined.size:
        return Estimate(math.nan, math.nan, math.nan, n)
    low, high = np.quantile(defined, (0.025, 0.975))
    return Estimate(value, float(low), float(high), n)
