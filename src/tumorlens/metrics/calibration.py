"""Calibration: logit to probability, temperature scaling, calibration error, reliability diagram.

`sigmoid` is written here because serving needs it and the base install has no scipy (35 MB).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError

Scheme = Literal["width", "mass"]
FloatType = TypeVar("FloatType", np.float32, np.float64)


def sigmoid(logit: ArrayLike) -> NDArray[np.float64]:
    """Return ``1 / (1 + exp(-logit))`` as float64 without overflow for any finite logit."""
    values = np.asarray(logit, dtype=np.float64)
    decay = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1 / (1 + decay), decay / (1 + decay)))


def calibrated_logit(
    logits: NDArray[FloatType], temperature: float, bias: float
) -> NDArray[FloatType]:
    """Return ``logits / temperature + bias``, the log-odds of a tumour, in the logits' dtype.

    The only place where temperature and bias are applied.
    """
    return np.asarray(logits / temperature + bias, dtype=logits.dtype)


def probability(logits: ArrayLike, temperature: float, bias: float) -> NDArray[np.float64]:
    """Return the calibrated P(tumour), ``sigmoid(logits / temperature + bias)``, as float64."""
    return sigmoid(calibrated_logit(np.asarray(logits, dtype=np.float64), temperature, bias))


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Return the temperature T > 0 that minimises the NLL of ``sigmoid(logits / T)``.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The NLL is convex in 1/T,
    so bisection of its derivative finds the minimum. T is limited to 0.02..50; a limit is reached
    only where the logit's sign is (nearly) always right or always wrong.

    Args:
        logits: float ``[N]``, from scans the network was not trained on.
        labels: 0 or 1, ``[N]``.
        weights: How much each scan counts, ``[N]``; None: all alike.

    Raises:
        DataError: No logits, lengths that differ, or only one class.
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if z.size == 0 or z.shape != y.shape or not 0 < y.sum() < y.size:
        raise DataError(
            f"temperature needs logits with labels of both classes; got {z.size} logits, "
            f"{y.size} labels, {int(y.sum())} tumours"
        )

    share = np.ones(z.size) if weights is None else np.asarray(weights, dtype=np.float64)

    def derivative(scale: float) -> float:
        return float(np.mean(share * (sigmoid(z * scale) - y) * z))

    # The derivative of a convex function increases, so bisection brackets its only zero. On a
    # logarithmic scale, forty steps leave a relative error below 1e-11.
    low, high = math.log(1 / 50), math.log(1 / 0.02)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if derivative(math.exp(middle)) > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: per non-empty bin the mean probability, the share of tumours, n.

    ``confidence`` and ``frequency`` are float64 ``[B]`` in 0..1, ``count`` int64 ``[B]``.
    """

    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]
    count: NDArray[np.int64]


def reliability(
    labels: ArrayLike, prob: ArrayLike, bins: int = 15, scheme: Scheme = "width"
) -> Reliability:
    """Bin P(tumour) by equal width over 0..1 or by equal mass (the same number of scans in each).

    Raises:
        DataError: No scans, lengths that differ, a probability outside 0..1, or ``bins`` < 1.
    """
    y, p = np.asarray(labels, dtype=np.float64), np.asarray(prob, dtype=np.float64)
    if y.size == 0 or y.shape != p.shape or bins < 1:
        raise DataError(f"reliability needs scans and bins; got {y.size}, {p.size}, bins={bins}")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("reliability needs probabilities in 0..1")
    index = bin_indices(p, bins, scheme)
    count = np.bincount(index, minlength=bins)
    occupied = count > 0
    size = count[occupied]
    return Reliability(
        np.bincount(index, weights=p, minlength=bins)[occupied] / size,
        np.bincount(index, weights=y, minlength=bins)[occupied] / size,
        size.astype(np.int64),
    )


def bin_indices(prob: NDArray[np.float64], bins: int, scheme: Scheme) -> NDArray[np.int64]:
    """Return the bin of each probability ``[N]``, 0 to ``bins`` - 1; see `reliability`."""
    if scheme == "width":
        return np.minimum((prob * bins).astype(np.int64), bins - 1)
    if scheme != "mass":
        raise DataError(f"binning scheme is {scheme!r}; use width or mass")
    rank = np.empty(prob.size, dtype=np.int64)
    rank[np.argsort(prob, kind="stable")] = np.arange(prob.size)
    return rank * bins // prob.size


def ece(labels: ArrayLike, prob: ArrayLike, bins: int = 15, scheme: Scheme = "width") -> float:
    """Return the expected calibration error of P(tumour), 0..1.

    ``sum_b (n_b / n) |frequency_b - confidence_b|``; Naeini et al., AAAI 2015, for the
    binary case on the positive class's probability. It is biased upwards for small n.
    """
    diagram = reliability(labels, prob, bins, scheme)
    gap = np.abs(diagram.frequency - diagram.confidence)
    return float((gap * diagram.count).sum() / diagram.count.sum())
