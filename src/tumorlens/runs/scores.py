"""A trained network's logits on the parts of its split, and the calibration fitted to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.atomic import write_text
from tumorlens.data.manifest import Record, group_numbers
from tumorlens.metrics.calibration import fit_temperature, probability
from tumorlens.metrics.decision import (
    ALPHAS,
    Conformal,
    Threshold,
    fit_conformal,
    threshold_for_sensitivity,
)
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.summary import every_metric
from tumorlens.metrics.worst_case import pooled_strata, threshold_for_worst_stratum

# With fewer images of either class, neither temperature nor threshold is fitted.
SMALLEST_CALIBRATION = 20
# The part used neither to fit the weights nor to choose the epoch.
UNSEEN_PART = "calibration"


@dataclass(frozen=True)
class Scores:
    """A part's logits, float64 ``[N]``, with labels int64 ``[N]`` and group ids ``[N]``."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    sources: tuple[str, ...]
    findings: tuple[str | None, ...] = ()

    def strata(self) -> list[str]:
        """Return source and finding of each scan, ``[N]``."""
        findings = self.findings or (None,) * len(self.sources)
        return [f"{source} {each}" for source, each in zip(self.sources, findings, strict=True)]


@dataclass(frozen=True)
class Calibration:
    """Temperature, threshold and conformal sets.

    Attributes:
        temperature: ``prob = sigmoid(logit / temperature + bias)``.
        threshold: A scan is predicted positive at or above this probability.
        fitted_on: The part both were fitted on, which therefore does not measure the model; None
            when nothing was fitted.
        conformal: Quantiles by error rate, the one used for decisions first; None without a
            calibration part, since the coverage guarantee does not hold for sets fitted on scans
            that chose the epoch.
        bias: 0 except for the model file of a site, see ``tumorlens calibrate``.
        prior: Share of tumours among the scans the temperature was fitted on; None when nothing
            was fitted.
    """

    temperature: float
    threshold: Threshold
    fitted_on: str | None = None
    conformal: tuple[Conformal, ...] | None = None
    bias: float = 0.0
    prior: float | None = None


def score_logits(logits: NDArray[np.float64], records: Sequence[Record]) -> Scores:
    """Return logits ``[N]`` with labels, groups and sources of their records."""
    return Scores(
        logits,
        np.array([record.label for record in records], dtype=np.int64),
        group_numbers(records),
        tuple(record.source for record in records),
        tuple(record.shows for record in records),
    )


def calibrate(
    scores: Scores,
    target_sensitivity: float,
    part: str,
    target_specificity: float | None = None,
) -> Calibration:
    """Fit temperature, threshold and conformal sets on scores the network was not trained on.

    The sets are fitted on the part ``calibration`` only. Temperature and threshold may come from
    the same scans: the sets depend only on the order of the logits, so their coverage guarantee
    holds. With fewer than 20 images of either class nothing is fitted (temperature 1, threshold
    0.5, no sets), and the threshold's origin says so.

    With ``target_specificity`` sources weigh equally: the temperature is fitted so, and the
    threshold is that of the worst source and finding (`threshold_for_worst_stratum`).
    """
    tumours = int(scores.labels.sum())
    if min(tumours, len(scores.labels) - tumours) < SMALLEST_CALIBRATION:
        origin = f"not calibrated: {part} has {tumours} tumours in {len(scores.labels)} images"
        return Calibration(1.0, Threshold(0.5, None, origin, len(scores.labels)))
    temperature = _temperature(scores, by_source=target_specificity is not None)
    prob = probability(scores.logits, temperature, 0.0)
    threshold = _threshold(scores, prob, target_sensitivity, target_specificity, part)
    conformal = conformal_sets(scores, temperature, 0.0) if part == UNSEEN_PART else None
    prior = tumours / len(scores.labels)
    return Calibration(temperature, threshold, part, conformal, prior=prior)


def _temperature(scores: Scores, *, by_source: bool) -> float:
    if not by_source:
        return fit_temperature(scores.logits, scores.labels)
    _, place, sizes = np.unique(
        pooled_strata(scores.strata()), return_inverse=True, return_counts=True
    )
    return fit_temperature(scores.logits, scores.labels, 1 / sizes[place])


def _threshold(
    scores: Scores, prob: NDArray[np.float64], sensitivity: float, specificity: float | None,
    part: str,
) -> Threshold:  # fmt: skip
    if specificity is None:
        origin = f"sensitivity {sensitivity:g} on {part} scans"
        return threshold_for_sensitivity(scores.labels, prob, sensitivity, origin)
    origin = (
        f"the worst source nearest to sensitivity {sensitivity:g} and specificity "
        f"{specificity:g}, on {part} scans"
    )
    return threshold_for_worst_stratum(
        scores.labels, prob, scores.strata(), sensitivity, specificity, origin
    )


def conformal_sets(scores: Scores, temperature: float, bias: float) -> tuple[Conformal, ...]:
    """Return the quantiles at every error rate, the one used for decisions first.

    Raises `DataError` when a class is missing.
    """
    prob = probability(scores.logits, temperature, bias)
    return tuple(fit_conformal(scores.labels, prob, alpha, scores.groups) for alpha in ALPHAS)


def measure(scores: Scores, calibration: Calibration, seed: int) -> dict[str, Estimate]:
    """Return every metric, both ECEs included, with its interval, at the calibrated threshold."""
    prob = probability(scores.logits, calibration.temperature, calibration.bias)
    limit = calibration.threshold.value
    return every_metric(scores.labels, prob, groups=scores.groups, threshold=limit, seed=seed)


def write_metrics(
    metrics: dict[str, dict[str, Estimate]], calibration: Calibration, path: Path
) -> None:
    """Write every part's metrics with interval and n, and the calibration, as JSON."""
    content: dict[str, Any] = {
        "temperature": calibration.temperature,
        "threshold": calibration.threshold.value,
        "threshold_origin": calibration.threshold.origin,
        "parts": {part: to_dicts(values) for part, values in metrics.items()},
    }
    write_text(path, json.dumps(content, indent=1))
