"""A finished cross-validation, read back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tumorlens.errors import ConfigError
from tumorlens.metrics.summary import Predictions
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.predictions import read_predictions


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
