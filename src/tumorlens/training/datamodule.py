"""Records → batches: a dataset with three modes, a seeded sampler and the Lightning module."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from tumorlens.data.manifest import Record
from tumorlens.errors import ConfigError, DataError

Mode = Literal["train", "validation", "test"]
VIEWS = ("axial", "coronal", "sagittal", None)


class ScanDataset(Dataset[dict[str, Tensor]]):
    """Preprocessed scans of one part of a split.

    An item holds ``image`` float32 ``[C, H, W]`` and ``label`` float32 ``[]`` (0 or 1). In
    ``train`` mode it also holds ``lesion`` float32 ``[1, H, W]`` (1 lesion, 0 none, between:
    unsure), ``annotated`` float32 ``[]``: 1 where the place is known, which it is in every
    healthy picture, and ``view`` int64 ``[]``: its place in ``VIEWS``. Augmentation is not
    done here but on whole batches in the training step, so validation and test items are
    what the service would compute.

    Args:
        records: The part's records; every label must be known.
        inputs: float32 ``[N, C, S, S]``, in the records' order.
        lesions: uint8 ``[N, S, S]``, in the records' order.
        mode: Which part this is.
    """

    def __init__(
        self,
        records: Sequence[Record],
        inputs: NDArray[np.float32],
        lesions: NDArray[np.uint8],
        mode: Mode,
    ) -> None:
        unlabelled = [record.key for record in records if record.label is None]
        if unlabelled:
            raise DataError(f"{len(unlabelled)} records have no label: {unlabelled[:3]}")
        if not len(records) == len(inputs) == len(lesions):
            raise DataError(f"{len(records)} records, {len(inputs)} inputs, {len(lesions)} lesions")
        self.records, self.mode = list(records), mode
        self._inputs, self._lesions = inputs, lesions
        self.labels = np.array([record.label for record in records], dtype=np.float32)
        self._annotated = np.array(
            [record.label == 0 or bool(record.boxes or record.polygons) for record in records],
            dtype=np.float32,
        )
        self._views = np.array([VIEWS.index(record.view) for record in records], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a whole batch, as the loader asks for it: items' tensors with an axis before.

        Picked at once: picking 32 items and stacking them takes as long as half a training step of
        a small network.
        """
        rows = np.asarray(indices, dtype=np.int64)
        # Picking copies, so that no batch can write into the (read-only, memory-mapped) cache.
        batch = {
            "image": torch.from_numpy(np.asarray(self._inputs[rows])),
            "label": torch.from_numpy(self.labels[rows]),
        }
        if self.mode == "train":
            lesion = torch.from_numpy(np.asarray(self._lesions[rows]))
            batch["lesion"] = lesion.float().div(255)[:, None]
            batch["annotated"] = torch.from_numpy(self._annotated[rows])
            batch["view"] = torch.from_numpy(self._views[rows])
        return batch


def _as_it_is(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stand in for the loader's stacking, since the dataset gives whole batches."""
    return batch


class SeededSampler(Sampler[int]):
    """Draw indices by (seed, epoch) alone, so a resumed run sees the same order.

    Without weights, a permutation of all items; with weights, ``count`` draws with
    replacement. Under several processes each rank takes every ``world``-th index.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        weights: NDArray[np.float64] | None = None,
        count: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.weights, self.count = weights, count or size
        self.rank, self.world = rank, world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.world)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            order = rng.permutation(self.size)[: self.count]
        else:
            order = rng.choice(self.size, self.count, p=self.weights)
        # Padded by repetition so that every rank draws equally many.
        order = np.resize(order, len(self) * self.world)
        return iter(order[self.rank :: self.world].tolist())


def balanced_weights(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return drawing probabilities ``[N]``: labels equal, views and sources by roots.

    In a label each view weighs as the root of what it holds, and in a view each source as the
    root of its size: between drawing all images alike (large sources would rule, and the view
    tell the answer) and all sources alike (the smallest would be learnt by heart).
    """
    cells = [(record.label, record.view, record.source) for record in records]
    sizes = Counter(cells)
    views: dict[tuple[int | None, str | None], float] = defaultdict(float)
    for (label, view, _), size in sizes.items():
        views[label, view] += size**0.5
    labels: dict[int | None, float] = defaultdict(float)
    for (label, _), held in views.items():
        labels[label] += held**0.5
    weights = np.array(
        [sizes[cell] ** -0.5 * views[cell[:2]] ** -0.5 / labels[cell[0]] for cell in cells]
    )
    return np.asarray(weights / weights.sum(), dtype=np.float64)


class ScanDataModule(L.LightningDataModule):
    """Loaders over the parts of a split; only the training loader shuffles.

    Args:
        parts: A dataset per part; a part without records is left out.
        batch_size: Images a batch and process.
        sampler: ``shuffle`` or ``balanced`` (see :func:`balanced_weights`).
        epoch_images: Draws per epoch under ``balanced``; None draws as many as there are.
        num_workers: Loader processes.
        seed: Orders the training images.
    """

    def __init__(
        self,
        parts: dict[Mode, ScanDataset],
        *,
        batch_size: int = 32,
        sampler: Literal["shuffle", "balanced"] = "shuffle",
        epoch_images: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if sampler not in ("shuffle", "balanced"):
            raise ConfigError(f"data.sampler is {sampler!r}; use shuffle or balanced")
        if batch_size < 1:
            raise ConfigError(f"data.batch_size is {batch_size}; it must be at least 1")
        self.parts, self.batch_size, self.sampler = parts, batch_size, sampler
        self.epoch_images, self.num_workers, self.seed = epoch_images, num_workers, seed

    def _loader(self, mode: Mode, sampler: Sampler[int] | None) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            self.parts[mode],
            batch_size=self.batch_size,
            sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the shuffling loader over the training part."""
        dataset = self.parts["train"]
        balanced = self.sampler == "balanced"
        trainer = self.trainer
        sampler = SeededSampler(
            len(dataset),
            self.seed,
            weights=balanced_weights(dataset.records) if balanced else None,
            count=self.epoch_images if balanced else None,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
        )
        return self._loader("train", sampler)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return the validation loader in fixed order; none when the split has no such part."""
        return [self._loader("validation", None)] if "validation" in self.parts else []

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return the test loader in fixed order; none when the split has no such part."""
        return [self._loader("test", None)] if "test" in self.parts else []
