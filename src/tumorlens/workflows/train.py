"""``train(config) -> RunResult``: the whole of a training run as one plain function."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tumorlens.data.splits import write_split
from tumorlens.errors import TumorLensError
from tumorlens.models.ensemble import EvidenceEnsemble
from tumorlens.models.quantization import check_bits, round_weights
from tumorlens.models.registry import build
from tumorlens.models.weights import load_network
from tumorlens.reporting.breakdown import breakdown
from tumorlens.runs.config import CONFIG_MODULE, CONFIG_NAME, plain
from tumorlens.runs.folder import chosen_run_dir, prepare_run_dir
from tumorlens.training.decoding import Parts, load_parts
from tumorlens.training.fit import fit
from tumorlens.training.initial_weights import (
    WEIGHTS_NAME,
    note_start,
    noted,
    refuse_leaks,
)
from tumorlens.training.measured import measured
from tumorlens.training.results import Fitted, RunResult
from tumorlens.training.trainer import (
    require_one_process,
)
from tumorlens.workflows.finish import check_finish, finish
from tumorlens.workflows.package import MODEL_NAME, package_model
from tumorlens.workflows.stages import (
    MEMBER_DIR,
    members_of,
    merged,
    polish_stages,
    resumed_folder,
    training_folders,
    whole_of,
)


def train(config: DictConfig, run_dir: Path | None = None) -> RunResult:
    """Train, choose on validation, calibrate, measure, export; then do what ``after`` asks for.

    With ``polish`` this happens twice: first without a guard and without the test, in the folder
    `FIRST` of the run's; then from those weights with the settings of ``polish``. A training that
    is done is not done again, and ``resume`` goes on with the one that its file lies in; a file of
    none of them is refused. With ``members`` all of this happens once for each of them, in folders
    of their own, and the run's network is their ensemble.

    Args:
        config: As :func:`~tumorlens.runs.config.compose_config` returns it.
        run_dir: Where results go; by default ``run_dir`` of the configuration, else Hydra's output
            folder, else ``runs/<date>_<time>``.

    Raises:
        ConfigError: A setting is wrong, ``init`` or ``resume`` does not fit, or the loss became
            infinite.
        ModelNotFoundError: ``init`` or the backbone's weights do not exist.
        DataError: The data or the split cannot be used; LeakageError when groups cross, or
            when the run of ``init``, or a member, has learnt from held-out scans of this one.
        OutputError: The run folder cannot be written.
        ExportError: torch and ONNX disagree.
    """
    config = config.copy()
    check_finish(config)
    check_bits(config.weight_bits)
    if config.get("members"):
        return _joined(config, chosen_run_dir(config, run_dir))
    if config.get("polish") is not None:
        return _polished(config, chosen_run_dir(config, run_dir))
    note_start(config)
    run_dir = prepare_run_dir(config, run_dir)
    parts = load_parts(config)
    return _packaged(config, parts, fit(config, parts, run_dir), run_dir)


def _packaged(config: DictConfig, parts: Parts, fitted: Fitted, run_dir: Path) -> RunResult:
    """Write the model file, and what ``after`` asks for."""
    calibration = fitted.calibration
    no_measure = ("train", calibration.fitted_on)
    parted = breakdown(fitted.answers, leave_out=no_measure, seed=config.seed)
    weights, model = package_model(
        config, fitted.network, parts, calibration, {**fitted.metrics, **parted}, run_dir
    )
    finish(config, parts, run_dir)
    return RunResult(
        run_dir,
        fitted.checkpoint,
        weights,
        model,
        fitted.metrics,
        fitted.best_epoch,
        fitted.epochs,
    )


def _polished(config: DictConfig, run_dir: Path) -> RunResult:
    """Train, and train on from there with the settings of ``polish``."""
    require_one_process(config, "polish")
    stages = polish_stages(config, run_dir)
    goes_on = resumed_folder(config.resume, training_folders(config, run_dir))
    again = False
    for stage, folder in stages[:-1]:
        resumed = goes_on == folder
        # The model file is written last, so it says that a training has come to its end.
        again = again or resumed or not (folder / MODEL_NAME).is_file()
        if again:
            train(merged(stage, {"resume": config.resume if resumed else None}), folder)
    last, folder = stages[-1]
    return train(merged(last, {"resume": config.resume if goes_on == folder else None}), folder)


def _joined(config: DictConfig, run_dir: Path) -> RunResult:
    """Train every one of ``members``, then calibrate, guard, measure and package their ensemble.

    A member that is done is not trained again; ``resume`` goes on with the one that its file lies
    in. Nothing of the whole is written before it is known that its held-out scans are new to all.
    Raises as `train` does.
    """
    require_one_process(config, "members")
    members = [
        (member, run_dir / MEMBER_DIR.format(at))
        for at, member in enumerate(members_of(config), start=1)
    ]
    whole = whole_of(config, [member for member, _ in members])
    trainings = [each for own in members for each in training_folders(*own)]
    goes_on = resumed_folder(config.resume, trainings)
    for member, folder in members:
        resumed = goes_on is not None and goes_on.is_relative_to(folder)
        if resumed or not (folder / MODEL_NAME).is_file():
            train(merged(member, {"resume": config.resume if resumed else None}), folder)
    parts = load_parts(whole)
    fitted = join(whole, parts, [folder / WEIGHTS_NAME for _, folder in members], run_dir)
    return _packaged(whole, parts, fitted, run_dir)


def join(config: DictConfig, parts: Parts, weights: Sequence[Path], run_dir: Path) -> Fitted:
    """Make the ensemble of members that have these weights, calibrate it, measure it.

    Nothing is written before it is known that its held-out scans are new to all.

    Args:
        config: As `whole_of` returns it; where the weights came from is noted in it.
        parts: What it is calibrated and measured on.
        weights: Each member's, beside the ``split.json`` of its training.
        run_dir: For ``config.yaml``, ``split.json``, ``metrics.json`` and ``predictions.csv``.

    Raises:
        LeakageError: A member has learnt from held-out scans of these parts.
        OutputError: The folder cannot be written.
    """
    config.joined_from = [noted(each) for each in weights]
    network = build(config.model.architecture, **plain(config.model.arguments))
    assert isinstance(network, EvidenceEnsemble)
    for own, path in zip(network.members, weights, strict=True):
        load_network(own, path)
        refuse_leaks("members", path, parts)
    round_weights(network, config.weight_bits)
    note_start(config)
    prepare_run_dir(config, run_dir)
    write_split(parts.split, run_dir / "split.json")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return measured(config, parts, network.to(device), device, run_dir, weights[0], (0, 0))


def main(arguments: Sequence[str]) -> list[RunResult]:
    """Run Hydra's command line on ``arguments``: overrides, ``-m`` sweeps, ``--help``.

    Returns one result a job. Raises what :func:`train` raises; in a sweep the first failure
    ends it. Under several processes (``trainer.devices``) all but the first end in `SystemExit`.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    results: list[RunResult] = []
    failures: list[TumorLensError] = []

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")
    def job(config: DictConfig) -> float:
        # Lightning starts the other processes of a run with the command this one was given.
        sys.argv = before
        try:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                require_one_process(config, "a sweep")
            results.append(train(config))
        except TumorLensError as error:
            # Hydra would print a traceback and exit; the caller knows how to say it better.
            failures.append(error)
            return math.nan
        estimate = results[-1].metrics.get("validation", {}).get("roc_auc")
        return estimate.value if estimate else math.nan

    before = sys.argv
    sys.argv = ["tumorlens train", *arguments]
    try:
        job()
    finally:
        sys.argv = before
    if failures:
        raise failures[0]
    return results
