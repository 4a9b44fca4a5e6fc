"""Calibration to a site: Platt scaling on labelled scans, the prior by EM on unlabelled ones.

Both start from the shipped calibrated logit ``x`` of a scan, ``logit / temperature + bias``, and
return log-odds ``slope * x + shift``. Scans of one group (near-duplicates, a person) count together
as one observation. Both use a weak prior at the shipped calibration, so that few scans cannot move
it without limit.

`python -m benchmarks.site_calibration` measures how many scans they need.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError
from tumorlens.metrics.calibration import sigmoid
from tumorlens.metrics.intervals import Floats

# Standard deviations of the normal priors of the slope around 1 and of the shift around 0: site
# slopes of 0.5 to 2 and shares of tumours from 0.1 to 0.9 lie within one or two of them.
_SLOPE_SD, _SHIFT_SD = 0.5, 2.0
# Weight of the shipped prior, in observations.
_PRIOR_COUNT = 1.0
# A flatter slope means that the answers have nothing to do with the labels, or contradict them.
SMALLEST_SLOPE = 0.05
_STEPS, _HALVINGS, _BISECTIONS = 40, 25, 50
FOLDS = 5


def log_odds(share: float) -> float:
    """Return ``log(share / (1 - share))``, for a share inside (0, 1)."""
    return math.log(share) - math.log1p(-share)


def fit_platt(x: Floats, labels: ArrayLike, groups: ArrayLike, weights: Floats) -> Floats:
    """Return slope and shift, float64 ``[2, B]``, for each row of scan weights ``[B, N]``.

    Maximum a posteriori by damped Newton steps of ``P(tumour) = sigmoid(slope * x + shift)``
    (Platt, Probabilistic outputs for support vector machines, 1999), with normal priors in place
    of his smoothed targets. The objective is strictly convex, so the maximum is unique. A row in
    which a class has no weight, or whose slope is below `SMALLEST_SLOPE`, gives ``nan``.

    Args:
        x: Shipped calibrated logits ``[N]``.
        labels: 0 or 1, ``[N]``.
        groups: Ids ``[N]``.
        weights: How often each scan counts, ``[B, N]``.
    """
    y = np.asarray(labels, dtype=np.float64)
    scaled = weights * (np.unique(np.asarray(groups)).size / y.size)
    found = np.repeat([[1.0], [0.0]], len(weights), axis=1)
    value = _objective(found, x, y, scaled)
    for _ in range(_STEPS):
        step = _newton_step(found, x, y, scaled)
        size = np.ones(len(weights))
        for _ in range(_HALVINGS):
            tried = found - size * step
            worse = _objective(tried, x, y, scaled) > value
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        else:
            tried = np.where(worse, found, tried)
        found, value = tried, _objective(tried, x, y, scaled)
        if np.abs(size * step).max() < 1e-9:
            break
    tumours = weights @ y
    undefined = (tumours == 0) | (tumours == weights.sum(axis=1)) | (found[0] < SMALLEST_SLOPE)
    return np.where(undefined, np.nan, found)


def _objective(found: Floats, x: Floats, y: Floats, weights: Floats) -> Floats:
    z = found[0][:, None] * x + found[1][:, None]
    loss = (weights * (np.logaddexp(0, z) - y * z)).sum(axis=1)
    penalty = ((found[0] - 1) / _SLOPE_SD) ** 2 + (found[1] / _SHIFT_SD) ** 2
    return np.asarray(loss + penalty / 2)


def _newton_step(found: Floats, x: Floats, y: Floats, weights: Floats) -> Floats:
    p = sigmoid(found[0][:, None] * x + found[1][:, None])
    residual, curvature = weights * (p - y), weights * p * (1 - p)
    g0 = residual @ x + (found[0] - 1) / _SLOPE_SD**2
    g1 = residual.sum(axis=1) + found[1] / _SHIFT_SD**2
    h00 = curvature @ x**2 + 1 / _SLOPE_SD**2
    h01, h11 = curvature @ x, curvature.sum(axis=1) + 1 / _SHIFT_SD**2
    determinant = h00 * h11 - h01**2
    return np.asarray(np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0]) / determinant)


def fit_prior(prob: Floats, shipped: float, groups: ArrayLike, weights: Floats) -> Floats:
    """Return the share of tumours among unlabelled scans, float64 ``[B]`` inside (0, 1).

    For each row of scan weights ``[B, N]``, the fixed point of the EM of Saerens, Latinne &
    Decaestecker (Adjusting the outputs of a classifier to new a priori probabilities, Neural
    Computation 14, 2002), with one observation at the shipped prior added. The log-likelihood is
    concave in the share, so bisection of its derivative finds the point that EM climbs to. Valid
    where tumours, and healthy heads, look as they did to the shipped calibration and only their
    shares differ.

    Args:
        prob: Shipped P(tumour) ``[N]``.
        shipped: The share of tumours that ``prob`` is calibrated for, inside (0, 1).
        groups: Ids ``[N]``.
        weights: How often each scan counts, ``[B, N]``.
    """
    tumour, healthy = prob / shipped, (1 - prob) / (1 - shipped)
    scaled = weights * (np.unique(np.asarray(groups)).size / prob.size)
    low, high = np.full(len(weights), -20.0), np.full(len(weights), 20.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        share = sigmoid(middle)[:, None]
        slope = (scaled * (tumour - healthy) / (share * tumour + (1 - share) * healthy)).sum(axis=1)
        share = share[:, 0]
        slope += _PRIOR_COUNT * (shipped / share - (1 - shipped) / (1 - share))
        low, high = np.where(slope > 0, middle, low), np.where(slope > 0, high, middle)
    return sigmoid((low + high) / 2)


def cross_validate(
    x: Floats, labels: ArrayLike, groups: ArrayLike, target: float, seed: int = 0
) -> tuple[Floats, Floats]:
    """Return log-odds and threshold of each scan, both ``[N]``, fitted without its group.

    By `fit_platt` and `threshold_values` on four of five folds, which are stratified by whether a
    group holds a tumour.

    Raises:
        DataError: The scans of four folds hold one class only, or contradict the labels.
    """
    y, ids = np.asarray(labels), np.asarray(groups)
    fold = group_folds(y, ids, seed)
    found, threshold = np.empty(y.size), np.empty(y.size)
    for number in range(FOLDS):
        test = fold == number
        others, once = (x[~test], y[~test]), np.ones((1, int((~test).sum())))
        fitted = fit_platt(*others, ids[~test], once)
        if not np.isfinite(fitted).all():
            raise DataError(
                "the scans cannot be cross-validated: without one fifth of their groups, one class "
                "is missing or the answers contradict the labels; add scans, and check the labels"
            )
        found[test] = fitted[0] * x[test] + fitted[1]
        threshold[test] = threshold_values(*others, target, fitted, once)
    return found, threshold


def group_folds(labels: ArrayLike, groups: ArrayLike, seed: int) -> NDArray[np.int64]:
    """Return the fold of each scan, int64 ``[N]`` in 0..4: groups whole, stratified by label."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    positive = np.bincount(member, weights=np.asarray(labels, dtype=np.float64)) > 0
    shuffled = np.random.default_rng(seed).permutation(positive.size)
    order = shuffled[np.argsort(positive[shuffled], kind="stable")]
    fold = np.empty(positive.size, dtype=np.int64)
    fold[order] = np.arange(positive.size) % FOLDS
    return np.asarray(fold[member], dtype=np.int64)


def threshold_values(
    x: Floats, labels: ArrayLike, target: float, fitted: Floats, weights: Floats
) -> Floats:
    """Return for each row of weights ``[B, N]`` the threshold ``[B]`` of this sensitivity.

    As `threshold_for_sensitivity` chooses it, at slope and shift ``[2, B]``; ``nan`` without
    tumours.
    """
    y, order = np.asarray(labels), np.argsort(-x, kind="stable")
    ordered, distinct = x[order], np.unique(x)
    # Of tied scans none is below another.
    at = np.searchsorted(distinct, ordered)
    below = np.where(at > 0, distinct[at - 1], -np.inf)
    found = np.cumsum(weights[:, order] * (y[order] == 1), axis=1)
    needed = np.ceil(target * found[:, -1] - 1e-9)
    lowest = (found < needed[:, None]).sum(axis=1).clip(max=x.size - 1)
    upper, lower = (sigmoid(fitted[0] * side[lowest] + fitted[1]) for side in (ordered, below))
    return np.where(found[:, -1] > 0, (upper + lower) / 2, np.nan)
