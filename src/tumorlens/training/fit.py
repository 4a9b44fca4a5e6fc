"""Fit a network on given parts and select its epoch on validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import lightning as L
import torch
from torch import nn

from tumorlens.errors import ConfigError
from tumorlens.models.registry import build
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import RunFolder
from tumorlens.runs.provenance import WeightsFile
from tumorlens.training.datamodule import ScanDataModule, balancing_weight
from tumorlens.training.decoding import Parts
from tumorlens.training.initial_weights import load_start
from tumorlens.training.module import Classifier, memory_format_of
from tumorlens.training.trainer import loader_workers, make_trainer, resume_path, run_trainer


@dataclass(frozen=True)
class Fitted:
    """A fitted network.

    Attributes:
        network: The network with the selected epoch's weights.
        checkpoint: The best checkpoint on the monitored validation metric (the last one when the
            split has no validation part).
        best_epoch: Epoch of ``checkpoint``, counted from 0.
        epochs: Epochs trained.
    """

    network: nn.Module
    checkpoint: Path
    best_epoch: int
    epochs: int


def fit(
    config: RunConfig,
    parts: Parts,
    folder: RunFolder,
    started_from: Mapping[str, WeightsFile] | None = None,
) -> Fitted:
    """Train on given parts, select on validation; logs and checkpoints go into the folder.

    With several processes only the first returns; the others exit (`SystemExit`).

    Args:
        config: Settings; ``init`` names initial weights, ``resume`` a checkpoint to resume from.
        parts: The decoded parts of the split.
        folder: The run folder.
        started_from: The result of `starting_weights`, before anything was written.

    Raises:
        ConfigError: A setting is wrong, ``init`` or ``resume`` does not fit, or the loss became
            infinite.
        LostProcessError: Another process of the training has ended.
        ModelNotFoundError: The initial weights do not exist.
        OutputError: The folder cannot be written.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    classifier = _classifier(config, parts, started_from)
    trainer, checkpoint = make_trainer(
        config, folder, has_validation="validation" in parts.datasets
    )
    data = ScanDataModule(
        parts.datasets,
        batch_size=config.data.batch_size,
        sampler=config.data.sampler,
        epoch_images=config.data.epoch_images,
        num_workers=loader_workers(config, trainer.num_devices),
        seed=config.seed,
        augmentation=config.augment,
    )
    resume = resume_path(config.resume, classifier)
    run_trainer(trainer, classifier, data, resume=resume, folder=folder)
    if not trainer.is_global_zero:
        # The first process measures and writes; the others are finished.
        raise SystemExit(0)
    best = Path(checkpoint.best_model_path or checkpoint.last_model_path)
    state = torch.load(best, map_location="cpu", weights_only=True)
    classifier.load_state_dict(state["state_dict"])
    return Fitted(classifier.network, best, int(state["epoch"]), trainer.current_epoch)


def _classifier(
    config: RunConfig, parts: Parts, started_from: Mapping[str, WeightsFile] | None
) -> Classifier:
    network = build(config.model.architecture, **config.model.arguments)
    load_start(network, config, started_from)
    loss = config.loss
    if loss.positive_weight == "auto":
        if config.data.sampler != "shuffle":
            raise ConfigError(
                f"loss.positive_weight=auto balances the classes, and so does data.sampler="
                f"{config.data.sampler}; use one of them"
            )
        loss = replace(loss, positive_weight=balancing_weight(parts.datasets["train"].labels))
    return Classifier(
        network.to(memory_format=memory_format_of(network)),  # type: ignore[call-overload]
        loss,
        config.optimizer,
        config.augment,
        config.seed,
    )
