"""The settings of a run: frozen, typed, and validated once when they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.runs.data_config import DataConfig, Share
from tumorlens.runs.validation import as_plain, merged, validated

Changes = Mapping[str, Any]
# The policy validates its own settings, and names each by its path in the group.
Policy = Annotated[
    AugmentationPolicy, PlainValidator(AugmentationPolicy.from_mapping), PlainSerializer(asdict)
]


@dataclass(frozen=True)
class ModelConfig:
    """A network by its name in `tumorlens.models.registry`, its arguments and its preprocessing."""

    architecture: str
    preprocess: PreprocessSpec
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and learning-rate schedule.

    Attributes:
        name: ``adam``, ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        lr: Peak learning rate.
        weight_decay: Applied only to weights with two or more dimensions.
        schedule: ``constant``, or ``cosine`` down to 1 % of the peak.
        warmup: Share of all steps over which the learning rate rises linearly from 0.
        backbone_lr: Factor on the learning rate of ``backbone.*`` (discriminative fine-tuning);
            0 freezes its weights and running statistics.
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(ge=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = 0.0
    backbone_lr: Annotated[float, Field(ge=0)] = 1.0


@dataclass(frozen=True)
class LossConfig:
    """The terms of the loss and their weights.

    Attributes:
        label_smoothing: Targets become ``smoothing / 2`` and ``1 - smoothing / 2``.
        positive_weight: Weight of tumour images in the image loss; ``auto``: number of healthy
            over number of tumour images in the training part.
        cell_bce: Weight of the binary cross-entropy over the cells of the class map, for images
            with annotated lesions.
        localization: Weight of the localisation loss: the class map pooled inside and outside the
            lesion separately.
    """

    label_smoothing: Share = 0.0
    positive_weight: float | Literal["auto"] = 1.0
    cell_bce: float = 0.0
    localization: float = 0.0


@dataclass(frozen=True)
class TrainerConfig:
    """Arguments of Lightning's trainer, and early stopping.

    Attributes:
        max_epochs … enable_progress_bar: As in `lightning.Trainer`; ``precision`` ``auto`` is
            bf16-mixed where the hardware supports it, else 32-true.
        patience: Epochs without improvement before early stopping; None: no early stopping.
        lightning: Further arguments of `lightning.Trainer`, passed on unchanged.
    """

    max_epochs: Annotated[int, Field(ge=1)] = 30
    accelerator: str = "auto"
    devices: int | str | tuple[int, ...] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = False
    precision: int | str = "auto"
    deterministic: bool | str = True
    log_every_n_steps: int | None = 1
    gradient_clip_val: float | None = 1.0
    enable_progress_bar: bool = True
    patience: Annotated[int, Field(ge=0)] | None = 10
    lightning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AfterConfig:
    """What is done with the model file after training.

    Attributes:
        shortcuts: Shortcut tests on the test part, reported on the model card.
        explain: Localisation of the class maps and of baselines on the test part, reported
            likewise, and a page of hits and misses.
        report: ``report.html``, as written by ``tumorlens report``.
    """

    shortcuts: bool = False
    explain: bool = False
    report: bool = False


@dataclass(frozen=True)
class RunConfig:
    """All settings of a training run; defaults are in ``conf/train.yaml``.

    Attributes:
        name: Name of the model on its card.
        seed: Seed of weight initialisation, sample order and augmentation.
        run_dir: Output folder; None: ``runs/<date>_<time>``.
        resume: A ``last.ckpt`` to resume from.
        init: Initial weights: a run folder, a model file, a ``.safetensors`` file or ``packaged``.
        init_member: Which member of an ensemble's file initialises a single network, from 0.
        finetune: Settings of the fine-tuning stage, which starts from the first stage's weights.
        members: Settings of each member of an ensemble.
        monitor, monitor_mode: The metric for early stopping and the best checkpoint.
        ema_decay: Decay of the exponential moving average of the weights; 0: no averaging.
        target_sensitivity: The decision threshold reaches this sensitivity on held-out scans.
        target_specificity: With it the threshold is chosen for the worst source: nearest to both
            targets in every source and finding. None: for all scans together.
        weight_bits: Weights are rounded to this many bits before the model is measured.
        ood_detector: Fit an out-of-distribution detector into the model file.
        score_test: Measure the test part; set it only for the final run.
        logger: Lightning's loggers by name, as Hydra instantiates them; ``{run_dir}`` in a value
            is replaced by the folder of the training.
    """

    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    augment: Policy = field(default_factory=AugmentationPolicy)
    trainer: TrainerConfig = TrainerConfig()
    after: AfterConfig = AfterConfig()
    logger: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str = "tumorlens"
    seed: Annotated[int, Field(ge=0)] = 0
    run_dir: Path | None = None
    resume: Path | None = None
    init: str | None = None
    init_member: Annotated[int, Field(ge=0)] = 0
    finetune: Mapping[str, Any] | None = None
    members: tuple[Mapping[str, Any], ...] | None = None
    monitor: str = "val/loss"
    monitor_mode: Literal["min", "max"] = "min"
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    target_specificity: Annotated[float, Field(gt=0, le=1)] | None = None
    weight_bits: Literal[32, 16, 8] = 32
    ood_detector: bool = False
    score_test: bool = False

    @classmethod
    def from_plain(cls, values: Changes, where: str = "training configuration") -> RunConfig:
        """Validate nested dictionaries of settings, and return them typed.

        Args:
            values: By group, as in ``conf/train.yaml``; missing settings take their defaults.
            where: Prefix of an error message.

        Raises:
            ConfigError: Naming the setting, its value, and which values are valid.
        """
        values = dict(values)
        trainer = dict(values.get("trainer", {}))
        known = TrainerConfig.__dataclass_fields__
        extra = {name: trainer.pop(name) for name in list(trainer) if name not in known}
        if extra:
            trainer["lightning"] = {**trainer.get("lightning", {}), **extra}
        return validated(cls, {**values, "trainer": trainer}, where)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON-ready dictionaries, as `from_plain` reads them."""
        values = as_plain(self)
        trainer = values["trainer"]
        trainer |= trainer.pop("lightning")
        return values

    def changed(self, changes: Changes, where: str = "settings") -> RunConfig:
        """Return these settings with nested ``changes`` merged in; lists are replaced whole.

        Raises `ConfigError` as `from_plain`.
        """
        return RunConfig.from_plain(merged(self.to_plain(), changes), where)


def check_one_process(config: RunConfig, what: str) -> None:
    """Refuse distributed training in a command that runs several trainings one after the other.

    The worker processes start with the first training and end with it. Raises `ConfigError` where
    ``trainer.devices`` or ``trainer.num_nodes`` asks for more than one.
    """
    if (str(config.trainer.devices), config.trainer.num_nodes) != ("1", 1):
        raise ConfigError(
            f"{what} trains one network after the other, each in one process; set "
            "trainer.devices=1, or train each network with its own `tumorlens train`"
        )


def check_one_clock() -> None:
    """Refuse to name a run's folder by the time where torchrun has started several processes.

    Each would name one by its own clock. Raises `ConfigError`.
    """
    started = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if started > 1:
        raise ConfigError(
            f"run_dir: torchrun started {started} processes, which must write to one folder; set "
            "run_dir to a folder that is visible to all of them"
        )


def check_test(config: RunConfig) -> None:
    """Refuse settings that measure the test part without ``score_test``, or leave it empty.

    Raises `ConfigError`.
    """
    asked = [name for name in ("shortcuts", "explain") if getattr(config.after, name)]
    if asked and not config.score_test:
        off = " ".join(f"after.{name}=false" for name in asked)
        raise ConfigError(
            f"after.{asked[0]} measures the test part; set score_test=true for the final run, "
            f"or {off}"
        )
    split = config.data.split
    if config.score_test and split.path is None and not split.held_out and not split.test:
        raise ConfigError(
            "data.split leaves no scan to test: name a source with data.split.held_out=[NAME], "
            "give data.split.test a share, or set score_test=false"
        )
