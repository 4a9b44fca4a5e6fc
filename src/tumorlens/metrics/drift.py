"""How far one distribution has moved from another: histograms, PSI, Kolmogorov-Smirnov.

Two samples are compared as counts in the same bins, so that neither needs its values: the reference
of a model and the window of a service. Each measure has the value that chance alone exceeds once
in a thousand times, which depends on the sizes of both samples.

Population stability index (PSI): Lewis, An Introduction to Credit Scoring (1994); its thresholds
of 0.1 and 0.25: Siddiqi, Credit Risk Scorecards (2006). Its distribution without drift: Yurdakul
and Naranjo, Statistical properties of the population stability index, Journal of Risk Model
Validation 14 (2020). Kolmogorov-Smirnov distance: Smirnov, Annals of Mathematical Statistics 19
(1948).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError

SLIGHT: Final = 0.1
"""PSI from which a distribution has moved slightly (Siddiqi 2006)."""
LARGE: Final = 0.25
"""PSI from which it has moved much (Siddiqi 2006)."""

PSI_BINS = 10
_MAX_BINS = 100
# Scans a bin should hold at least, so that its share is known to within about a half.
_PER_BIN = 5
MIN_VALUES = PSI_BINS * _PER_BIN

_CHANCE_SD = 3.0902  # the standard normal's 99.9 % quantile
_CHANCE_KS = 1.9495  # the Kolmogorov distribution's
# An empty bin counts as half an observation: the logarithm of nothing is infinite.
_EMPTY = 0.5

Counts = NDArray[np.int64]


def equal_frequency_edges(values: ArrayLike) -> NDArray[np.float64]:
    """Return inner edges of bins that hold about equally many of ``values`` ``[N]``.

    Up to 100 bins, as many as 5 values a bin allow, in multiples of 10; fewer where values
    repeat. Strictly increasing, rounded to six digits; empty where all values are the same.

    Raises `DataError` for fewer than `MIN_VALUES` values, or one that is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) < MIN_VALUES or not np.isfinite(numbers).all():
        raise DataError(
            f"a reference needs {MIN_VALUES} finite values or more in one row, not "
            f"{list(numbers.shape)}"
        )
    tens = min(_MAX_BINS // PSI_BINS, len(numbers) // MIN_VALUES)
    shares = np.arange(1, PSI_BINS * tens) / (PSI_BINS * tens)
    found = np.quantile(numbers, shares)
    rounded = np.array([float(f"{value:.6g}") for value in found])
    edges = np.unique(rounded[rounded < numbers.max()])
    return edges[count_bins(numbers, edges)[:-1] > 0]


def bin_of(values: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Return the bin of each value: 0 up to the first edge, ``len(edges)`` above the last."""
    return np.searchsorted(np.asarray(edges), np.asarray(values), side="left").astype(np.int64)


def count_bins(values: ArrayLike, edges: ArrayLike) -> Counts:
    """Return how many values are in each bin, int64 ``[len(edges) + 1]``."""
    size = np.asarray(edges).size + 1
    return np.bincount(bin_of(values, edges), minlength=size).astype(np.int64)


def psi(reference: ArrayLike, window: ArrayLike) -> float:
    """Return the population stability index of two histograms of the same bins, 0 and above.

    ``sum((w - r) ln(w / r))`` over shares of ten groups of neighbouring bins. NaN when one
    histogram is empty. Raises `DataError` when they differ in length.
    """
    r, w = _in_groups(*_checked(reference, window))
    if not r.sum() or not w.sum():
        return math.nan
    shares = [np.maximum(each, _EMPTY) / np.maximum(each, _EMPTY).sum() for each in (r, w)]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def psi_by_chance(reference: ArrayLike, window: ArrayLike, reference_size: float = 0) -> float:
    """Return the PSI that samples of these sizes exceed once in a thousand times without drift.

    Approximately ``(1/n + 1/m)`` times the chi-squared quantile with a degree of freedom less than
    there are groups of bins. ``reference_size`` is the number of independent scans of the
    reference; 0 takes all of them. NaN when one histogram is empty.
    """
    r, w = _in_groups(*_checked(reference, window))
    if not r.sum() or not w.sum():
        return math.nan
    return _sizes(r, w, reference_size) * _chi_squared_quantile(len(r) - 1)


def ks_distance(reference: ArrayLike, window: ArrayLike) -> float:
    """Return the Kolmogorov-Smirnov distance of two histograms of the same bins, 0..1.

    The largest difference of the distribution functions at the bins' edges: with 100 bins at most
    0.01 below that of the values. NaN when one histogram is empty. Raises `DataError` when
    they differ in length.
    """
    r, w = _checked(reference, window)
    if not r.sum() or not w.sum():
        return math.nan
    return float(np.abs(np.cumsum(r) / r.sum() - np.cumsum(w) / w.sum()).max())


def ks_by_chance(reference: ArrayLike, window: ArrayLike, reference_size: float = 0) -> float:
    """Return the distance that samples of these sizes exceed once in a thousand times, at most 1.

    Asymptotic, as Smirnov's test; arguments as for `psi_by_chance`.
    """
    r, w = _checked(reference, window)
    if not r.sum() or not w.sum():
        return math.nan
    return min(1.0, _CHANCE_KS * math.sqrt(_sizes(r, w, reference_size)))


def _sizes(r: Counts, w: Counts, reference_size: float) -> float:
    return 1 / (reference_size or float(r.sum())) + 1 / float(w.sum())


def _checked(reference: ArrayLike, window: ArrayLike) -> tuple[Counts, Counts]:
    r, w = np.asarray(reference, dtype=np.int64), np.asarray(window, dtype=np.int64)
    if r.shape != w.shape or r.ndim != 1:
        raise DataError(f"histograms of {list(r.shape)} and {list(w.shape)} bins: give the same")
    return r, w


def _in_groups(r: Counts, w: Counts) -> tuple[Counts, Counts]:
    """Return both histograms in at most ten groups of neighbouring bins.

    The groups hold about equally much of the reference; what they are does not depend on ``w``.
    """
    total = int(r.sum())
    if len(r) <= PSI_BINS or not total:
        return r, w
    # A bin belongs to the tenth in which the middle of its observations lies.
    middle = np.cumsum(r) - r / 2
    group = np.minimum((middle / total * PSI_BINS).astype(np.int64), PSI_BINS - 1)
    starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
    return np.add.reduceat(r, starts), np.add.reduceat(w, starts)


def _chi_squared_quantile(degrees: int) -> float:
    """Return the 99.9 % quantile by Wilson and Hilferty (PNAS 17, 1931); within 1 % from 3 on."""
    if degrees < 1:
        return 0.0
    step = 2 / (9 * degrees)
    return float(degrees * (1 - step + _CHANCE_SD * math.sqrt(step)) ** 3)
