"""The settings of a run's scans: which are read, how they are split and sampled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class SplitConfig:
    """How the scans are split.

    Attributes:
        kind: ``grouped``, or the notebook's ``random-leaky``.
        path: An existing split file; None draws a new split.
        earlier: A split file whose test and calibration scans stay in their part of a new split;
            ``packaged``: the packaged model's.
        seed: Seed of the split.
        train, validation, calibration, test: Shares of the scans, 0..1.
        learn_validation: Train on the validation part too; the last epoch's weights are then used.
        held_out: Sources used for testing only; their near-duplicates are left out of training.
    """

    kind: Literal["grouped", "random-leaky"] = "grouped"
    path: Path | None = None
    earlier: Path | None = None
    seed: int = 0
    train: Share = 0.7
    validation: Share = 0.1
    calibration: Share = 0.1
    test: Share = 0.1
    learn_validation: bool = False
    held_out: tuple[str, ...] = ()

    def fractions(self) -> dict[str, float]:
        """Return part → share of the scans."""
        return {
            "train": self.train,
            "validation": self.validation,
            "calibration": self.calibration,
            "test": self.test,
        }


@dataclass(frozen=True)
class DataConfig:
    """Which scans a run reads, and how batches are sampled.

    Attributes:
        root: Folder of the data.
        sources: Names of data sets below ``root``, or folders of scans.
        manifests: Tables of further images (`tumorlens.data.manifest.read_manifest`).
        heads: Tables of whole heads (`tumorlens.data.heads.head_records`).
        heads_every_mm: Distance of the slices taken from whole heads; 0: every slice.
        volumes: A folder of healthy NIfTI volumes below ``root``, or None.
        slices_per_plane: Slices taken from each volume and plane.
        learnt_slices_per_plane: The same for volumes in the training part; None: the same number.
        tilted_slices_per_plane: Additional oblique slices, for training only.
        label_issues: ``exclude`` keeps scans with known label issues out of training.
        split: How the scans are split.
        batch_size: Images per batch and process.
        sampler: See :class:`~tumorlens.training.datamodule.ScanDataModule`.
        epoch_images: Images per epoch, for the samplers that draw with replacement.
        num_workers: Loader processes, which also augment; ``auto``: none without a GPU.
        cache_dir: Cache of decoded images between runs; None: no cache.
    """

    root: Path
    sources: tuple[str, ...]
    manifests: tuple[Path, ...] = ()
    heads: tuple[Path, ...] = ()
    heads_every_mm: Annotated[float, Field(ge=0)] = 4.0
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
