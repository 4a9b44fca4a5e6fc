"""``train(config) -> RunResult``: the whole of a training run as one plain function."""

from __future__ import annotations

import datetime
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, ConfigTypeError

from tumorlens.atomic import atomic_file
from tumorlens.data.splits import write_split
from tumorlens.errors import ConfigError, OutputError, TumorLensError
from tumorlens.models.registry import build
from tumorlens.training.augment import AugmentSpec
from tumorlens.training.breakdown import breakdown
from tumorlens.training.compress import round_weights
from tumorlens.training.config import CONFIG_MODULE, CONFIG_NAME, plain, spec_from, without_logger
from tumorlens.training.curves import write_curves
from tumorlens.training.datamodule import ScanDataModule, balancing_weight
from tumorlens.training.finish import NOTHING, check_finish, finish
from tumorlens.training.losses import LossSpec
from tumorlens.training.module import Classifier, OptimizerSpec, memory_format_of
from tumorlens.training.package import MODEL_NAME, package_model
from tumorlens.training.parts import Parts, load_parts
from tumorlens.training.predictions import (
    PREDICTIONS_NAME,
    predictions_of,
    write_predictions,
)
from tumorlens.training.results import Fitted, RunResult
from tumorlens.training.scoring import (
    Scores,
    calibrate,
    measure,
    score,
    write_metrics,
)
from tumorlens.training.soup import average_with_soup, check_soup, note_soup
from tumorlens.training.start import (
    blend_with_start,
    check_blend,
    check_start,
    load_start,
    note_start,
)
from tumorlens.training.trainer import (
    make_trainer,
    require_one_process,
    resume_path,
    run_trainer,
)

FIRST = "first"
"""Folder, in that of a run with ``polish``, of the training it goes on from."""


def train(config: DictConfig, run_dir: Path | None = None) -> RunResult:
    """Train, choose on validation, calibrate, measure, export; then do what ``after`` asks for.

    With ``polish`` this happens twice: first without a guard and without the test, in the folder
    `FIRST` of the run's; then from those weights with the settings of ``polish``. ``polish_runs``
    does the second so often, with seeds one apart (in ``polish_1`` and so on, the last in the run's
    folder), and averages the weights. A training that is done is not done again, and ``resume``
    goes on with the one that its file lies in.

    Args:
        config: As :func:`~tumorlens.training.config.compose_config` returns it.
        run_dir: Where results go; by default ``run_dir`` of the configuration, else Hydra's output
            folder, else ``runs/<date>_<time>``.

    Raises:
        ConfigError: A setting is wrong, ``init`` does not fit, or the loss became infinite.
        ModelNotFoundError: ``init`` or the backbone's weights do not exist.
        DataError: The data or the split cannot be used; LeakageError when groups cross, or
            when the run of ``init`` has learnt from held-out scans of this one.
        OutputError: The run folder cannot be written.
        ExportError: torch and ONNX disagree.
    """
    config = config.copy()
    check_finish(config)
    if config.get("polish") is not None:
        return _polished(config, _chosen_run_dir(config, run_dir))
    run_dir = prepare_run_dir(config, run_dir)
    parts = load_parts(config)
    fitted = fit(config, parts, run_dir)
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
    """Train, and train on from there with the settings of ``polish``, ``polish_runs`` times."""
    require_one_process(config, "polish")
    stages = _stages(config, run_dir)
    again = False
    for stage, folder in stages[:-1]:
        resumed = _lies_in(config.resume, folder)
        # The model file is written last, so it says that a training has come to its end.
        again = again or resumed or not (folder / MODEL_NAME).is_file()
        if again:
            train(_merged(stage, {"resume": config.resume if resumed else None}), folder)
    resumed = not any(_lies_in(config.resume, folder) for _, folder in stages[:-1])
    last, _ = stages[-1]
    return train(_merged(last, {"resume": config.resume if resumed else None}), run_dir)


def _stages(config: DictConfig, run_dir: Path) -> list[tuple[DictConfig, Path]]:
    """Return the trainings of a run with ``polish``, and their folders, in order."""
    count = config.get("polish_runs", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"polish_runs is {count!r}; give a whole number from 1")
    once = {"polish": None, "polish_runs": 1}
    quiet: dict[str, object] = {"guard": False, "score_test": False, "after": NOTHING}
    try:
        second = _merged(config, config.polish)
    except (ConfigKeyError, ConfigTypeError) as error:
        raise ConfigError(f"polish: {str(error).splitlines()[0]}") from error
    second = _merged(second, {**once, "init": str(run_dir / FIRST)})
    # Another seed draws other pictures from the same parts.
    quiet |= {"data": {"split": {"seed": second.data.split.seed}}, "soup": []}
    others = [
        (_merged(second, {**quiet, "seed": config.seed + at}), run_dir / f"polish_{at}")
        for at in range(1, count)
    ]
    soup = [*config.soup, *(str(folder) for _, folder in others)]
    first = _merged(config, {**once, **quiet})
    return [(first, run_dir / FIRST), *others, (_merged(second, {"soup": soup}), run_dir)]


def _lies_in(file: str | None, folder: Path) -> bool:
    return file is not None and folder.resolve() in Path(file).resolve().parents


def _merged(config: DictConfig, changes: DictConfig | Mapping[str, object]) -> DictConfig:
    merged = OmegaConf.merge(config, changes)
    assert isinstance(merged, DictConfig)
    return merged


def fit(config: DictConfig, parts: Parts, run_dir: Path) -> Fitted:
    """Train on given parts, choose on validation, calibrate, measure.

    Writes ``split.json``, ``metrics.json``, ``predictions.csv``, curves, logs and checkpoints into
    the folder. Under several processes only the first returns, the others end here
    (`SystemExit`). Raises as `train` does.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    write_split(parts.split, run_dir / "split.json")
    check_start(config, parts)
    classifier = _classifier(config, parts)
    check_soup(classifier.network, config, parts)
    trainer, checkpoint = make_trainer(
        config, run_dir, has_validation="validation" in parts.datasets
    )
    data = ScanDataModule(
        parts.datasets,
        batch_size=config.data.batch_size,
        sampler=config.data.sampler,
        epoch_images=config.data.epoch_images,
        num_workers=config.data.num_workers,
        seed=config.seed,
    )
    resume = resume_path(config.resume, classifier)
    run_trainer(trainer, classifier, data, resume=resume, run_dir=run_dir)
    if not trainer.is_global_zero:
        # Under several processes the first one measures and writes; the others are done.
        raise SystemExit(0)
    best = Path(checkpoint.best_model_path or checkpoint.last_model_path)
    state = torch.load(best, map_location="cpu", weights_only=True)
    classifier.load_state_dict(state["state_dict"])
    network = classifier.network
    blend_with_start(network, config)
    average_with_soup(network, config)
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

    Sets ``config.run_dir``, ``config.started_from`` and ``config.averaged_with``.
    """
    run_dir = _chosen_run_dir(config, run_dir)
    config.run_dir = str(run_dir)
    check_blend(config)
    note_start(config)
    note_soup(config)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run_dir}: the run folder cannot be made ({error})") from error
    with atomic_file(run_dir / "config.yaml") as stream:
        stream.write(OmegaConf.to_yaml(without_logger(config), resolve=True).encode())
    return run_dir


def _chosen_run_dir(config: DictConfig, run_dir: Path | None) -> Path:
    if run_dir is not None:
        return run_dir
    if config.run_dir is not None:
        return Path(config.run_dir)
    if HydraConfig.initialized():
        return Path(HydraConfig.get().runtime.output_dir)
    return _new_run_dir()


def _new_run_dir() -> Path:
    return Path("runs") / datetime.datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _classifier(config: DictConfig, parts: Parts) -> Classifier:
    network = build(config.model.architecture, **plain(config.model.arguments))
    load_start(network, config)
    loss = config.loss
    if loss.positive_weight == "auto":
        if config.data.sampler != "shuffle":
            raise ConfigError(
                f"loss.positive_weight=auto balances the classes, and so does data.sampler="
                f"{config.data.sampler} already; use one of them"
            )
        labels = parts.datasets["train"].labels
        loss = OmegaConf.merge(loss, {"positive_weight": balancing_weight(labels)})
    return Classifier(
        network.to(memory_format=memory_format_of(network)),  # type: ignore[call-overload]
        spec_from(loss, LossSpec, "loss"),
        spec_from(config.optimizer, OptimizerSpec, "optimizer"),
        spec_from(config.augment, AugmentSpec, "augment"),
        config.seed,
    )


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
