"""Calibrate a trained network, and compute and write its metrics and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tumorlens.data.manifest import Record
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.predictions import predictions_of, write_predictions
from tumorlens.runs.scores import (
    Calibration,
    Scores,
    calibrate,
    measure,
    score_logits,
    write_metrics,
)
from tumorlens.training.decoding import Parts


@dataclass(frozen=True)
class Measured:
    """The measurements of a network.

    Attributes:
        calibration: Temperature and threshold, fitted on held-out scans.
        predictions: Part → calibrated predictions on its scans.
        metrics: Part → metric → estimate with interval and n.
    """

    calibration: Calibration
    predictions: dict[str, Predictions]
    metrics: dict[str, dict[str, Estimate]]


def measured(config: RunConfig, parts: Parts, network: nn.Module, folder: RunFolder) -> Measured:
    """Calibrate and measure a network on its device; write its metrics and predictions.

    The test part is measured only with ``score_test``. Raises
    `OutputError` when the run folder cannot be written.
    """
    names = [name for name in parts.records if name != "test" or config.score_test]
    scores = {name: score(network, parts.records[name], parts.inputs[name]) for name in names}
    held_out, part = _calibration_part(scores)
    calibration = calibrate(held_out, config.target_sensitivity, part, config.target_specificity)
    metrics = {name: measure(value, calibration, config.seed) for name, value in scores.items()}
    write_metrics(metrics, calibration, folder.metrics)
    predictions = {
        name: predictions_of(value, parts.records[name], calibration)
        for name, value in scores.items()
    }
    write_predictions(predictions, folder.predictions)
    return Measured(calibration, predictions, metrics)


def score(network: nn.Module, records: Sequence[Record], inputs: NDArray[np.float32]) -> Scores:
    """Return the network's scores on records with known labels."""
    return score_logits(logits_of(network, inputs), records)


@torch.no_grad()
def logits_of(
    network: nn.Module, inputs: NDArray[np.float32], batch_size: int = 64
) -> NDArray[np.float64]:
    """Return float32-computed logits ``[N]`` of ``inputs`` ``[N, C, S, S]``."""
    network = network.eval().float()
    device = next(network.parameters()).device
    chunks = [
        network(torch.from_numpy(np.array(inputs[start : start + batch_size])).to(device)).logit
        for start in range(0, len(inputs), batch_size)
    ]
    return torch.cat(chunks).double().cpu().numpy() if chunks else np.zeros(0)


def _calibration_part(scores: dict[str, Scores]) -> tuple[Scores, str]:
    """Return the scores to calibrate on and their part: calibration, else validation, else none."""
    for part in ("calibration", "validation"):
        if part in scores:
            return scores[part], part
    empty = scores["train"]
    none = Scores(empty.logits[:0], empty.labels[:0], empty.groups[:0], ())
    return none, "the split's missing calibration part"
