"""Drawn heads as data sets and settings small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.pixels import IGNORE, LESION
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.runs.compose import compose_config
from tumorlens.runs.config import RunConfig
from tumorlens.runs.folder import run_folder
from tumorlens.training.datamodule import Mode, ScanDataset
from tumorlens.workflows.execution import Trained, execute
from tumorlens.workflows.stages import Stage

SIZE = 32


def draw_heads(root: Path, each: int = 20, size: int = 64) -> Path:
    """Write ``heads/yes`` and ``heads/no`` with ``each`` drawn heads below ``root``."""
    for folder, lesion in (("yes", True), ("no", False)):
        (root / "heads" / folder).mkdir(parents=True)
        for number in range(each):
            seed = number + (0 if lesion else 500)
            head = draw_phantom(seed, lesion=lesion, size=size).image
            assert cv2.imwrite(
                str(root / "heads" / folder / f"{number:02}.png"), _folded(head, seed)
            )
    return root


def _folded(head: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Return the head with folds of its own: drawn heads alone are near-duplicates."""
    folds = np.random.default_rng(seed).uniform(0.5, 1.0, (12, 12)).astype(np.float32)
    shade = cv2.resize(folds, head.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(head * shade, 0, 255).astype(np.uint8)


def tiny_settings(root: Path, run_dir: Path, *overrides: str) -> list[str]:
    """Settings of a run of a few seconds: a tiny CNN, two epochs, 40 heads of 64 pixels."""
    return [
        f"data.root={root}",
        "data.sources=[heads]",
        "data.split.train=0.5",
        "data.split.validation=0.3",
        "data.split.calibration=0.0",
        "data.split.test=0.2",
        "data.batch_size=8",
        "model=cnn",
        "model.arguments.widths=[4,8]",
        f"model.preprocess.size={SIZE}",
        "trainer=debug",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=1.0",
        "trainer.limit_val_batches=1.0",
        "optimizer.lr=0.01",
        "logger=none",
        f"run_dir={run_dir}",
        *overrides,
    ]


def tiny_config(root: Path, run_dir: Path, *overrides: str) -> RunConfig:
    """Those settings, composed."""
    return compose_config(tiny_settings(root, run_dir, *overrides))


def fitted(config: RunConfig) -> Trained:
    """A network fitted and measured, without its export, which takes most of a run's time."""
    return execute(Stage("train", run_folder(config), config))


def evidence_settings(root: Path, run_dir: Path, *overrides: str) -> list[str]:
    """Settings of a run of one epoch of a small evidence network."""
    usual = [each for each in tiny_settings(root, run_dir) if not each.startswith("model")]
    return [
        *usual,
        "model=evidence",
        "model.arguments.width=8",
        "model.arguments.stride=8",
        "model.arguments.k=3",
        f"model.preprocess.size={SIZE}",
        "trainer.max_epochs=1",
        "optimizer.lr=0.001",
        *overrides,
    ]


def drawn_records(labels: list[int], *, source: str = "s") -> list[Record]:
    """Records without files; every second tumour has a box."""
    return [
        Record(
            key=f"{source}:{at}.png",
            path=Path(f"{at}.png"),
            source=source,
            label=label,
            boxes=((0.2, 0.2, 0.6, 0.6),) if label and at % 2 == 0 else None,
        )
        for at, label in enumerate(labels)
    ]


def drawn_dataset(labels: list[int], mode: Mode, channels: int = 1) -> ScanDataset:
    """A dataset whose picture k is of level k / 100."""
    levels = np.arange(len(labels), dtype=np.float32)[:, None, None, None] / 100
    inputs = np.broadcast_to(levels, (len(labels), channels, SIZE, SIZE)).copy()
    lesions = np.zeros((len(labels), SIZE, SIZE), dtype=np.uint8)
    for at, label in enumerate(labels):
        if label and at % 2 == 0:
            lesions[at, 8:16, 8:16], lesions[at, 16, 8:16] = LESION, IGNORE
    return ScanDataset(drawn_records(labels), inputs, lesions, mode)
