"""Scores of a trained network on the parts of its split, and the calibration they allow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.atomic import atomic_file
from tumorlens.data.manifest import Record, group_numbers
from tumorlens.metrics.calibration import fit_temperature, sigmoid
from tumorlens.metrics.decision import (
    Conformal,
    Threshold,
    fit_conformal,
    threshold_for_sensitivity,
)
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.summary import every_metric

# Fewer images of a class than this fix neither a temperature nor a threshold.
SMALLEST_CALIBRATION = 20
# Error rates of the conformal sets; the first one decides.
ALPHAS = (0.05, 0.1)
# The part that neither fitted weights nor chose the epoch.
UNSEEN_PART = "calibration"


@dataclass(frozen=True)
class Scores:
    """A part's logits, float64 ``[N]``, with labels int64 ``[N]`` and group ids ``[N]``."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """Temperature, threshold and conformal sets.

    Attributes:
        temperature: ``prob = sigmoid(logit / temperature)``.
        threshold: From this probability on a scan is predicted positive.
        fitted_on: The part both were fitted on, which is then no measure of the model; None
            when nothing was fitted.
        conformal: Quantiles by error rate, the deciding one first; None where no part was set
            apart for them, since sets fitted on scans that chose the epoch promise nothing.
    """

    temperature: float
    threshold: Threshold
    fitted_on: str | None = None
    conformal: tuple[Conformal, ...] | None = None


def score_logits(logits: NDArray[np.float64], records: Sequence[Record]) -> Scores:
    """Return logits ``[N]`` with what is known of their records, which have labels."""
    return Scores(
        logits,
        np.array([record.label for record in records], dtype=np.int64),
        group_numbers(records),
        tuple(record.source for record in records),
    )


def calibrate(scores: Scores, target_sensitivity: float, part: str) -> Calibration:
    """Fit temperature, threshold and conformal sets on scores the network was not trained on.

    The sets are fitted on the part ``calibration`` only. Temperature and threshold come from the
    same scans: the sets follow the order of the logits alone, so neither weakens their promise.
    With fewer than 20 images of either class nothing is fitted: temperature 1, threshold 0.5, no
    sets, and the threshold's origin says so.
    """
    tumours = int(scores.labels.sum())
    if min(tumours, len(scores.labels) - tumours) < SMALLEST_CALIBRATION:
        origin = f"not calibrated: {part} has {tumours} tumours in {len(scores.labels)} images"
        return Calibration(1.0, Threshold(0.5, None, origin, len(scores.labels)))
    temperature = fit_temperature(scores.logits, scores.labels)
    prob = sigmoid(scores.logits / temperature)
    origin = f"sensitivity {target_sensitivity:g} on {part} scans"
    threshold = threshold_for_sensitivity(scores.labels, prob, target_sensitivity, origin)
    conformal = conformal_sets(scores, temperature) if part == UNSEEN_PART else None
    return Calibration(temperature, threshold, part, conformal)


def conformal_sets(scores: Scores, temperature: float) -> tuple[Conformal, ...]:
    """Return the quantiles at every error rate, the deciding one first.

    Raises `DataError` when a class is missing.
    """
    prob = sigmoid(scores.logits / temperature)
    return tuple(fit_conformal(scores.labels, prob, alpha, scores.groups) for alpha in ALPHAS)


def measure(scores: Scores, calibration: Calibration, seed: int) -> dict[str, Estimate]:
    """Return every metric, both ECEs included, with its interval, at the calibrated threshold."""
    prob = sigmoid(scores.logits / calibration.temperature)
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
    with atomic_file(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())
