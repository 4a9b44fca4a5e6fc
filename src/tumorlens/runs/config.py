"""The settings of a run: frozen, typed, and checked once, where they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.errors import ConfigError
from tumorlens.imaging.preprocess import PreprocessSpec
from tumorlens.runs.validation import as_plain, merged, validated

Share = Annotated[float, Field(ge=0, le=1)]
Changes = Mapping[str, Any]
# It checks its own settings, and names each by its place in the group.
Policy = Annotated[
    AugmentationPolicy, PlainValidator(AugmentationPolicy.from_mapping), PlainSerializer(asdict)
]


@dataclass(frozen=True)
class SplitConfig:
    """How the scans are split.

    Attributes:
        kind: ``grouped``, or the notebook's ``random-leaky``.
        path: An existing split file; without one a split is made.
        seed: Draws the split.
        train, validation, calibration, test: Shares of the scans, 0..1.
        learn_validation: Learn from the validation part too; the last epoch is then taken.
        held_out: Sources kept whole for the test, their near-duplicates left out.
    """

    kind: Literal["grouped", "random-leaky"] = "grouped"
    path: Path | None = None
    seed: int = 0
    train: Share = 0.7
    validation: Share = 0.1
    calibration: Share = 0.1
    test: Share = 0.1
    learn_validation: bool = False
    held_out: tuple[str, ...] = ()

    def fractions(self) -> dict[str, float]:
        """Return each part's share by its name."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }


@dataclass(frozen=True)
class DataConfig:
    """Which scans a run reads, and how it draws them.

    Attributes:
        root: Folder of the data.
        sources: Names of data sets below ``root``, or folders of scans.
        volumes: A folder of healthy NIfTI volumes below ``root``, or None.
        slices_per_plane: Slices taken of each volume and plane.
        learnt_slices_per_plane: The same for volumes in the training part; None takes no more.
        tilted_slices_per_plane: Tilted slices for training, in addition.
        label_issues: ``exclude`` learns nothing from scans with known label issues.
        split: How they are split.
        batch_size: Images a batch and process.
        sampler: See :class:`~tumorlens.training.datamodule.ScanDataModule`.
        epoch_images: Images drawn an epoch by the samplers that draw with replacement.
        num_workers: Loader processes that augment; ``auto``: none without a GPU.
        cache_dir: Where decoded images are kept between runs; None keeps none.
    """

    root: Path
    sources: tuple[str, ...]
    volumes: str | None = None
    slices_per_plane: int = 12
    learnt_slices_per_plane: int | None = None
    tilted_slices_per_plane: int | None = None
    label_issues: Literal["keep", "exclude"] = "keep"
    split: SplitConfig = SplitConfig()
    batch_size: Annotated[int, Field(ge=1)] = 32
    sampler: Literal["shuffle", "balanced", "weighted"] = "shuffle"
    epoch_images: Annotated[int, Field(ge=1)] | None = None
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    cache_dir: Path | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A network by its name in `tumorlens.models.registry`, its arguments, and its input."""

    architecture: str
    preprocess: PreprocessSpec
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and learning-rate schedule.

    Attributes:
        name: ``adam``, ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        lr: Peak learning rate.
        weight_decay: Applied to weights with two or more axes only.
        schedule: ``constant``, or ``cosine`` down to 1 % of the peak.
        warmup: Share of all steps over which the rate rises from 0.
        backbone_lr: Factor on the rate of ``backbone.*`` (discriminative fine-tuning); 0 freezes
            it, weights and running statistics.
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(ge=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = 0.0
    backbone_lr: Annotated[float, Field(ge=0)] = 1.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the parts of the loss.

    Attributes:
        label_smoothing: Targets become ``smoothing / 2`` and ``1 - smoothing / 2``.
        positive_weight: Weight of tumour images in the image loss; ``auto`` is healthy / tumour
            of the training part.
        cell_bce: Weight of the cross-entropy over the map's cells where lesions are annotated.
        localization: Weight of the loss of the map pooled inside, and outside, the lesion alone.
    """

    label_smoothing: Share = 0.0
    positive_weight: float | Literal["auto"] = 1.0
    cell_bce: float = 0.0
    localization: float = 0.0


@dataclass(frozen=True)
class TrainerConfig:
    """What Lightning's trainer is given.

    Attributes:
        max_epochs … enable_progress_bar: As of `lightning.Trainer`; ``precision`` ``auto`` is
            bf16-mixed where hardware computes it, else 32-true.
        patience: Epochs without improvement before stopping; None never stops early.
        lightning: Further arguments of `lightning.Trainer`, passed on as they are.
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
    """What is done with the model file once it is written.

    Attributes:
        shortcuts: The shortcut tests on the test part, told on the model's card.
        explain: The class maps beside baselines on it, likewise, and a page of hits and misses.
        report: ``report.html``, as ``tumorlens report`` writes it.
    """

    shortcuts: bool = False
    explain: bool = False
    report: bool = False


@dataclass(frozen=True)
class RunConfig:
    """All settings of a training run; ``conf/train.yaml`` says what each is by default.

    Attributes:
        name: Goes into the model's card.
        seed: Of weights, order and augmentation.
        run_dir: Where results go; None makes ``runs/<date>_<time>``.
        resume: A ``last.ckpt`` to go on from.
        init: Weights to start from: a run folder, a model file, a ``.safetensors``, ``packaged``.
        init_member: Which network of an ensemble's file a single one takes, from 0.
        finetune: Settings of a second training, from the weights of the first.
        members: Settings of each member of an ensemble.
        monitor, monitor_mode: What early stopping and the best checkpoint watch.
        ema_decay: Of the exponential moving average of the weights; 0 is off.
        target_sensitivity: The threshold is chosen for it, on held-out scans.
        weight_bits: Weights are rounded to so many bits before they are measured.
        ood_detector: Fit an out-of-distribution detector into the model file.
        score_test: True once, at the very end.
        logger: Lightning's loggers by name, as Hydra instantiates them; ``{run_dir}`` in a text
            stands for the folder of the training.
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
    weight_bits: Literal[32, 16, 8] = 32
    ood_detector: bool = False
    score_test: bool = False

    @classmethod
    def from_plain(cls, values: Changes, where: str = "training configuration") -> RunConfig:
        """Check settings that stand in nested dictionaries, and return them typed.

        Args:
            values: By group, as in ``conf/train.yaml``; what is missing is as by default.
            where: What an error names before the setting.

        Raises:
            ConfigError: Naming the setting, what it is, and what it may be.
        """
        values = dict(values)
        trainer = dict(values.get("trainer", {}))
        known = TrainerConfig.__dataclass_fields__
        further = {name: trainer.pop(name) for name in list(trainer) if name not in known}
        if further:
            trainer["lightning"] = {**trainer.get("lightning", {}), **further}
        return validated(cls, {**values, "trainer": trainer}, where)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as JSON-ready dictionaries, as `from_plain` takes them."""
        values = as_plain(self)
        trainer = values["trainer"]
        trainer |= trainer.pop("lightning")
        return values

    def changed(self, changes: Changes, where: str = "settings") -> RunConfig:
        """Return these settings with ``changes``, nested likewise; lists are replaced whole.

        Raises `ConfigError` as `from_plain`.
        """
        return RunConfig.from_plain(merged(self.to_plain(), changes), where)


def check_one_process(config: RunConfig, what: str) -> None:
    """Refuse several processes where one training follows another in the same command.

    The processes of a training are started once, with the first one's command, and end with it.
    Raises `ConfigError` where ``trainer.devices`` or ``trainer.num_nodes`` asks for more.
    """
    if (str(config.trainer.devices), config.trainer.num_nodes) != ("1", 1):
        raise ConfigError(
            f"{what} trains one network after the other, each in one process; set "
            "trainer.devices=1, or give each `tumorlens train` its devices by itself"
        )


def check_test(config: RunConfig) -> None:
    """Refuse settings that measure a test part which may not be touched, or has no scan.

    Raises `ConfigError`.
    """
    asked = [name for name in ("shortcuts", "explain") if getattr(config.after, name)]
    if asked and not config.score_test:
        off = " ".join(f"after.{name}=false" for name in asked)
        raise ConfigError(
            f"after.{asked[0]} measures the test part; set score_test=true when the time for that "
            f"has come, or {off}"
        )
    split = config.data.split
    if config.score_test and split.path is None and not split.held_out and not split.test:
        raise ConfigError(
            "data.split leaves no scan to test: name a source with data.split.held_out=[NAME], "
            "give data.split.test a share, or set score_test=false"
        )
