"""Augmentation of training batches, in the training step or in the data loader's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Generator, Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.augmentation.transform import Batch

Loaded = dict[str, Tensor]
"""A batch of a data loader, with the names of :class:`Batch`; without views once augmented."""


def seeds_of(seed: int, epoch: int, index: int, rank: int) -> tuple[int, int]:
    """Return the seeds of a step's augmentation and of its dropout."""
    states = np.random.SeedSequence((seed, epoch, index, rank)).generate_state(2)
    return int(states[0]), int(states[1])


def augmented(
    loaded: Loaded, policy: AugmentationPolicy, progress: float, generator: Generator
) -> Loaded:
    """Return a batch as it is at ``progress`` (0..1) of the training, without its views.

    ``loaded`` is one of :class:`~tumorlens.training.datamodule.ScanDataset` in train mode and is
    not changed.
    """
    batch = Batch(**loaded)
    if policy != AugmentationPolicy():
        batch = policy.transforms(progress, batch.image.shape[-1])(batch, generator)
    return {
        "image": batch.image,
        "label": batch.label,
        "lesion": batch.lesion,
        "annotated": batch.annotated,
    }


def progress_of(epoch: int, epochs: int | None) -> float:
    """Return the share of the training before an epoch; 0 for an unknown number of epochs."""
    return epoch / epochs if epochs and epochs > 0 else 0.0


class PlacedRows(list[int]):
    """The rows of a batch, with its epoch and its number within the epoch."""

    epoch: int = 0
    number: int = 0


class PlacedBatches(BatchSampler):
    """A batch sampler whose batches carry their epoch and number.

    Lightning sets the epoch of the attribute ``sampler``.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = getattr(self.sampler, "epoch", 0)
        for number, rows in enumerate(super().__iter__()):
            placed = PlacedRows(rows)
            placed.epoch, placed.number = epoch, number
            yield placed


@dataclass(frozen=True)
class Augmentation:
    """What a data loader's worker needs to augment a batch as the training step would."""

    policy: AugmentationPolicy
    seed: int
    rank: int
    epochs: int | None


class AugmentedDataset(Dataset[Loaded]):
    """Augmented batches of a training part, for batches of `PlacedBatches`.

    The result is the same as in the training step, since the seeds depend on epoch and number.
    """

    def __init__(self, dataset: Dataset[Loaded], augmentation: Augmentation) -> None:
        self.dataset, self.augmentation = dataset, augmentation

    def __getitems__(self, rows: Sequence[int]) -> Loaded:
        """Return the augmented batch of `PlacedRows`."""
        assert isinstance(rows, PlacedRows)
        how = self.augmentation
        seed, _ = seeds_of(how.seed, rows.epoch, rows.number, how.rank)
        loaded: Loaded = self.dataset.__getitems__(rows)  # type: ignore[attr-defined]
        generator = Generator().manual_seed(seed)
        return augmented(loaded, how.policy, progress_of(rows.epoch, how.epochs), generator)
