"""``train(config) -> RunResult``: a training run as one function, and its command line."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from tumorlens.errors import TumorLensError
from tumorlens.evaluation.shortcuts.probes import check_installed
from tumorlens.metrics.intervals import Estimate
from tumorlens.runs.compose import CONFIG_MODULE, CONFIG_NAME, from_hydra
from tumorlens.runs.config import RunConfig, check_one_process, check_test
from tumorlens.runs.folder import run_folder
from tumorlens.workflows.execution import execute
from tumorlens.workflows.finish import finish
from tumorlens.workflows.package import package_model
from tumorlens.workflows.stages import Stage, outstanding, plan, resumed_stage


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Attributes:
        run_dir: Holds the files that `tumorlens.runs.folder.RunFolder` names.
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


def train(config: RunConfig, run_dir: Path | None = None) -> RunResult:
    """Train, select on validation, calibrate, measure and export; then run the steps of ``after``.

    The run is a plan of stages (see `tumorlens.workflows.stages.plan`), each in a folder of its
    own. Finished stages are not repeated, except for the last; ``resume`` continues the stage whose
    folder holds its file, and any other file is refused.

    Args:
        config: As :func:`~tumorlens.runs.compose.compose_config` returns it.
        run_dir: Where results go; by default ``run_dir`` of the configuration, else
            ``runs/<date>_<time>``.

    Raises:
        ConfigError: A setting is wrong, ``init`` or ``resume`` does not fit, or the loss became
            infinite.
        ModelNotFoundError: ``init`` or the backbone's weights do not exist.
        DataError: The data or the split cannot be used; LeakageError when groups cross the split,
            or when ``init``, or a member, was trained on held-out scans of this run.
        LostProcessError: Another process of the training has ended.
        MissingExtraError: scikit-learn is not installed, and the shortcut tests need it.
        OutputError: The run folder cannot be written.
        ExportError: torch and ONNX disagree.
    """
    check_test(config)
    if config.after.shortcuts:
        check_installed()
    stages = plan(config, run_folder(config, run_dir))
    resumed = resumed_stage(config.resume, stages)
    *before, last = outstanding(stages, resumed)
    for stage in before:
        _run(_resumed(stage, resumed, config.resume))
    return _run(_resumed(last, resumed, config.resume))


def _resumed(stage: Stage, resumed: Stage | None, resume: Path | None) -> Stage:
    return replace(stage, config=replace(stage.config, resume=resume if stage == resumed else None))


def _run(stage: Stage) -> RunResult:
    trained = execute(stage)
    package_model(trained)
    finish(trained)
    folder, fitted = stage.folder, trained.fitted
    return RunResult(
        folder.path,
        fitted.checkpoint,
        folder.weights,
        folder.model,
        trained.measured.metrics,
        fitted.best_epoch,
        fitted.epochs,
    )


def main(arguments: Sequence[str]) -> list[RunResult]:
    """Run Hydra's command line on ``arguments``: overrides, ``-m`` sweeps, ``--help``.

    Returns one result per job. Raises what :func:`train` raises; the first failure ends a
    sweep. Under several processes (``trainer.devices``) all but the first end in `SystemExit`.
    """
    for library in ("lightning.pytorch", "faiss.loader"):
        logging.getLogger(library).setLevel(logging.WARNING)
    results: list[RunResult] = []
    failures: list[TumorLensError] = []

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")
    def job(composed: Any) -> float:
        # Lightning starts the other processes of a run from this command line.
        sys.argv = original_argv
        try:
            config = from_hydra(composed)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                check_one_process(config, "a sweep")
            results.append(train(config))
        except TumorLensError as error:
            # Hydra would print a traceback and exit; the caller reports the error.
            failures.append(error)
            return math.nan
        estimate = results[-1].metrics.get("validation", {}).get("roc_auc")
        return estimate.value if estimate else math.nan

    original_argv = sys.argv
    sys.argv = ["tumorlens train", *arguments]
    try:
        job()
    finally:
        sys.argv = original_argv
    if failures:
        raise failures[0]
    return results
