"""A network whose weights are final → its calibration and every figure, written down."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig

from tumorlens.runs.predictions import PREDICTIONS_NAME, predictions_of, write_predictions
from tumorlens.runs.scores import Scores, calibrate, measure, write_metrics
from tumorlens.training.decoding import Parts
from tumorlens.training.results import Fitted
from tumorlens.training.scoring import score


def measured(
    config: DictConfig,
    parts: Parts,
    network: torch.nn.Module,
    device: torch.device,
    run_dir: Path,
    checkpoint: Path,
    epochs: tuple[int, int],
) -> Fitted:
    """Calibrate and measure a network; write ``metrics.json`` and ``predictions.csv``.

    ``epochs`` are the one that was chosen, and how many there were. Raises `OutputError` when the
    run folder cannot be written.
    """
    scores = _score_parts(config, parts, network, device)
    held_out, part = _calibration_part(scores)
    calibration = calibrate(held_out, config.target_sensitivity, part)
    metrics = {name: measure(value, calibration, config.seed) for name, value in scores.items()}
    write_metrics(metrics, calibration, run_dir / "metrics.json")
    answers = {
        name: predictions_of(value, parts.records[name], calibration)
        for name, value in scores.items()
    }
    write_predictions(answers, run_dir / PREDICTIONS_NAME)
    return Fitted(network, calibration, answers, metrics, checkpoint, *epochs)


def _score_parts(
    config: DictConfig, parts: Parts, network: torch.nn.Module, device: torch.device
) -> dict[str, Scores]:
    """Score every part; the test part only when the run says that the time has come."""
    names = [name for name in parts.records if name != "test" or config.score_test]
    return {name: score(network, parts.records[name], parts.inputs[name], device) for name in names}


def _calibration_part(scores: dict[str, Scores]) -> tuple[Scores, str]:
    """Return the scans to calibrate on and their part's name; all parts are given.

    Those set apart for it, else validation, else none.
    """
    for part in ("calibration", "validation"):
        if part in scores:
            return scores[part], part
    empty = scores["train"]
    none = Scores(empty.logits[:0], empty.labels[:0], empty.groups[:0], ())
    return none, "the split's missing calibration part"
