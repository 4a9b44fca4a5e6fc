"""The Lightning module: one network, its loss, its optimiser, its validation metrics."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Generator, Tensor, nn

from tumorlens.augmentation.pipeline import Loaded, augmented, progress_of, seeds_of
from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.errors import ConfigError
from tumorlens.metrics.binary import metric_values
from tumorlens.models.output import Evidence, MapPooling
from tumorlens.runs.config import LossConfig, OptimizerConfig
from tumorlens.training.losses import image_loss, map_loss


class Classifier(L.LightningModule):
    """Train and validate a network that returns :class:`Evidence`.

    Batches hold ``image`` float32 ``[N, C, H, W]`` and ``label`` float32 ``[N]``; for
    training also ``lesion`` float32 ``[N, 1, H, W]`` and ``annotated`` float32 ``[N]``, and
    ``view`` int64 ``[N]`` unless they are augmented already (see
    :class:`~tumorlens.augmentation.pipeline.AugmentedDataset`).
    """

    def __init__(
        self,
        network: nn.Module,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        augmentation: AugmentationPolicy,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss_spec, self.optimizer_spec, self.augmentation = loss, optimizer, augmentation
        self.seed, self.memory_format = seed, memory_format_of(network)
        self._scores: list[tuple[Tensor, Tensor]] = []

    def forward(self, image: Tensor) -> Evidence:
        """Return the network's output."""
        output: Evidence = self.network(image)
        return output

    def on_train_epoch_start(self) -> None:
        """Put a frozen backbone into eval mode.

        Its normalisation layers then use their running statistics and do not update them.
        """
        if self.optimizer_spec.backbone_lr == 0:
            cast("nn.Module", self.network.backbone).eval()

    def training_step(self, batch: Loaded, batch_idx: int) -> Tensor:
        """Augment by (seed, epoch, batch, rank) and return the loss.

        Dropout takes no generator, so torch is seeded at each step. Seeding per epoch would not do:
        creating a loader's iterator draws random numbers too, at another point in a resumed run.
        """
        seed, dropout_seed = seeds_of(self.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(dropout_seed)
        image, label, lesion, annotated = self._augmented(batch, Generator().manual_seed(seed))
        output = self(image.contiguous(memory_format=self.memory_format))
        loss = image_loss(output.logit.float(), label, self.loss_spec)
        self._log_mean("train/image_loss", loss, len(label))
        if output.map is not None and (
            self.loss_spec.cell_bce > 0 or self.loss_spec.localization > 0
        ):
            pooling = cast("MapPooling", self.network.pooling)
            class_map_loss = map_loss(
                output.map.float(), lesion, label, annotated, pooling, self.loss_spec
            )
            self._log_mean("train/map_loss", class_map_loss, len(label))
            loss = loss + class_map_loss
        if not torch.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss.item()} at epoch {self.current_epoch}, batch {batch_idx}; "
                "lower optimizer.lr or turn mixed precision off (trainer.precision=32-true)"
            )
        correct = ((output.logit > 0) == (label > 0.5)).float().mean()
        self._log_mean("train/loss", loss, len(label), prog_bar=True)
        self._log_mean("train/accuracy", correct, len(label))
        return loss

    def _log_mean(self, name: str, value: Tensor, size: int, *, prog_bar: bool = False) -> None:
        """Log the epoch's mean over all batches and processes."""
        self.log(
            name, value, on_step=False, on_epoch=True, batch_size=size, prog_bar=prog_bar,
            sync_dist=True,
        )  # fmt: skip

    def _augmented(self, batch: Loaded, generator: Generator) -> tuple[Tensor, ...]:
        # Batches that a loader's worker has augmented have no views.
        if "view" in batch:
            epochs = self.trainer.max_epochs if self._trainer is not None else None
            progress = progress_of(self.current_epoch, epochs)
            batch = augmented(batch, self.augmentation, progress, generator)
        return batch["image"], batch["label"], batch["lesion"], batch["annotated"]

    def validation_step(self, batch: Loaded, batch_idx: int) -> None:
        """Collect logits; the metrics need all of them at once."""
        logit = self(batch["image"].contiguous(memory_format=self.memory_format)).logit
        self._scores.append((logit.float(), batch["label"]))

    def on_validation_epoch_end(self) -> None:
        """Log loss, accuracy, balanced accuracy and ROC-AUC over the whole validation split."""
        logit = torch.cat([scores for scores, _ in self._scores])
        label = torch.cat([labels for _, labels in self._scores])
        self._scores.clear()
        logit, label = (in_order(each, self._count()) for each in self.all_gather((logit, label)))
        loss = image_loss(logit, label, LossConfig())
        truth, prob = label.cpu().numpy().astype(np.int64), torch.sigmoid(logit).cpu().numpy()
        values = {"val/loss": float(loss)}
        found = metric_values(truth, prob, threshold=0.5)
        for name in ("accuracy", "balanced_accuracy", "roc_auc"):
            if math.isfinite(found[name]):  # two of them need both classes
                values[f"val/{name}"] = found[name]
        # The same in every process, since each has gathered all logits.
        self.log_dict(values, prog_bar=True, sync_dist=True)

    def _count(self) -> int | None:
        """Scans in the validation part; None outside a trainer."""
        loaders = self.trainer.val_dataloaders if self._trainer is not None else None
        return len(loaders[0].dataset) if loaders else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser and, unless constant, a schedule with one update per step."""
        spec = self.optimizer_spec
        if spec.backbone_lr != 1 and not hasattr(self.network, "backbone"):
            raise ConfigError(
                f"optimizer.backbone_lr is {spec.backbone_lr}, and this network has no backbone"
            )
        groups = _parameter_groups(self.network, spec)
        optimizers: dict[str, Any] = {
            "adam": lambda: torch.optim.Adam(groups, lr=spec.lr),
            "adamw": lambda: torch.optim.AdamW(groups, lr=spec.lr),
            "sgd": lambda: torch.optim.SGD(groups, lr=spec.lr, momentum=0.9, nesterov=True),
        }
        optimizer = optimizers[spec.name]()
        if spec.schedule == "constant" and spec.warmup == 0:
            return {"optimizer": optimizer}
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, total, spec)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """Return a network's preferred memory format, by default channels-last."""
    preferred = getattr(network, "memory_format", torch.channels_last)
    assert isinstance(preferred, torch.memory_format)
    return preferred


def in_order(gathered: Tensor, count: int | None) -> Tensor:
    """Return the first ``count`` values ``[count]`` in the order of the scans.

    ``gathered`` is ``[M]`` in one process. With several it is ``[world, M]``: row ``r`` holds every
    ``world``-th scan from ``r``, padded by repetition to equal lengths.
    """
    return gathered.T.flatten()[:count] if gathered.ndim > 1 else gathered


def learning_rate_factor(step: int, total: int, spec: OptimizerConfig) -> float:
    """Return the factor on the peak rate at ``step`` of ``total``: linear warm-up, then cosine.

    For a ``LambdaLR``: ``SequentialLR`` would restore the number of steps from the checkpoint of a
    run resumed with more epochs, and use one minimum for all parameter groups.
    """
    warm = max(1, round(spec.warmup * total))
    if spec.warmup > 0 and step < warm:
        return (step + 1) / warm
    if spec.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warm) / max(1, total - warm)) if spec.warmup > 0 else step / total
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _parameter_groups(network: nn.Module, spec: OptimizerConfig) -> list[dict[str, Any]]:
    """Split parameters by weight decay (matrices and kernels only) and by backbone."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        in_backbone = name.startswith("backbone.")
        if in_backbone and spec.backbone_lr == 0:
            parameter.requires_grad_(False)
            continue
        groups.setdefault((in_backbone, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": spec.lr * (spec.backbone_lr if in_backbone else 1.0),
            "weight_decay": spec.weight_decay if decays else 0.0,
        }
        for (in_backbone, decays), parameters in groups.items()
    ]
