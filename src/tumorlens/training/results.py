"""What a training run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.scores import Calibration


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        run_dir: Holds config.yaml, split.json, metrics.json, predictions.csv, logs, curves.png,
            checkpoints, weights.pt, model.onnx and its cards.
        checkpoint: The best checkpoint on the monitored validation metric (the last one when
            the split has no validation part).
        weights: The network's weights alone.
        model: The exported model file with its card.
        metrics: Part → metric → estimate with interval and n.
        best_epoch: Epoch of ``checkpoint``, counted from 0.
        epochs: Epochs trained.
    """

    run_dir: Path
    checkpoint: Path
    weights: Path
    model: Path
    metrics: dict[str, dict[str, Estimate]]
    best_epoch: int
    epochs: int


@dataclass(frozen=True)
class Fitted:
    """A trained, measured network, before it is packaged; fields as in `RunResult`.

    Attributes:
        network: With the chosen epoch's weights.
        calibration: Temperature and threshold, fitted on held-out scans.
        answers: Part → what the network answers on its scans, calibrated.
    """

    network: nn.Module
    calibration: Calibration
    answers: dict[str, Predictions]
    metrics: dict[str, dict[str, Estimate]]
    checkpoint: Path
    best_epoch: int
    epochs: int
