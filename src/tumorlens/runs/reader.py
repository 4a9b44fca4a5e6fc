"""A finished run or cross-validation, read back: its settings, records and predictions."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import load_inputs
from tumorlens.data.splits import read_split
from tumorlens.errors import ConfigError, DataError
from tumorlens.inference.predictor import Predictor
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.compose import read_config
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.predictions import predictions_of, read_predictions
from tumorlens.runs.records import load_records, read_records
from tumorlens.runs.scores import Calibration, score_logits

log = structlog.get_logger(__name__)

_BATCH = 32


class RunData:
    """The contents of a run folder, each read once and only when needed.

    Raises `ConfigError` when the folder has no usable ``config.yaml``.
    """

    def __init__(self, run_dir: Path) -> None:
        self.folder = RunFolder(run_dir)
        self.config = read_config(self.folder.config)

    @cached_property
    def records(self) -> list[Record]:
        """All records of the run's data, ungrouped. Raises `DataError` when they are missing."""
        return read_records(self.config.data)

    @cached_property
    def grouped(self) -> list[Record]:
        """The labelled records with their groups; reads every file."""
        return load_records(self.config.data)

    def predictions(self, predictor: Predictor) -> dict[str, Predictions]:
        """Return the run's predictions by part; without ``predictions.csv`` they are recomputed.

        Raises:
            DataError: They were not stored, and the data is missing.
        """
        if self.folder.predictions.is_file():
            return read_predictions(self.folder.predictions)
        log.info("no stored predictions: computing them again")
        split, card = read_split(self.folder.split), predictor.card
        parts = self._measured()
        calibration = Calibration(card.temperature, card.threshold, bias=card.bias)
        tables = {}
        for part in parts:
            members = split.records(part, self.grouped)
            inputs, _ = load_inputs(members, card.preprocess, cache_dir=self.config.data.cache_dir)
            outputs = predictor.infer(np.asarray(inputs), _BATCH)
            scores = score_logits(outputs.logits.astype(np.float64), members)
            tables[part] = predictions_of(scores, members, calibration)
            log.info("predicted", part=part, images=len(members))
        return tables

    def _measured(self) -> list[str]:
        path = self.folder.metrics
        try:
            return list(json.loads(path.read_text(encoding="utf-8"))["parts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); train the run again") from error


def read_crossval(run_dir: Path) -> tuple[dict[str, Any], dict[str, Predictions]]:
    """Return the plan and the out-of-fold predictions of a cross-validation's folder.

    Raises:
        DataError: The predictions are missing or damaged.
        ConfigError: The plan is missing or damaged.
    """
    folds = read_predictions(RunFolder(run_dir).out_of_fold)
    return read_plan(run_dir), folds


def read_plan(run_dir: Path) -> dict[str, Any]:
    """Return a cross-validation's plan. Raises `ConfigError` when it cannot be read."""
    path = RunFolder(run_dir).crossval
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a cross-validation's plan ({error})") from error
    if not isinstance(plan, dict):
        raise ConfigError(f"{path}: not a cross-validation's plan")
    return plan
