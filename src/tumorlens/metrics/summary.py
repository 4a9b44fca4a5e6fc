"""Predictions on scans, and their metrics overall and by subgroup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.binary import evaluate
from tumorlens.metrics.calibration import Scheme, bin_indices, ece
from tumorlens.metrics.intervals import Estimate, Floats, bootstrap

ECE_BINS = 15
SCHEMES: tuple[Scheme, ...] = ("width", "mass")


@dataclass(frozen=True)
class Predictions:
    """A table with one prediction a row; repeated cross-validation has several for each scan.

    Attributes:
        keys: Names of the scans ``[N]``.
        labels: int64 ``[N]``, 0 healthy or 1 tumour.
        prob: float64 ``[N]``, calibrated P(tumour).
        threshold: float64 ``[N]``, the threshold of the model that made the prediction.
        groups: int64 ``[N]``; scans of one group are resampled together.
        sources: Data sets ``[N]``.
        views: ``axial``, ``coronal``, ``sagittal`` or None (not known) ``[N]``.
        sequences: MRI sequences such as ``T1C``, or None ``[N]``; empty: none is known.
        findings: What each scan shows, such as ``clear``, or None ``[N]``; empty likewise.
    """

    keys: tuple[str, ...]
    labels: NDArray[np.int64]
    prob: Floats
    threshold: Floats
    groups: NDArray[np.int64]
    sources: tuple[str, ...]
    views: tuple[str | None, ...]
    sequences: tuple[str | None, ...] = ()
    findings: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sequences", "findings"):
            if not getattr(self, name):
                object.__setattr__(self, name, (None,) * len(self.keys))
        sizes = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(sizes.values())) != 1:
            raise DataError(f"the columns of a table of predictions differ in length: {sizes}")

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: ArrayLike) -> Predictions:
        """Return the rows selected by indices or a mask ``[N]``."""
        index = np.arange(len(self))[np.asarray(rows)]
        columns: dict[str, Any] = {}
        for field in fields(self):
            column = getattr(self, field.name)
            is_tuple = isinstance(column, tuple)
            columns[field.name] = tuple(column[i] for i in index) if is_tuple else column[index]
        return Predictions(**columns)


def summarize(
    predictions: Predictions, *, n_boot: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """Return every metric, ECE included, with its 95 % grouped-bootstrap interval.

    ``n`` counts scans: one tested in several repeats counts once; its predictions share a group
    and are resampled together.

    Raises:
        DataError: No predictions, or values out of range.
    """
    p, scans = predictions, len(set(predictions.keys))
    found = every_metric(
        p.labels, p.prob, groups=p.groups, threshold=p.threshold, n_boot=n_boot, seed=seed
    )
    return {name: replace(estimate, n=scans) for name, estimate in found.items()}


def every_metric(
    labels: ArrayLike,
    prob: ArrayLike,
    *,
    groups: ArrayLike,
    threshold: ArrayLike,
    n_boot: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the metrics of `evaluate`, and the ECE with both binning schemes."""
    options: dict[str, Any] = {"groups": groups, "n_boot": n_boot, "seed": seed}
    found = evaluate(labels, prob, threshold=threshold, **options)
    return found | {
        f"ece_{scheme}": ece_estimate(labels, prob, scheme, **options) for scheme in SCHEMES
    }


def summarize_by(
    predictions: Predictions,
    names: Sequence[str | None],
    summary: Callable[[Predictions], dict[str, Estimate]] = summarize,
) -> dict[str, dict[str, Estimate]]:
    """Return name → metrics over the rows with this name; rows named None are left out."""
    labels = np.array([name or "" for name in names], dtype=object)
    return {
        name: summary(predictions.take(labels == name))
        for name in sorted({name for name in names if name})
    }


def ece_estimate(
    labels: ArrayLike,
    prob: ArrayLike,
    scheme: Scheme,
    *,
    groups: ArrayLike | None = None,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the expected calibration error (15 bins) with its grouped-bootstrap interval.

    Resampling adds to the calibration error, so plain percentiles are biased upwards; these are
    bias-corrected (Efron & Tibshirani 1993, ch. 14.3) and extended to include the value. The bins
    are those of the whole sample.
    """
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(prob, dtype=np.float64)
    value = ece(y, p, ECE_BINS, scheme)
    ids = np.arange(y.size) if groups is None else np.asarray(groups)
    gaps = _gaps(y, p, scheme)

    def error(weights: Floats) -> dict[str, Floats]:
        return {"ece": _weighted_ece(gaps, weights)}

    found = bootstrap(error, ids, n_boot=n_boot, seed=seed, interval=_bias_corrected)["ece"]
    return replace(found, value=value)


def ece_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: ArrayLike,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return the ECE (15 bins of equal width) of ``second`` minus that of ``first``.

    Both are probabilities of the same scans ``[N]``, resampled together. Their upward bias mostly
    cancels, so the interval is of plain percentiles, extended to include the value.
    """
    y = np.asarray(labels, dtype=np.float64)
    both = [_gaps(y, np.asarray(p, dtype=np.float64), "width") for p in (first, second)]

    def difference(weights: Floats) -> dict[str, Floats]:
        one, other = (_weighted_ece(gaps, weights) for gaps in both)
        return {"ece": other - one}

    found = bootstrap(difference, groups, n_boot=n_boot, seed=seed)["ece"]
    return replace(found, low=min(found.low, found.value), high=max(found.high, found.value))


def _gaps(y: Floats, p: Floats, scheme: Scheme) -> Floats:
    """Return ``y - p`` of each scan in the column of its bin, float64 ``[N, 15]``."""
    gaps = np.zeros((y.size, ECE_BINS))
    gaps[np.arange(y.size), bin_indices(p, ECE_BINS, scheme)] = y - p
    return gaps


def _weighted_ece(gaps: Floats, weights: Floats) -> Floats:
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


def _bias_corrected(value: float, resampled: Floats) -> tuple[float, float]:
    normal, n = NormalDist(), resampled.size
    share = min(max(float(np.mean(resampled < value)), 1 / (n + 1)), n / (n + 1))
    shift = 2 * normal.inv_cdf(share)
    levels = [normal.cdf(shift + normal.inv_cdf(level)) for level in (0.025, 0.975)]
    low, high = np.quantile(resampled, levels)
    return min(float(low), value), max(float(high), value)
