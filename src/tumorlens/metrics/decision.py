"""Decisions from probabilities: operating point, conformal prediction sets, abstention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError

Label = Literal["tumor", "healthy"]
Decision = Literal["tumor", "healthy", "uncertain"]

# Error rates of the conformal sets; the first one is used for decisions.
ALPHAS = (0.05, 0.1)


@dataclass(frozen=True)
class Threshold:
    """The decision threshold: scans of at least this P(tumour) are predicted positive.

    Attributes:
        value: 0..1.
        target: The sensitivity it was chosen for; None if it was not chosen that way.
        origin: Description of how it was chosen, and on which scans.
        n: Number of scans it was chosen on.
    """

    value: float
    target: float | None
    origin: str
    n: int


def threshold_for_sensitivity(
    labels: ArrayLike, prob: ArrayLike, target: float, origin: str
) -> Threshold:
    """Return the highest threshold with a sensitivity of at least ``target``.

    It lies midway between the lowest-scoring tumour that must be detected and the next lower
    probability, so that rounding cannot miss that tumour.

    Raises:
        DataError: No tumours, lengths that differ, or a target outside (0, 1].
    """
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    tumours = np.sort(p[y == 1])[::-1] if y.shape == p.shape else np.zeros(0)
    if tumours.size == 0 or not 0 < target <= 1:
        raise DataError(
            f"a threshold needs tumours and a target in (0, 1]; got {tumours.size} tumours in "
            f"{y.size} scans, target {target}"
        )
    lowest = float(tumours[math.ceil(target * tumours.size - 1e-9) - 1])
    below = p[p < lowest]
    value = (lowest + float(below.max())) / 2 if below.size else lowest / 2
    return Threshold(value, target, origin, int(y.size))


@dataclass(frozen=True)
class Conformal:
    """Class-conditional split-conformal quantiles of ``1 - P(class)``.

    A class is in the prediction set when ``1 - P(class)`` is at most its quantile. For a scan
    exchangeable with the calibration scans of its class, the class is in the set with probability
    at least ``1 - alpha``: marginally over scans and calibration sets, for each class separately,
    at any sample size (Vovk, Conditional validity of inductive conformal predictors, ACML 2012).
    Near-duplicates and slices of one patient are not exchangeable with new scans; the effective
    number of scans then replaces their number, and coverage holds approximately. There is no
    guarantee for a single scan, a single source, or another hospital's scans.

    Attributes:
        alpha: Error rate, 0..1.
        tumor, healthy: The quantiles, 0..1; 1 keeps the class in every set.
        n_tumor, n_healthy: Number of calibration scans of each class.
        groups_tumor, groups_healthy: Number of groups among them; None if fitted without groups.
        effective_tumor, effective_healthy: Effective number of independent scans, or None.
    """

    alpha: float
    tumor: float
    healthy: float
    n_tumor: int
    n_healthy: int
    groups_tumor: int | None = None
    groups_healthy: int | None = None
    effective_tumor: float | None = None
    effective_healthy: float | None = None


def fit_conformal(
    labels: ArrayLike, prob: ArrayLike, alpha: float, groups: ArrayLike | None = None
) -> Conformal:
    """Fit the quantiles on calibration scans.

    The quantile is the ``ceil((n + 1)(1 - alpha))``-th smallest of the class's n scores, or 1 (the
    class is always in the set) when n is too small for that. With groups the rank is
    ``ceil(n (1 + 1/m)(1 - alpha))``, where m is the effective number of scans; it depends on how
    strongly exceeding the quantile is correlated within groups, see `effective_size`.

    Args:
        labels: 0 or 1, ``[N]``.
        prob: P(tumour), ``[N]``, from scans neither trained on nor used to choose the network.
        alpha: Error rate.
        groups: Group ids ``[N]``, or None.

    Raises:
        DataError: A class without scans, lengths that differ, or alpha outside (0, 1).
    """
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    ids = np.arange(y.size) if groups is None else np.asarray(groups)
    fits = y.shape == p.shape == ids.shape
    if not fits or not 0 < alpha < 1 or not 0 < np.count_nonzero(y == 1) < y.size:
        raise DataError(
            f"conformal sets need scans of both classes and alpha in (0, 1); got {y.size} labels, "
            f"{p.size} probabilities, {ids.size} groups, alpha {alpha}"
        )
    tumor, healthy = y == 1, y == 0
    upper, m_tumor = _upper_quantile(1 - p[tumor], ids[tumor], alpha)
    lower, m_healthy = _upper_quantile(p[healthy], ids[healthy], alpha)
    counts = (int(tumor.sum()), int(healthy.sum()))
    if groups is None:
        return Conformal(alpha, upper, lower, *counts)
    group_counts = (len(np.unique(ids[tumor])), len(np.unique(ids[healthy])))
    return Conformal(alpha, upper, lower, *counts, *group_counts, m_tumor, m_healthy)


def effective_size(hits: ArrayLike, groups: ArrayLike) -> float:
    """Return the effective sample size of a proportion over grouped scans ``[N]``, 1..N.

    ``p (1 - p)`` over the between-group variance of the proportion ``p`` (Kish, Survey Sampling,
    1965). Where all or none of ``hits`` are true, the correlation within groups cannot be
    estimated, and the number of groups is returned.
    """
    h, ids = np.asarray(hits, dtype=np.float64), np.asarray(groups)
    share = float(h.mean())
    _, inverse = np.unique(ids, return_inverse=True)
    deviations = np.bincount(inverse, weights=h - share)
    variance, count = share * (1 - share), len(deviations)
    between = float((deviations**2).sum()) / h.size**2 * count / max(count - 1, 1)
    if variance <= 0 or between <= 0 or count < 2:
        return float(count)
    return min(float(h.size), max(variance / between, 1.0))


def prediction_set(prob: float, conformal: Conformal) -> tuple[Label, ...]:
    """Return the conformal prediction set of P(tumour) ``prob``: no, one or both classes.

    The order is fixed: ``tumor`` before ``healthy``.
    """
    candidates: tuple[tuple[Label, float, float], ...] = (
        ("tumor", 1 - prob, conformal.tumor),
        ("healthy", prob, conformal.healthy),
    )
    return tuple(name for name, score, quantile in candidates if score <= quantile)


def decide(prob: float, threshold: float, conformal: Conformal | None) -> Decision:
    """Return the decision: the label, or ``uncertain`` unless the set is exactly that label.

    The label depends on the threshold alone and the set on the quantiles alone; the decision is
    the label only where they agree. A set of one class that is not the label at the threshold is
    therefore uncertain too. Without conformal quantiles the label is the decision.
    """
    label: Label = "tumor" if prob >= threshold else "healthy"
    if conformal is None or prediction_set(prob, conformal) == (label,):
        return label
    return "uncertain"


def _upper_quantile(
    scores: NDArray[np.float64], groups: NDArray[np.generic], alpha: float
) -> tuple[float, float]:
    """Return the quantile and the effective number of scans it is based on."""
    n, ranked = scores.size, np.sort(scores)
    size = float(n)
    if len(np.unique(groups)) < n:
        ungrouped = ranked[math.ceil(n * (1 - alpha) - 1e-9) - 1]
        size = effective_size(scores > ungrouped, groups)
    rank = math.ceil(n * (1 + 1 / size) * (1 - alpha) - 1e-9)
    return (float(ranked[rank - 1]) if rank <= n else 1.0), size
