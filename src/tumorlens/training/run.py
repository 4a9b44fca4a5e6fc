"""``train(config) -> RunResult``: the whole of a training run as one plain function."""

from __future__ import annotations

import datetime
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig, OmegaConf

from tumorlens.atomic import atomic_file
from tumorlens.data.splits import write_split
from tumorlens.errors import ConfigError, OutputError, TumorLensError
from tumorlens.evaluation.metrics import Estimate
from tumorlens.evaluation.summary import Predictions
from tumorlens.models.registry import build
from tumorlens.models.weights import is_torch_archive
from tumorlens.training.augment import AugmentSpec
from tumorlens.training.compress import round_weights
from tumorlens.training.config import CONFIG_MODULE, CONFIG_NAME, plain, spec_from, without_logger
from tumorlens.training.curves import write_curves
from tumorlens.training.datamodule import ScanDataModule
from tumorlens.training.losses import LossSpec
from tumorlens.training.module import Classifier, OptimizerSpec
from tumorlens.training.package import package_model
from tumorlens.training.parts import Parts, load_parts
from tumorlens.training.predictions import (
    PREDICTIONS_NAME,
    predictions_of,
    write_predictions,
)
from tumorlens.training.scoring import Calibration, Scores, calibrate, measure, score, write_metrics
from tumorlens.training.start import load_start, note_start


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


def train(config: DictConfig, run_dir: Path | None = None) -> RunResult:
    """Train, choose on validation, calibrate, measure, export.

    Args:
        config: As :func:`~tumorlens.training.config.compose_config` returns it.
        run_dir: Where results go; by default ``run_dir`` of the configuration, else Hydra's output
            folder, else ``runs/<date>_<time>``.

    Raises:
        ConfigError: A setting is wrong, ``init`` does not fit, or the loss became infinite.
        ModelNotFoundError: ``init`` or the backbone's weights do not exist.
        DataError: The data or the split cannot be used; LeakageError when groups cross.
        OutputError: The run folder cannot be written.
        ExportError: torch and ONNX disagree.
    """
    config = config.copy()
    run_dir = prepare_run_dir(config, run_dir)
    parts = load_parts(config)
    fitted = fit(config, parts, run_dir)
    weights, model = package_model(
        config, fitted.network, parts, fitted.calibration, fitted.metrics, run_dir
    )
    return RunResult(
        run_dir,
        fitted.checkpoint,
        weights,
        model,
        fitted.metrics,
        fitted.best_epoch,
        fitted.epochs,
    )


@dataclass(frozen=True)
class Fitted:
    """A trained, measured network, before it is packaged; fields as in `RunResult`.

    Attributes:
        network: With the chosen epoch's weights.
        calibration: Temperature and threshold, fitted on held-out scans.
        answers: Part → what the network answers on its scans, calibrated.
    """

    network: torch.nn.Module
    calibration: Calibration
    answers: dict[str, Predictions]
    metrics: dict[str, dict[str, Estimate]]
    checkpoint: Path
    best_epoch: int
    epochs: int


def fit(config: DictConfig, parts: Parts, run_dir: Path) -> Fitted:
    """Train on given parts, choose on validation, calibrate, measure.

    Writes ``split.json``, ``metrics.json``, ``predictions.csv``, curves, logs and checkpoints into
    the folder. Raises as `train` does.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    write_split(parts.split, run_dir / "split.json")
    classifier = _classifier(config)
    trainer, checkpoint = _trainer(config, run_dir, has_validation="validation" in parts.datasets)
    data = ScanDataModule(
        parts.datasets,
        batch_size=config.data.batch_size,
        sampler=config.data.sampler,
        epoch_images=config.data.epoch_images,
        num_workers=config.data.num_workers,
        seed=config.seed,
    )
    resume = _resume_path(config)
    try:
        trainer.fit(classifier, datamodule=data, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error
    except OSError as error:
        raise OutputError(f"{run_dir}: the run cannot be written ({error}); free space") from error
    best = Path(checkpoint.best_model_path or checkpoint.last_model_path)
    state = torch.load(best, map_location="cpu", weights_only=True)
    classifier.load_state_dict(state["state_dict"])
    network = classifier.network
    if config.half_weights:
        round_weights(network)
    scores = _score_parts(config, parts, network, classifier.device)
    held_out, part = _calibration_part(scores)
    calibration = calibrate(held_out, config.target_sensitivity, part)
    metrics = {name: measure(value, calibration, config.seed) for name, value in scores.items()}
    write_metrics(metrics, calibration, run_dir / "metrics.json")
    answers = {
        name: predictions_of(value, parts.records[name], calibration)
        for name, value in scores.items()
    }
    write_predictions(answers, run_dir / PREDICTIONS_NAME)
    write_curves(run_dir)
    return Fitted(
        network, calibration, answers, metrics, best, int(state["epoch"]), trainer.current_epoch
    )


def prepare_run_dir(config: DictConfig, run_dir: Path | None) -> Path:
    """Make the run folder (see `train`) and write config.yaml into it.

    Sets ``config.run_dir`` and ``config.started_from``.
    """
    if run_dir is None and config.run_dir is not None:
        run_dir = Path(config.run_dir)
    if run_dir is None:
        under_hydra = HydraConfig.initialized()
        run_dir = Path(HydraConfig.get().runtime.output_dir) if under_hydra else _new_run_dir()
    config.run_dir = str(run_dir)
    note_start(config)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run_dir}: the run folder cannot be made ({error})") from error
    with atomic_file(run_dir / "config.yaml") as stream:
        stream.write(OmegaConf.to_yaml(without_logger(config), resolve=True).encode())
    return run_dir


def _new_run_dir() -> Path:
    return Path("runs") / datetime.datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _classifier(config: DictConfig) -> Classifier:
    network = build(config.model.architecture, **plain(config.model.arguments))
    load_start(network, config)
    return Classifier(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        spec_from(config.loss, LossSpec, "loss"),
        spec_from(config.optimizer, OptimizerSpec, "optimizer"),
        spec_from(config.augment, AugmentSpec, "augment"),
        config.seed,
    )


def _trainer(
    config: DictConfig, run_dir: Path, *, has_validation: bool
) -> tuple[L.Trainer, callbacks.ModelCheckpoint]:
    settings = plain(config.trainer)
    patience = settings.pop("patience", None)
    monitor = config.monitor if has_validation else None
    if not has_validation:
        settings["limit_val_batches"] = 0
    checkpoint = callbacks.ModelCheckpoint(
        dirpath=run_dir / "checkpoints",
        filename="best",
        monitor=monitor,
        mode=config.monitor_mode,
        save_last=True,
        enable_version_counter=False,
    )
    used: list[L.Callback] = [checkpoint, callbacks.LearningRateMonitor("epoch")]
    if patience is not None and monitor is not None:
        used.append(callbacks.EarlyStopping(monitor, patience=patience, mode=config.monitor_mode))
    if config.ema_decay > 0:
        used.append(callbacks.EMAWeightAveraging(decay=config.ema_decay))
    loggers: list[Logger] = [CSVLogger(run_dir, name="logs")]
    for section in (config.logger or {}).values():
        loggers.append(hydra.utils.instantiate(section))
    try:
        trainer = L.Trainer(
            default_root_dir=run_dir,
            callbacks=used,
            logger=loggers,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # our sampler deals each rank its share already
            **settings,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {error}") from error
    return trainer, checkpoint


def _resume_path(config: DictConfig) -> Path | None:
    if config.resume is None:
        return None
    path = Path(config.resume)
    if not is_torch_archive(path):
        raise ConfigError(f"resume: {path} is missing, damaged or no checkpoint; name a last.ckpt")
    return path


def _score_parts(
    config: DictConfig, parts: Parts, network: torch.nn.Module, device: torch.device
) -> dict[str, Scores]:
    """Score every part; the test part only when the run says that the time has come."""
    names = [name for name in parts.records if name != "test" or config.score_test]
    return {name: score(network, parts.records[name], parts.inputs[name], device) for name in names}


def _calibration_part(scores: dict[str, Scores]) -> tuple[Scores, str]:
    """Choose scans for calibration: those set apart for it, else validation, else none."""
    for part in ("calibration", "validation"):
        if part in scores:
            return scores[part], part
    empty = scores["train"]
    none = Scores(empty.logits[:0], empty.labels[:0], empty.groups[:0], ())
    return none, "the split's missing calibration part"


def main(arguments: Sequence[str]) -> list[RunResult]:
    """Run Hydra's command line on ``arguments``: overrides, ``-m`` sweeps, ``--help``.

    Returns one result a job. Raises what :func:`train` raises; in a sweep the first failure
    ends it.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    results: list[RunResult] = []
    failures: list[TumorLensError] = []

    @hydra.main(config_path=f"pkg://{CONFIG_MODULE}", config_name=CONFIG_NAME, version_base="1.3")
    def job(config: DictConfig) -> float:
        try:
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
