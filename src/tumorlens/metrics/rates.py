"""ROC and precision–recall curves with a grouped-bootstrap band, for plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tumorlens.errors import DataError
from tumorlens.metrics.binary import Ranking
from tumorlens.metrics.intervals import Floats, resample_weights

Kind = Literal["roc", "pr"]


@dataclass(frozen=True)
class RateCurve:
    """A curve over all thresholds, and the 95 % band around it.

    Attributes:
        x, y: float64 ``[K]``. ROC: false and true positive rate from (0, 0) to (1, 1). PR: recall
            and precision; ``y[k]`` holds from ``x[k - 1]`` (excluded) to ``x[k]``.
        grid, low, high: float64 ``[G]``: pointwise 2.5 and 97.5 % of resampled curves.
    """

    x: Floats
    y: Floats
    grid: Floats
    low: Floats
    high: Floats


def rate_curve(
    labels: ArrayLike,
    prob: ArrayLike,
    kind: Kind,
    *,
    groups: ArrayLike | None = None,
    n_boot: int = 400,
    seed: int = 0,
) -> RateCurve:
    """Return the ``roc`` or ``pr`` curve of scans with its band.

    Args:
        labels: 0 or 1, ``[N]``. prob: P(tumour), ``[N]``.
        kind: Which curve.
        groups: Ids ``[N]`` that are resampled whole; None resamples single scans.
        n_boot: Number of resamples; those with only one class are left out.
        seed: Seed of the resampling.

    Raises:
        DataError: Lengths that differ, or only one class.
    """
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    ids = np.arange(y.size) if groups is None else np.asarray(groups)
    if not y.shape == p.shape == ids.shape or not 0 < np.count_nonzero(y == 1) < y.size:
        raise DataError(
            f"a curve needs scans of both classes; got {y.size} labels, {p.size} probabilities"
        )
    ranking = Ranking(y, p)
    grid = np.linspace(0, 1, 101)
    resampled = [
        _interpolate(grid, *_points(tp, fp, kind), kind)
        for weights in resample_weights(ids, n_boot, seed)
        for tp, fp in zip(*ranking.cumulative_counts(weights), strict=True)
        if tp[-1] > 0 and fp[-1] > 0
    ]
    tp, fp = ranking.cumulative_counts(np.ones((1, y.size)))
    x, height = _points(tp[0], fp[0], kind)
    band = (
        np.quantile(resampled, [0.025, 0.975], axis=0) if resampled else np.full((2, 101), np.nan)
    )
    return RateCurve(x, height, grid, band[0], band[1])


def _points(tp: Floats, fp: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Return the curve's points ``[K]`` from true and false positives down the ranking."""
    nonempty = tp + fp > 0
    tp, fp = tp[nonempty], fp[nonempty]
    if kind == "roc":
        return np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])
    precision = tp / (tp + fp)
    return np.append(0, tp / tp[-1]), np.append(precision[0], precision)


def _interpolate(grid: Floats, x: Floats, y: Floats, kind: Kind) -> Floats:
    if kind == "roc":
        return np.asarray(np.interp(grid, x, y))
    return np.asarray(y[np.minimum(np.searchsorted(x, grid - 1e-12), y.size - 1)])
