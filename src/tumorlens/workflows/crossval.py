"""Repeated grouped cross-validation: each scan is tested by a network trained without its group."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from tumorlens.atomic import write_text
from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split, data_digest
from tumorlens.errors import ConfigError, DataError, OutputError
from tumorlens.export.onnx import write_weights
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.out_of_fold import OutOfFold, out_of_fold_temperature
from tumorlens.metrics.summary import Predictions, summarize
from tumorlens.runs.config import RunConfig, check_one_process
from tumorlens.runs.folder import RunFolder, run_folder
from tumorlens.runs.predictions import concatenated, read_predictions, write_predictions
from tumorlens.runs.provenance import Provenance
from tumorlens.runs.reader import read_plan
from tumorlens.runs.records import load_records
from tumorlens.training.decoding import decode_parts
from tumorlens.training.initial_weights import starting_weights
from tumorlens.workflows.execution import execute
from tumorlens.workflows.folds import GROUPED, Decoded, FoldPlan
from tumorlens.workflows.package import package_model
from tumorlens.workflows.stages import member_configs, plan

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CrossvalResult:
    """The results of a cross-validation.

    Attributes:
        run_dir: Holds crossval.json (the plan), out_of_fold.csv, and a folder ``r0-f0`` … per fold
            with split.json, metrics.json, predictions.csv, curves, logs and weights.pt.
        folds: Out-of-fold predictions by ``r0/f0``: repeat, then fold.
        repeats: Per repeat, every metric over all scans, each predicted once.
        overall: Every metric over all repeats; the bootstrap resamples scans, not predictions.
        out_of_fold: The temperature of all out-of-fold logits, and each fold's predictions at
            the temperature of the other folds of its repeat; also in ``out_of_fold.json``.
        calibrated: Every metric of those predictions at the threshold 0.5. A fold's own
            temperature comes from its small calibration part, these from all other folds.
    """

    run_dir: Path
    folds: dict[str, Predictions]
    repeats: tuple[dict[str, Estimate], ...]
    overall: dict[str, Estimate]
    out_of_fold: OutOfFold
    calibrated: dict[str, Estimate]


def crossvalidate(
    config: RunConfig,
    n_folds: int = 5,
    repeats: int = 1,
    *,
    run_dir: Path | None = None,
    export: bool = False,
    folds_by: FoldPlan = GROUPED,
) -> CrossvalResult:
    """Train and test ``n_folds * repeats`` networks, or ensembles of ``members``, on grouped folds.

    Each fold sets aside, by group, the split's shares of validation (early stopping, choice of the
    epoch) and of calibration (temperature and threshold) from its own training side; its test scans
    are predicted once, at the end. Repeat ``r`` draws folds and seeds training with ``seed + r``.

    Called again on the same folder, finished folds are read, not trained; an interrupted fold is
    trained again.

    Args:
        config: As :func:`~tumorlens.runs.compose.compose_config` returns it.
        n_folds: At least 2, at most as many as there are groups.
        repeats: At least 1.
        run_dir: Where results go; as for `train`.
        export: Also write a model file for each fold.
        folds_by: How folds are drawn. The leaky ways are for the protocol table only; with copies,
            every copy is predicted too, under its own key.

    Raises:
        ConfigError: A setting is wrong, or the folder holds another cross-validation.
        DataError: As `train`.
        OutputError: The folder cannot be written.
    """
    _check(config, repeats)
    folder = run_folder(config, run_dir)
    plan(config, folder)  # raises for invalid settings of members
    provenance = Provenance(started_from=starting_weights(config))
    records = folds_by.records(load_records(config.data))
    requested = {
        "folds": n_folds,
        "repeats": repeats,
        "export": export,
        "data_sha256": data_digest(records),
        "config": {**config.to_plain(), "logger": None, "run_dir": None},
        **provenance.to_plain(),
        **folds_by.settings(),
    }
    if config.members:
        requested["members_started_from"] = [
            Provenance(started_from=starting_weights(each)).to_plain()["started_from"]
            for each in member_configs(config)
        ]
    _check_plan(folder, requested)  # before anything in the folder changes
    folder.begin(config, provenance)
    write_text(folder.crossval, json.dumps(requested, indent=1))
    splits = folds_by.splits(config, records, n_folds, repeats)
    folds = _run_folds(config, splits, records, folder, export, folds_by)
    write_predictions(folds, folder.out_of_fold)
    per_repeat = tuple(
        summarize(concatenated(_repeat(folds, repeat)), seed=config.seed)
        for repeat in range(repeats)
    )
    overall = summarize(concatenated(list(folds.values())), seed=config.seed)
    fitted = {name: _temperature(folder.fold(name)) for name in folds}
    out_of_fold = out_of_fold_temperature(folds, fitted, seed=config.seed)
    calibrated = summarize(concatenated(list(out_of_fold.predictions.values())), seed=config.seed)
    _write_out_of_fold(out_of_fold, calibrated, folder.out_of_fold_temperature)
    return CrossvalResult(folder.path, folds, per_repeat, overall, out_of_fold, calibrated)


def _temperature(fold: RunFolder) -> float:
    """Return the temperature of a finished fold's probabilities."""
    path = fold.metrics
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); remove the fold's folder and run it again"
        ) from error


def _write_out_of_fold(out_of_fold: OutOfFold, calibrated: dict[str, Estimate], path: Path) -> None:
    content = {
        "temperature": out_of_fold.temperature,
        "by_fold": out_of_fold.by_fold,
        "threshold": 0.5,
        "metrics": to_dicts(calibrated),
    }
    write_text(path, json.dumps(content, indent=1))


def _run_folds(
    config: RunConfig, splits: Sequence[Split], records: Sequence[Record], folder: RunFolder,
    export: bool, folds_by: FoldPlan,
) -> dict[str, Predictions]:  # fmt: skip
    decoded: Decoded | None = None
    folds: dict[str, Predictions] = {}
    for split in splits:
        name = split.name.partition("/")[2]
        fold = folder.fold(name)
        if not _is_finished(fold, export):
            if decoded is None:  # once for all folds, and only if one is left to train
                decoded = folds_by.decoded(config, records)
            _train_fold(config, split, records, decoded, fold, export)
        folds[name] = read_predictions(fold.predictions)["test"]
        log.info("fold finished", fold=name, scans=len(folds[name]))
    return folds


def _train_fold(
    config: RunConfig, split: Split, records: Sequence[Record], decoded: Decoded, fold: RunFolder,
    export: bool,
) -> None:  # fmt: skip
    """Run a fold's stages on its own parts, as in a run; the test part is always measured."""
    if fold.path.exists():  # interrupted: its logs and checkpoints would mix with new ones
        _remove(fold.path)
    seed = split.seed - config.data.split.seed + config.seed
    config = replace(config, seed=seed, score_test=True)
    parts = decode_parts(config, split, records, decoded)
    stages = plan(config, fold)
    for stage in stages:
        trained = execute(stage, parts)
        if not stage.joins:  # large optimiser states that are not needed any more
            _remove(stage.folder.checkpoints)
        if export and stage is stages[-1]:
            package_model(trained)
        else:
            write_weights(trained.network, stage.folder.weights)


def _is_finished(fold: RunFolder, export: bool) -> bool:
    """Whether the last file that a fold writes is there."""
    last = fold.model if export else fold.weights
    return last.is_file() and fold.predictions.is_file()


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be cleared ({error}); check its permissions"
        ) from error


def _repeat(folds: dict[str, Predictions], repeat: int) -> list[Predictions]:
    return [table for name, table in folds.items() if name.startswith(f"r{repeat}/")]


def _check(config: RunConfig, repeats: int) -> None:
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; it must be at least 1")
    check_one_process(config, "cross-validation")
    if config.finetune is not None:
        raise ConfigError("cross-validation has no fine-tuning stage; set finetune=null")
    split = config.data.split
    if split.path is not None or split.held_out:
        raise ConfigError(
            "cross-validation makes its own folds over all sources; leave data.split.path and "
            "data.split.held_out unset"
        )
    if config.resume is not None:
        raise ConfigError(
            "resume names one run's checkpoint; a cross-validation resumes by itself when it is "
            "given its folder again (run_dir=…)"
        )


def _check_plan(folder: RunFolder, requested: dict[str, Any]) -> None:
    if not folder.crossval.exists():
        return
    found = read_plan(folder.path)
    different = sorted(key for key in requested if found.get(key) != requested[key])
    if different:
        raise ConfigError(
            f"{folder.path}: holds another cross-validation (other {', '.join(different)}); use "
            "its settings, or another run_dir"
        )
