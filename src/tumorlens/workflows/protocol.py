"""The protocol comparison: how optimistically biased two common test protocols are.

Four models are trained and tested under three protocols on one data set. Each cell is a
cross-validation whose folds together predict every scan once, so all metrics are over the same
scans. Within a row only the protocol changes: the same network, settings and seed, and
the same number of images seen in training. No scans are set aside to choose an epoch or a
threshold: the last epoch's weights are tested at the threshold 0.5.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from tumorlens.data.splits import RANDOM_LEAKY
from tumorlens.errors import ConfigError
from tumorlens.metrics.intervals import Estimate
from tumorlens.metrics.paired import paired_difference
from tumorlens.metrics.summary import Predictions, summarize
from tumorlens.models.registry import build
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.predictions import concatenated
from tumorlens.runs.provenance import sha256_of
from tumorlens.workflows.crossval import crossvalidate
from tumorlens.workflows.folds import GROUPED, FoldPlan

log = structlog.get_logger(__name__)

DEFAULT_DATA = "brain_tumor_dataset"
DEFAULT_FOLDS = 5
DEFAULT_COPIES = 4
TRANSFER = "resnet18-transfer"
METRICS = ("accuracy", "balanced_accuracy", "roc_auc")
# In the table's order; grouped is trained first, since the others are compared with it.
PROTOCOLS = ("random", "augment-before-split", "grouped")


@dataclass(frozen=True)
class Row:
    """A model of the table.

    Attributes:
        name: On the command line; title: in the table.
        settings: Overrides of the training configuration.
        epochs: Without copies; with copies, reduced in proportion to the number of images.
    """

    name: str
    title: str
    settings: tuple[str, ...]
    epochs: int


# No augmentation during training in any row: the table compares only that before the split.
# Epochs, batch size and input size are chosen to fit half an hour on one core.
_SMALL = ("data.batch_size=16", "model.preprocess.size=96", "augment=none")
ROWS = (
    Row("notebook", "notebook CNN", ("experiment=notebook",), 150),
    Row("cnn", "improved CNN", ("model=cnn", *_SMALL), 12),
    Row("resnet18", "ResNet-18 from scratch", ("model=resnet18", *_SMALL), 8),
    Row(TRANSFER, "ResNet-18, transfer", ("model=resnet18", *_SMALL, "optimizer.lr=2e-4"), 4),
)

_COMMON = (
    "data.split.kind=grouped",  # crossvalidate draws its own folds; the cell's plan names them
    "data.split.train=0.8",
    "data.split.validation=0",
    "data.split.calibration=0",
    "data.split.test=0.2",
    "trainer.patience=null",
    "trainer.enable_progress_bar=false",
    "logger=none",
)


@dataclass(frozen=True)
class Plan:
    """What to train.

    Attributes:
        data: A source's name below ``data.root``, or a folder of scans.
        models: Names of rows, in any order.
        pretrained: Weights of a ResNet-18 (or of a network with one as its backbone) that the row
            ``resnet18-transfer`` starts from; without them that row is left out. They must not
            have seen the data, nor copies of it.
        n_folds: At least 2.
        copies: Augmented copies of each scan made before the split in the protocol of that name.
        epochs: Row → epochs, to override the row's own.
        overrides: Settings for all rows, such as ``trainer.accelerator=gpu`` or ``seed=1``.
    """

    data: str = DEFAULT_DATA
    models: Collection[str] = tuple(row.name for row in ROWS)
    pretrained: Path | None = None
    n_folds: int = DEFAULT_FOLDS
    copies: int = DEFAULT_COPIES
    epochs: Mapping[str, int] = field(default_factory=dict)
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        known = [row.name for row in ROWS]
        unknown = sorted({*self.models, *self.epochs} - set(known))
        if unknown or not self.models:
            raise ConfigError(f"protocol: no models {unknown}; choose from {known}")
        few = sorted(name for name, epochs in self.epochs.items() if epochs < 1)
        if few or self.copies < 1:
            raise ConfigError("protocol: epochs and copies must be at least 1")

    def rows(self) -> tuple[Row, ...]:
        """Return the rows to train, in the table's order and with the requested epochs."""
        rows = [row for row in ROWS if row.name in self.models]
        rows = [row for row in rows if row.name != TRANSFER or self.pretrained is not None]
        return tuple(replace(row, epochs=self.epochs.get(row.name, row.epochs)) for row in rows)

    def left_out(self) -> dict[str, str]:
        """Return row → why it is not trained."""
        if TRANSFER in self.models and self.pretrained is None:
            return {TRANSFER: "no pretrained weights were given (--pretrained PATH)"}
        return {}


@dataclass(frozen=True)
class Cell:
    """One model under one protocol.

    Attributes:
        metrics: Every metric over all scans, copies left out, with its grouped interval.
        optimism: The same metrics minus those of the grouped protocol, paired by scan; empty
            for the grouped protocol itself.
        epochs: Trained; copies: made of each scan before the split.
    """

    metrics: dict[str, Estimate]
    optimism: dict[str, Estimate]
    epochs: int
    copies: int


@dataclass(frozen=True)
class Table:
    """The cells by row and protocol, and the data they were measured on."""

    plan: Plan
    scans: int
    groups: int
    cells: dict[str, dict[str, Cell]]
    pretrained_sha256: str | None


def run_row(plan: Plan, row: Row, run_dir: Path) -> dict[str, Predictions]:
    """Train a row's three cells, or read finished ones; return their predictions.

    Each cell has a folder ``<row>/<protocol>`` below ``run_dir``, written and resumed by
    `crossvalidate`. Predictions on copies, which a fold's test part holds too, are dropped, so that
    all protocols are measured on the same scans.

    Raises:
        ConfigError: A setting is wrong, or a cell's folder holds one made with other settings.
        DataError, OutputError: As `crossvalidate`.
    """
    predictions: dict[str, Predictions] = {}
    for name in ("grouped", "random", "augment-before-split"):
        folds_by = fold_plan(name, plan.copies)
        config = cell_config(plan, row, folds_by.copies)
        log.info("cell", model=row.name, protocol=name, epochs=config.trainer.max_epochs)
        result = crossvalidate(
            config, plan.n_folds, run_dir=run_dir / row.name / name, folds_by=folds_by
        )
        table = concatenated(list(result.folds.values()))
        scans = set(predictions["grouped"].keys) if predictions else set(table.keys)
        predictions[name] = table.take(np.array([key in scans for key in table.keys]))
    return predictions


def fold_plan(protocol: str, copies: int) -> FoldPlan:
    """Return how a protocol draws its folds; the leaky ones are named so."""
    return {
        "grouped": GROUPED,
        "random": FoldPlan(RANDOM_LEAKY),
        "augment-before-split": FoldPlan("augment-before-split-leaky", copies),
    }[protocol]


def cell_config(plan: Plan, row: Row, copies: int) -> RunConfig:
    """Return a cell's training configuration: the row's, with as many images seen in any cell.

    Raises:
        ConfigError: An override is wrong, or the pretrained weights fit no ResNet-18.
        ModelNotFoundError: The pretrained weights do not exist.
    """
    config = compose_config([*row.settings, *_COMMON, *plan.overrides])
    epochs = max(1, round(row.epochs / (copies + 1)))
    config = config.changed(
        {"trainer": {"max_epochs": epochs}, "data": {"sources": [plan.data]},
         "name": f"protocol-{row.name}"}
    )  # fmt: skip
    if row.name != TRANSFER:
        return config
    assert plan.pretrained is not None
    config = config.changed({"model": {"arguments": {"weights": str(plan.pretrained)}}})
    build(config.model.architecture, **config.model.arguments)  # raises before any training
    # Part of the cell's plan, so that changed weights under the same path are noticed.
    return replace(config, name=f"{config.name}-{sha256_of(plan.pretrained)[:12]}")


def measure_row(plan: Plan, row: Row, predictions: Mapping[str, Predictions]) -> dict[str, Cell]:
    """Return a row's cells from its predictions by protocol."""
    grouped, cells = predictions["grouped"], {}
    for name in PROTOCOLS:
        copies = fold_plan(name, plan.copies).copies
        optimism = {} if name == "grouped" else paired_difference(predictions[name], grouped)
        epochs = cell_config(plan, row, copies).trainer.max_epochs
        cells[name] = Cell(summarize(predictions[name]), optimism, epochs, copies)
    return cells


def settings_of(plan: Plan, row: Row) -> dict[str, Any]:
    """Return a row's training settings for the table's JSON."""
    config = cell_config(plan, row, 0)
    values = config.to_plain()
    return {
        "title": row.title,
        "epochs": row.epochs,
        "seed": config.seed,
        "batch_size": config.data.batch_size,
        "optimizer": values["optimizer"],
        "precision": str(config.trainer.precision),
        "input": values["model"]["preprocess"],
        "augmentation": values["augment"],
    }
