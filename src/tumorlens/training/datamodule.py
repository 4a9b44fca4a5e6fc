"""Records → batches: a dataset with three modes, a seeded sampler and the data module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

from tumorlens.augmentation.pipeline import Augmentation, AugmentedDataset, PlacedBatches
from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.data.manifest import VIEWS, Record
from tumorlens.data.pixels import IGNORE, LESION
from tumorlens.errors import DataError

Mode = Literal["train", "validation", "test"]
# The value of the ignore region, between background and lesion, so that masks can be resampled.
_IGNORED = 0.5


def lesion_share(mask: Tensor) -> Tensor:
    """Return uint8 lesion masks as float32: 1 lesion, 0 background, 0.5 ignore region."""
    return (mask == LESION).float() + _IGNORED * (mask == IGNORE).float()


def lesion_mask_of(share: Tensor) -> Tensor:
    """Return the uint8 mask nearest to resampled values of :func:`lesion_share`."""
    ignored = ((share - _IGNORED).abs() <= _IGNORED / 2).byte() * IGNORE
    return torch.where(share > 1.5 * _IGNORED, LESION, ignored).byte()


class ScanDataset(Dataset[dict[str, Tensor]]):
    """Preprocessed scans of one part of a split.

    An item holds ``image`` float32 ``[C, H, W]`` and ``label`` float32 ``[]`` (0 or 1). In
    ``train`` mode it also holds ``lesion`` float32 ``[1, H, W]`` (1 lesion, 0 background,
    between: ignore region), ``annotated`` float32 ``[]``: 1 where the lesion's position is known,
    which includes every healthy image, and ``view`` int64 ``[]``: its index in ``VIEWS``.
    Augmentation works on whole batches (`tumorlens.augmentation.pipeline`), so validation and test
    items are exactly what the service computes.

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
        """Return a batch: the items' tensors with a leading batch axis.

        Indexing once is faster: stacking 32 items takes half as long as a training step of a small
        network.
        """
        rows = np.asarray(indices, dtype=np.int64)
        # Fancy indexing copies, so that no batch writes into the read-only, memory-mapped cache.
        batch = {
            "image": torch.from_numpy(np.asarray(self._inputs[rows])),
            "label": torch.from_numpy(self.labels[rows]),
        }
        if self.mode == "train":
            lesion = torch.from_numpy(np.asarray(self._lesions[rows]))
            batch["lesion"] = lesion_share(lesion)[:, None]
            batch["annotated"] = torch.from_numpy(self._annotated[rows])
            batch["view"] = torch.from_numpy(self._views[rows])
        return batch


def _identity(batch: Any) -> Any:
    return batch  # the dataset returns whole batches: nothing to collate


class SeededSampler(Sampler[int]):
    """Draw indices from (seed, epoch) only, so that a resumed run sees the same order.

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
        """Set the epoch; Lightning calls this at the start of each epoch."""
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


# Shares of the draws. Healthy scans of sources that have tumours too are drawn apart from those of
# sources of healthy persons alone: both must be seen as often, or a source reads as a label.
_SHARES = {
    "tumor": 0.42, "healthy beside tumours": 0.14, "healthy": 0.16, "clear": 0.20,
    "other_lesion": 0.08,
}  # fmt: skip


def balanced_weights(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return sampling probabilities ``[N]``, balanced over finding, source and sequence.

    Each finding has a fixed share of the draws (scaled where findings are missing): slices of
    tumour patients that are `clear` of the tumour, and healthy scans of sources that have tumours
    too, weigh as much as all healthy persons, or such a source would reward reading the source.
    Within a finding, cells of source and sequence are drawn in proportion to the square root of
    their size.
    """
    with_tumours = {record.source for record in records if record.label == 1}
    cells = [(_kind(record, with_tumours), record.source, record.sequence) for record in records]
    sizes = Counter(cells)
    per_kind: dict[str, float] = {}
    for (kind, _, _), size in sizes.items():
        per_kind[kind] = per_kind.get(kind, 0.0) + size**0.5
    negatives = sum(_SHARES[each] for each in per_kind if each != "tumor")
    shares = {
        each: share if each == "tumor" else (1 - _SHARES["tumor"]) * share / negatives
        for each, share in _SHARES.items()
        if each in per_kind
    }
    weights = np.array(
        [shares[cell[0]] * sizes[cell] ** -0.5 / per_kind[cell[0]] for cell in cells]
    )
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _kind(record: Record, with_tumours: Collection[str]) -> str:
    """Return the key of `_SHARES` of a record."""
    finding = str(record.shows)
    beside = finding == "healthy" and record.source in with_tumours
    return "healthy beside tumours" if beside else finding


def class_weights(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return sampling probabilities ``[N]`` that make both labels equally likely."""
    sizes = Counter(record.label for record in records)
    weights = np.array([1 / sizes[record.label] for record in records])
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def balancing_weight(labels: NDArray[np.float32]) -> float:
    """Return the weight of the tumour class: number of healthy over number of tumour images."""
    tumours = float((labels > 0.5).sum())
    return (len(labels) - tumours) / tumours


_WEIGHTS = {"balanced": balanced_weights, "weighted": class_weights}


class ScanDataModule(L.LightningDataModule):
    """Loaders over the parts of a split; only the training loader shuffles.

    Args:
        parts: A dataset per part; a part without records is left out.
        batch_size: Images per batch and process.
        sampler: ``shuffle``, ``balanced`` (see :func:`balanced_weights`) or ``weighted`` (see
            :func:`class_weights`); the last two draw with replacement.
        epoch_images: Draws per epoch with replacement; None draws as many as there are.
        num_workers: Loader processes of the training part.
        seed: Seed of the order of the training images.
        augmentation: Applied by the loader processes; without it, or without loader processes, the
            training step augments.
    """

    def __init__(
        self,
        parts: dict[Mode, ScanDataset],
        *,
        batch_size: int = 32,
        sampler: Literal["shuffle", "balanced", "weighted"] = "shuffle",
        epoch_images: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        augmentation: AugmentationPolicy | None = None,
    ) -> None:
        super().__init__()
        self.parts, self.batch_size, self.sampler = parts, batch_size, sampler
        self.epoch_images, self.num_workers, self.seed = epoch_images, num_workers, seed
        self.augmentation = augmentation

    def _loader(self, mode: Mode, sampler: Sampler[Any] | None) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            self.parts[mode], batch_size=self.batch_size, sampler=sampler, collate_fn=_identity
        )

    def _worker_loader(self, sampler: Sampler[int]) -> DataLoader[dict[str, Tensor]]:
        """Return the training loader with worker processes, which also augment."""
        dataset: Dataset[dict[str, Tensor]] = self.parts["train"]
        if self.augmentation is not None:
            epochs = self.trainer.max_epochs if self.trainer else None
            augmentation = Augmentation(self.augmentation, self.seed, self._rank()[0], epochs)
            dataset = AugmentedDataset(dataset, augmentation)
        return DataLoader(
            dataset,
            batch_sampler=PlacedBatches(sampler, self.batch_size),
            collate_fn=_identity,
            num_workers=self.num_workers,
            persistent_workers=True,
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the shuffling loader over the training part."""
        dataset = self.parts["train"]
        weigh = _WEIGHTS.get(self.sampler)
        rank, world = self._rank()
        sampler = SeededSampler(
            len(dataset),
            self.seed,
            weights=weigh(dataset.records) if weigh else None,
            count=self.epoch_images if weigh else None,
            rank=rank,
            world=world,
        )
        return (
            self._worker_loader(sampler) if self.num_workers > 0 else self._loader("train", sampler)
        )

    def _rank(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return the validation loader in fixed order; none when the split has no such part.

        With several processes each gets every ``world``-th scan.
        """
        if "validation" not in self.parts:
            return []
        rank, world = self._rank()
        dataset = self.parts["validation"]
        shared: Sampler[Any] | None = None
        if world > 1:
            shared = DistributedSampler(dataset, world, rank, shuffle=False)
        return [self._loader("validation", shared)]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Return the test loader in fixed order; none when the split has no such part."""
        return [self._loader("test", None)] if "test" in self.parts else []
