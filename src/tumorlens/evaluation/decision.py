"""From a probability to a decision: threshold for a target, conformal sets, abstention."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tumorlens.errors import DataError

Decision = Literal["tumor", "healthy", "uncertain"]


@dataclass(frozen=True)
class Threshold:
    """The probability from which on a scan is called a tumour.

    Attributes:
        value: 0..1.
        target: The sensitivity it was chosen for, or None where it was not chosen by one.
        origin: In words, on which scans.
        n: Number of scans it was chosen on.
    """

    value: float
    target: float | None
    origin: str
    n: int


def threshold_for_sensitivity(
    labels: ArrayLike, prob: ArrayLike, target: float, origin: str
) -> Threshold:
    """Return the highest threshold that still calls ``target`` of the tumours a tumour.

    It lies midway between the last tumour that must be found and the next lower
    probability, so that rounding cannot lose that tumour.

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
    last = float(tumours[math.ceil(target * tumours.size - 1e-9) - 1])
    below = p[p < last]
    value = (last + float(below.max())) / 2 if below.size else last / 2
    return Threshold(value, target, origin, int(y.size))


@dataclass(frozen=True)
class Conformal:
    """Class-conditional split-conformal quantiles of ``1 - P(class)``.

    A class is in the prediction set when ``1 - P(class)`` is at most its quantile. For
    exchangeable scans each class is in its own scans' sets with probability at least
    ``1 - alpha``; Vovk, Conditional validity of inductive conformal predictors, ACML 2012.

    Attributes:
        alpha: Error rate, 0..1.
        tumor, healthy: The quantiles, 0..1.
        n_tumor, n_healthy: Calibration scans behind each.
    """

    alpha: float
    tumor: float
    healthy: float
    n_tumor: int
    n_healthy: int


def fit_conformal(labels: ArrayLike, prob: ArrayLike, alpha: float) -> Conformal:
    """Fit the quantiles on calibration scans.

    The quantile is the ``ceil((n + 1)(1 - alpha))``-th smallest score of the class, or 1 (the
    class is always in the set) when n is too small for that.

    Raises:
        DataError: A class without scans, lengths that differ, or alpha outside (0, 1).
    """
    y, p = np.asarray(labels), np.asarray(prob, dtype=np.float64)
    if y.shape != p.shape or not 0 < alpha < 1 or not 0 < np.count_nonzero(y == 1) < y.size:
        raise DataError(
            f"conformal sets need scans of both classes and alpha in (0, 1); got {y.size} labels, "
            f"{p.size} probabilities, alpha {alpha}"
        )
    tumour, healthy = 1 - p[y == 1], p[y == 0]
    return Conformal(
        alpha,
        _upper_quantile(tumour, alpha),
        _upper_quantile(healthy, alpha),
        int(tumour.size),
        int(healthy.size),
    )


def prediction_set(prob: float, conformal: Conformal) -> tuple[str, ...]:
    """Return the classes that P(tumour) ``prob`` does not rule out: none, one or both.

    The order is fixed: ``tumor`` before ``healthy``.
    """
    kept = (("tumor", 1 - prob, conformal.tumor), ("healthy", prob, conformal.healthy))
    return tuple(name for name, score, quantile in kept if score <= quantile)


def decide(prob: float, threshold: float, conformal: Conformal | None) -> Decision:
    """Return the decision: the label, or ``uncertain`` when the set does not hold just one class.

    Without conformal quantiles the label is the decision. A set of one class that is not the
    label at the threshold is uncertain too.
    """
    label: Decision = "tumor" if prob >= threshold else "healthy"
    if conformal is None or prediction_set(prob, conformal) == (label,):
        return label
    return "uncertain"


def _upper_quantile(
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]], alpha: float
) -> float:
    rank = math.ceil((scores.size + 1) * (1 - alpha) - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= scores.size else 1.0
