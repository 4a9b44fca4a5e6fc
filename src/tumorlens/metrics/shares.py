"""Means, proportions and ROC-AUCs with grouped intervals, for measures beyond `binary`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tumorlens.errors import DataError
from tumorlens.metrics.binary import weighted_roc_auc
from tumorlens.metrics.decision import effective_size
from tumorlens.metrics.intervals import UNDEFINED, Estimate, Floats, bootstrap, wilson_interval


def mean_estimate(
    values: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the mean of numbers or booleans ``[N]``; `UNDEFINED` without values.

    The bootstrap interval of a proportion of exactly 0 or 1 has no width; `share_estimate` gives
    one that has. Raises `DataError` when values and group ids differ in shape, or a value is not
    finite.
    """
    numbers, ids = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if numbers.shape != ids.shape or numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise DataError(f"{numbers.shape} finite numbers and {ids.shape} group ids differ in shape")
    if not numbers.size:
        return UNDEFINED

    def mean(weights: Floats) -> dict[str, Floats]:
        return {"mean": weights @ numbers / weights.sum(axis=1)}

    return bootstrap(mean, ids, n_boot=n_boot, seed=seed)["mean"]


def share_estimate(hits: ArrayLike, groups: ArrayLike) -> Estimate:
    """Return the proportion of true values ``[N]`` with a 95 % interval for grouped scans.

    Wilson's interval at the effective number of scans (`effective_size`), so that a proportion of
    0 or 1 has an interval too; `UNDEFINED` without scans. Raises `DataError` when the lengths
    differ.
    """
    h, ids = np.asarray(hits, dtype=np.float64), np.asarray(groups)
    if h.shape != ids.shape:
        raise DataError(f"{h.shape} values and {ids.shape} group ids differ in shape")
    if not h.size:
        return UNDEFINED
    share = float(h.mean())
    low, high = wilson_interval(share, effective_size(h, ids))
    return Estimate(share, float(low), float(high), h.size)


def auc_estimate(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the ROC-AUC of scores ``[N]`` of any range; ``nan`` with one class only.

    Raises `DataError` when labels, scores and group ids differ in length.
    """
    truth = np.asarray(labels)
    table = np.asarray(scores, dtype=np.float64)
    if truth.shape != table.shape:
        raise DataError(f"{truth.shape} labels and {table.shape} scores differ in shape")
    return macro_auc_estimate(truth, table[:, None], groups, n_boot=n_boot, seed=seed)


def macro_auc_estimate(
    classes: ArrayLike, scores: ArrayLike, groups: ArrayLike, *, n_boot: int = 1000, seed: int = 0
) -> Estimate:
    """Return the macro-averaged one-versus-rest ROC-AUC of K classes.

    Args:
        classes: int ``[N]``; column k of the scores belongs to class k, a single column to class 1.
        scores: float ``[N, K]`` of any range.
        groups: Ids ``[N]``, resampled whole. Resamples that lack one of the classes are left out.
        n_boot: Number of resamples.
        seed: Seed of the resampling.

    Raises:
        DataError: Classes, scores and group ids differ in length.
    """
    truth, ids = np.asarray(classes), np.asarray(groups)
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or truth.shape != ids.shape or truth.shape != table.shape[:1]:
        raise DataError(
            f"{truth.shape} classes, {table.shape} scores, {ids.shape} ids differ in length"
        )
    if not truth.size:
        return UNDEFINED
    numbers = [1] if table.shape[1] == 1 else range(table.shape[1])

    def area(weights: Floats) -> dict[str, Floats]:
        areas = [
            weighted_roc_auc((truth == number).astype(np.int64), table[:, column], weights)
            for column, number in enumerate(numbers)
        ]
        return {"area": np.asarray(np.mean(areas, axis=0))}

    return bootstrap(area, ids, n_boot=n_boot, seed=seed)["area"]
