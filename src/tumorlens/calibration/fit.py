"""The values of a site's calibration: temperature, bias, threshold, conformal sets, the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.calibration.enough import check_labelled, check_unlabelled
from tumorlens.calibration.scans import SiteScans
from tumorlens.errors import DataError
from tumorlens.metrics.calibration import calibrated_logit, probability, sigmoid
from tumorlens.metrics.decision import (
    ALPHAS,
    Conformal,
    Threshold,
    fit_conformal,
    threshold_for_sensitivity,
)
from tumorlens.metrics.intervals import Estimate, Floats, bootstrap
from tumorlens.metrics.site import (
    SMALLEST_SLOPE,
    cross_validate,
    fit_platt,
    fit_prior,
    log_odds,
    threshold_values,
)
from tumorlens.metrics.summary import ece_difference, ece_estimate
from tumorlens.modelfile import ModelCard, SiteMetric, SiteValue
from tumorlens.modelfile.site import MetricName

N_BOOT = 1000


@dataclass(frozen=True)
class Fitted:
    """A calibration and the intervals of its values; the fields of the same names on the card."""

    temperature: SiteValue
    bias: SiteValue
    prior: SiteValue
    threshold: Threshold
    threshold_interval: SiteValue
    conformal: tuple[Conformal, ...] | None
    metrics: tuple[SiteMetric, ...] = ()


def fit_labelled(card: ModelCard, scans: SiteScans, target: float, seed: int) -> Fitted:
    """Fit temperature and bias (Platt scaling), threshold and conformal sets to labelled scans.

    The metrics are cross-validated by group: no scan is measured at values that it, or a scan of
    its group, was fitted on.

    Args:
        card: The shipped calibration.
        scans: With labels.
        target: The sensitivity that the threshold is to reach, in (0, 1].
        seed: Seed of folds and bootstrap.

    Raises:
        DataError: Fewer than 30 groups of a class, or answers that contradict the labels.
    """
    assert scans.labels is not None
    y, groups, n = scans.labels, scans.groups, len(scans.logits)
    check_labelled(scans)
    x = calibrated_logit(scans.logits, card.temperature, card.bias)

    def values(weights: Floats) -> dict[str, Floats]:
        slope, shift = fitted = fit_platt(x, y, groups, weights)
        return {
            "slope": slope,
            "temperature": card.temperature / slope,
            "bias": slope * card.bias + shift,
            "threshold": threshold_values(x, y, target, fitted, weights),
            "prior": weights @ y / weights.sum(axis=1),
        }

    found = bootstrap(values, groups, n_boot=N_BOOT, seed=seed)
    if not np.isfinite(found["slope"].value):
        raise DataError(
            "the model's answers do not follow the labels (the fitted slope of the log-odds is "
            f"below {SMALLEST_SLOPE:g}), so no calibration helps: check that tumour and healthy "
            "scans are not interchanged, and whether this model knows scans of this kind"
        )
    temperature, bias = found["temperature"].value, found["bias"].value
    prob = probability(scans.logits, temperature, bias)
    origin = f"sensitivity {target:g} on {n} scans of the site"
    threshold = threshold_for_sensitivity(y, prob, target, origin)
    alphas = [entry.alpha for entry in card.conformal] if card.conformal else ALPHAS
    return Fitted(
        _site_value(found["temperature"]),
        _site_value(found["bias"]),
        _site_value(found["prior"]),
        threshold,
        _site_value(replace(found["threshold"], value=threshold.value)),
        tuple(fit_conformal(y, prob, alpha, groups) for alpha in alphas),
        _metrics(card, scans, x, target, seed),
    )


def fit_unlabelled(card: ModelCard, scans: SiteScans, seed: int) -> Fitted:
    """Fit the share of tumours to unlabelled scans, and move everything to it.

    The card must state its prior.

    Raises:
        DataError: Fewer than 60 groups of scans.
    """
    assert card.prior is not None
    check_unlabelled(scans)
    shipped = card.prior
    prob = probability(scans.logits, card.temperature, card.bias)

    def values(weights: Floats) -> dict[str, Floats]:
        return {"prior": fit_prior(prob, shipped, scans.groups, weights)}

    found = bootstrap(values, scans.groups, n_boot=N_BOOT, seed=seed)["prior"]
    return moved_to(as_shipped(card), _site_value(found))


def as_shipped(card: ModelCard) -> Fitted:
    """Return the card's own values, without intervals; the card must state its prior."""
    assert card.prior is not None
    return Fitted(
        SiteValue(value=card.temperature),
        SiteValue(value=card.bias),
        SiteValue(value=card.prior),
        card.threshold,
        SiteValue(value=card.threshold.value),
        card.conformal,
    )


def moved_to(fitted: Fitted, prior: SiteValue) -> Fitted:
    """Move a calibration to another share of tumours; every label and decision stays as it is.

    Bayes' rule adds the difference of the priors' log-odds to those of every scan. Threshold and
    conformal quantiles move along: how tumours and healthy scans look, and so sensitivity,
    specificity and coverage by class, do not depend on their shares.
    """
    shipped = log_odds(fitted.prior.value)

    def moved(value: SiteValue, add: Callable[[float, float], float]) -> SiteValue:
        """Return a value, moved; its interval is that of the prior, or else its own, moved."""
        move = log_odds(prior.value) - shipped
        low, high = value.low, value.high
        if prior.low is not None and prior.high is not None:
            low, high = (
                add(value.value, log_odds(end) - shipped) for end in (prior.low, prior.high)
            )
        elif low is not None and high is not None:
            low, high = add(low, move), add(high, move)
        return SiteValue(value=add(value.value, move), low=low, high=high)

    move, at = log_odds(prior.value) - shipped, moved(fitted.threshold_interval, _moved_share)
    origin = fitted.threshold.origin.partition(", moved to")[0]
    conformal = fitted.conformal and tuple(
        replace(
            entry,
            tumor=1 - _moved_share(1 - entry.tumor, move),
            healthy=_moved_share(entry.healthy, move),
        )
        for entry in fitted.conformal
    )
    return replace(
        fitted,
        bias=moved(fitted.bias, lambda bias, by: bias + by),
        prior=prior,
        threshold=replace(
            fitted.threshold,
            value=at.value,
            origin=f"{origin}, moved to a share of tumours of {prior.value:.3g}",
        ),
        threshold_interval=at,
        conformal=conformal,
    )


def _moved_share(share: float, move: float) -> float:
    """Return a probability after adding ``move`` to its log-odds; 0 and 1 stay."""
    return float(sigmoid(log_odds(share) + move)) if 0 < share < 1 else share


def _metrics(
    card: ModelCard, scans: SiteScans, x: Floats, target: float, seed: int
) -> tuple[SiteMetric, ...]:
    """Return log loss, ECE, sensitivity and specificity before and after, cross-validated."""
    assert scans.labels is not None
    y, groups = scans.labels, scans.groups
    after, threshold = cross_validate(x, y, groups, target, seed)
    p, q = sigmoid(x), sigmoid(after)
    losses = [np.logaddexp(0, z) - y * z for z in (x, after)]
    right = [(p >= card.threshold.value) == y, (q >= threshold) == y]
    everyone = np.ones(len(y), dtype=bool)
    error = {
        "before": ece_estimate(y, p, "width", groups=groups, n_boot=N_BOOT, seed=seed),
        "after": ece_estimate(y, q, "width", groups=groups, n_boot=N_BOOT, seed=seed),
        "difference": ece_difference(y, p, q, groups=groups, n_boot=N_BOOT, seed=seed),
    }
    found: dict[MetricName, dict[str, Estimate]] = {
        "log_loss": _paired(losses[0], losses[1], everyone, groups, seed),
        "ece": error,
        "sensitivity": _paired(right[0], right[1], y == 1, groups, seed),
        "specificity": _paired(right[0], right[1], y == 0, groups, seed),
    }
    return tuple(
        SiteMetric(name=name, **{key: _site_value(each) for key, each in estimates.items()})
        for name, estimates in found.items()
    )


def _paired(
    before: NDArray[Any],
    after: NDArray[Any],
    rows: NDArray[np.bool_],
    groups: NDArray[Any],
    seed: int,
) -> dict[str, Estimate]:
    """Return the means of both ``[N]`` over ``rows``, and their difference, resampled alike."""
    one, other = (values[rows].astype(np.float64) for values in (before, after))
    values = {"before": one, "after": other, "difference": other - one}

    def mean(weights: Floats) -> dict[str, Floats]:
        return {name: weights @ value / weights.sum(axis=1) for name, value in values.items()}

    return bootstrap(mean, groups[rows], n_boot=N_BOOT, seed=seed)


def _site_value(estimate: Estimate) -> SiteValue:
    return SiteValue(
        value=estimate.value,
        low=min(estimate.low, estimate.value),
        high=max(estimate.high, estimate.value),
    )
