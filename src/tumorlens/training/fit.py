"""Fit a network on given parts, choose it on validation, calibrate and measure it."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.data.splits import write_split
from tumorlens.errors import ConfigError
from tumorlens.models.quantization import round_weights
from tumorlens.models.registry import build
from tumorlens.runs.config import plain, spec_from
from tumorlens.runs.curves import write_curves
from tumorlens.training.datamodule import ScanDataModule, balancing_weight
from tumorlens.training.decoding import Parts
from tumorlens.training.initial_weights import (
    check_start,
    load_start,
)
from tumorlens.training.losses import LossSpec
from tumorlens.training.measured import measured
from tumorlens.training.module import Classifier, OptimizerSpec, memory_format_of
from tumorlens.training.results import Fitted
from tumorlens.training.trainer import (
    loader_workers,
    make_trainer,
    resume_path,
    run_trainer,
)


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
    trainer, checkpoint = make_trainer(
        config, run_dir, has_validation="validation" in parts.datasets
    )
    data = ScanDataModule(
        parts.datasets,
        batch_size=config.data.batch_size,
        sampler=config.data.sampler,
        epoch_images=config.data.epoch_images,
        num_workers=loader_workers(config, trainer.num_devices),
        seed=config.seed,
        augmentation=classifier.augmentation,
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
    round_weights(network, config.weight_bits)
    epochs = int(state["epoch"]), trainer.current_epoch
    fitted = measured(config, parts, network, classifier.device, run_dir, best, epochs)
    write_curves(run_dir)
    return fitted


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
        AugmentationPolicy.from_mapping(plain(config.augment)),
        config.seed,
    )
