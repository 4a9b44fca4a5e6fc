"""Repeated grouped cross-validation: every scan is tested by a network that never saw its group."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from omegaconf import DictConfig

from tumorlens.atomic import atomic_file
from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split, data_digest
from tumorlens.errors import ConfigError, DataError, OutputError
from tumorlens.export.onnx import write_weights
from tumorlens.metrics.intervals import Estimate, to_dicts
from tumorlens.metrics.out_of_fold import OutOfFold, out_of_fold_temperature
from tumorlens.metrics.summary import Predictions, summarize
from tumorlens.runs.config import plain, without_logger
from tumorlens.runs.folder import prepare_run_dir
from tumorlens.runs.folds import (
    OUT_OF_FOLD_NAME,
    PLAN_NAME,
    TEMPERATURE_NAME,
    read_plan,
)
from tumorlens.runs.predictions import (
    PREDICTIONS_NAME,
    concatenated,
    read_predictions,
    write_predictions,
)
from tumorlens.runs.records import load_records
from tumorlens.training.decoding import Parts, decode_parts
from tumorlens.training.fit import fit
from tumorlens.training.initial_weights import WEIGHTS_NAME, note_start
from tumorlens.training.results import Fitted
from tumorlens.training.trainer import CHECKPOINTS, require_one_process
from tumorlens.workflows.folds import GROUPED, Decoded, FoldPlan
from tumorlens.workflows.package import MODEL_NAME, package_model
from tumorlens.workflows.stages import MEMBER_DIR, members_of, whole_of
from tumorlens.workflows.train import join

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CrossvalResult:
    """What a cross-validation left behind.

    Attributes:
        run_dir: Holds crossval.json (the plan), out_of_fold.csv, and a folder ``r0-f0`` … per fold
            with split.json, metrics.json, predictions.csv, curves, logs and weights.pt.
        folds: Out-of-fold answers by ``r0/f0``: repeat, then fold.
        repeats: Per repeat, every metric over all scans, each answered once.
        overall: Every metric over all repeats; scans, not answers, are resampled.
        out_of_fold: The temperature that all out-of-fold logits give, and each fold's answers at
            that of the other folds of its repeat; in ``out_of_fold.json`` too.
        calibrated: Every metric of those answers, at the threshold 0.5: a fold's own temperature
            and threshold rest on its own small calibration part, these on all other folds.
    """

    run_dir: Path
    folds: dict[str, Predictions]
    repeats: tuple[dict[str, Estimate], ...]
    overall: dict[str, Estimate]
    out_of_fold: OutOfFold
    calibrated: dict[str, Estimate]


def crossvalidate(
    config: DictConfig,
    n_folds: int = 5,
    repeats: int = 1,
    *,
    run_dir: Path | None = None,
    export: bool = False,
    folds_by: FoldPlan = GROUPED,
) -> CrossvalResult:
    """Train and test ``n_folds * repeats`` networks, or ensembles of ``members``, on grouped folds.

    Each fold sets aside, by group, the split's shares of validation (to stop and choose by) and of
    calibration (temperature and threshold) from its own training side; its test scans are answered
    once, at the end. Repeat ``r`` draws folds and seeds the training with ``seed + r``.

    Called again on the same folder, finished folds are read, not trained; a fold that was cut off
    is trained anew.

    Args:
        config: As :func:`~tumorlens.runs.config.compose_config` returns it.
        n_folds: At least 2, at most as many as there are groups.
        repeats: At least 1.
        run_dir: Where results go; as for `train`.
        export: Also write a model file for each fold.
        folds_by: How folds are drawn. The ways that leak are for the protocol table alone; with
            copies, every copy is answered too, under a key of its own.

    Raises:
        ConfigError: A setting is wrong, or the folder holds another cross-validation.
        DataError: As `train`.
        OutputError: The folder cannot be written.
    """
    config = config.copy()
    _check(config, repeats)
    note_start(config)
    members = members_of(config) if config.get("members") else []
    for member in members:
        note_start(member)
    records = folds_by.records(load_records(config))
    plan = {
        "folds": n_folds,
        "repeats": repeats,
        "export": export,
        "data_sha256": data_digest(records),
        "config": {**plain(without_logger(config)), "run_dir": None},
        **folds_by.settings(),
    }
    if members:
        plan["members_started_from"] = [plain(member).get("started_from") for member in members]
    if run_dir is None and config.run_dir is not None:
        run_dir = Path(config.run_dir)
    if run_dir is not None:
        _check_plan(run_dir, plan)  # before anything in the folder is touched
    run_dir = prepare_run_dir(config, run_dir)
    with atomic_file(run_dir / PLAN_NAME) as stream:
        stream.write(json.dumps(plan, indent=1).encode())
    splits = folds_by.splits(config, records, n_folds, repeats)
    folds = _run_folds(config, splits, records, run_dir, export, folds_by)
    write_predictions(folds, run_dir / OUT_OF_FOLD_NAME)
    per_repeat = tuple(
        summarize(concatenated(_repeat(folds, repeat)), seed=config.seed)
        for repeat in range(repeats)
    )
    overall = summarize(concatenated(list(folds.values())), seed=config.seed)
    fitted = {name: _temperature(run_dir / name.replace("/", "-")) for name in folds}
    found = out_of_fold_temperature(folds, fitted, seed=config.seed)
    calibrated = summarize(concatenated(list(found.answers.values())), seed=config.seed)
    _write_out_of_fold(found, calibrated, run_dir / TEMPERATURE_NAME)
    return CrossvalResult(run_dir, folds, per_repeat, overall, found, calibrated)


def _temperature(folder: Path) -> float:
    """Return the temperature a finished fold's probabilities were made with."""
    path = folder / "metrics.json"
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); remove the fold's folder and run it again"
        ) from error


def _write_out_of_fold(found: OutOfFold, calibrated: dict[str, Estimate], path: Path) -> None:
    content = {
        "temperature": found.temperature,
        "by_fold": found.by_fold,
        "threshold": 0.5,
        "metrics": to_dicts(calibrated),
    }
    with atomic_file(path) as stream:
        stream.write(json.dumps(content, indent=1).encode())


def _run_folds(
    config: DictConfig, splits: Sequence[Split], records: Sequence[Record], run_dir: Path,
    export: bool, folds_by: FoldPlan,
) -> dict[str, Predictions]:  # fmt: skip
    decoded: Decoded | None = None
    folds: dict[str, Predictions] = {}
    for split in splits:
        name = split.name.partition("/")[2]
        folder = run_dir / name.replace("/", "-")
        if not _is_finished(folder, export):
            if decoded is None:  # once for all folds, and not at all when there is nothing to do
                decoded = folds_by.decoded(config, records)
            _train_fold(config, split, records, decoded, folder, export)
        folds[name] = read_predictions(folder / PREDICTIONS_NAME)["test"]
        log.info("fold done", fold=name, scans=len(folds[name]))
    return folds


def _train_fold(
    config: DictConfig, split: Split, records: Sequence[Record], decoded: Decoded, folder: Path,
    export: bool,
) -> None:  # fmt: skip
    if folder.exists():  # cut off: its logs and checkpoints would mix with the new ones
        _remove(folder)
    config = config.copy()
    config.seed = split.seed - int(config.data.split.seed) + int(config.seed)
    config.score_test = True
    parts = decode_parts(config, split, records, decoded)
    if config.get("members"):
        members = members_of(config)
        weights = [
            _trained(member, parts, folder / MEMBER_DIR.format(at))
            for at, member in enumerate(members, start=1)
        ]
        config = whole_of(config, members)
        fitted = join(config, parts, weights, folder)
    else:
        prepare_run_dir(config, folder)
        fitted = _fitted(config, parts, folder)
    if export:
        package_model(config, fitted.network, parts, fitted.calibration, fitted.metrics, folder)
    else:
        write_weights(fitted.network, folder / WEIGHTS_NAME)


def _trained(member: DictConfig, parts: Parts, folder: Path) -> Path:
    """Train a member of a fold's ensemble; return the file of its weights."""
    prepare_run_dir(member, folder)
    path = folder / WEIGHTS_NAME
    write_weights(_fitted(member, parts, folder).network, path)
    return path


def _fitted(config: DictConfig, parts: Parts, folder: Path) -> Fitted:
    fitted = fit(config, parts, folder)
    # Optimiser states are three times the weights, and a finished fold needs none.
    _remove(folder / CHECKPOINTS)
    return fitted


def _is_finished(folder: Path, export: bool) -> bool:
    """The last file written says that the fold is whole."""
    last = folder / (MODEL_NAME if export else WEIGHTS_NAME)
    return last.is_file() and (folder / PREDICTIONS_NAME).is_file()


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be cleared ({error}); check its permissions"
        ) from error


def _repeat(folds: dict[str, Predictions], repeat: int) -> list[Predictions]:
    return [table for name, table in folds.items() if name.startswith(f"r{repeat}/")]


def _check(config: DictConfig, repeats: int) -> None:
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; it must be at least 1")
    require_one_process(config, "cross-validation")
    if config.get("polish") is not None:
        raise ConfigError(
            "a cross-validation trains a fold's networks once; leave polish out (polish=null)"
        )
    split = config.data.split
    if split.path is not None or split.held_out:
        raise ConfigError(
            "cross-validation makes its own folds over all sources; leave data.split.path and "
            "data.split.held_out unset"
        )
    if config.resume is not None:
        raise ConfigError(
            "resume names one run's checkpoint; a cross-validation goes on by itself when it is "
            "given its folder again (run_dir=…)"
        )


def _check_plan(run_dir: Path, plan: dict[str, Any]) -> None:
    if not (run_dir / PLAN_NAME).exists():
        return
    found = read_plan(run_dir)
    different = sorted(key for key in plan if found.get(key) != plan[key])
    if different:
        raise ConfigError(
            f"{run_dir}: holds another cross-validation (other {', '.join(different)}); go on with "
            "its settings, or choose another run_dir"
        )
