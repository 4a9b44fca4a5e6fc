"""Loader workers augment as the training step would."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from tests.drawn_data import SIZE, drawn_records
from tumorlens.augmentation.pipeline import augmented, progress_of, seeds_of
from tumorlens.augmentation.policy import AugmentationPolicy
from tumorlens.training.datamodule import ScanDataModule, ScanDataset

LABELS = [1, 0, 1, 1, 0, 0, 1, 0, 0, 0]
POLICY = AugmentationPolicy.from_mapping(
    {
        "geometry": {"rotation": 20},
        "intensity": {"rician_noise": {"prob": 0.5}, "adjust_contrast": {"prob": 0.5}},
        "lesions": {"insertion": {"prob": 0.5}},
        "schedule": {"sequence_from": 0.5, "sequence_factor": 2.0},
    }
)


def grains() -> ScanDataset:
    rng = np.random.default_rng(0)
    inputs = rng.random((len(LABELS), 1, SIZE, SIZE), dtype=np.float32)
    lesions = np.zeros((len(LABELS), SIZE, SIZE), np.uint8)
    lesions[:, 2:5, 3:6] = 255
    return ScanDataset(drawn_records(LABELS), inputs, lesions, "train")


def loaders(workers: int, rank: int = 0) -> ScanDataModule:
    data = ScanDataModule(
        {"train": grains()},
        batch_size=4,
        sampler="weighted",
        epoch_images=10,
        num_workers=workers,
        seed=5,
        augmentation=POLICY,
    )
    data.trainer = SimpleNamespace(global_rank=rank, world_size=2, max_epochs=2)  # type: ignore[assignment]
    return data


def read(workers: int, epoch: int, rank: int = 0) -> list[dict[str, Tensor]]:
    loader = loaders(workers, rank).train_dataloader()
    sampler = loader.batch_sampler.sampler if workers else loader.sampler  # type: ignore[union-attr]
    sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return list(loader)


@pytest.mark.parametrize(("epoch", "rank"), [(0, 0), (1, 0), (1, 1)])
def test_workers_do_to_a_batch_what_the_step_does(epoch: int, rank: int) -> None:
    ahead, plain = read(2, epoch, rank), read(0, epoch, rank)
    assert [len(batch["label"]) for batch in ahead] == [4, 1]
    for index, (done, batch) in enumerate(zip(ahead, plain, strict=True)):
        seed, _ = seeds_of(5, epoch, index, rank)
        expected = augmented(batch, POLICY, epoch / 2, Generator().manual_seed(seed))
        assert set(done) == set(expected) == {"image", "label", "lesion", "annotated"}
        for name, values in expected.items():
            assert torch.allclose(done[name], values, atol=1e-6), name
        assert not torch.equal(done["image"], batch["image"])


def test_epochs_and_ranks_are_augmented_otherwise() -> None:
    images = [read(1, epoch, rank)[0]["image"] for epoch, rank in ((0, 0), (1, 0), (0, 1))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(images[one], images[other])


def test_one_loader_goes_through_epoch_after_epoch() -> None:
    loader = loaders(1).train_dataloader()
    first = [batch["image"] for batch in loader]
    again = [batch["image"] for batch in loader]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    loader.batch_sampler.sampler.set_epoch(1)  # type: ignore[union-attr]
    later = [batch["image"] for batch in loader]
    assert not torch.equal(first[0], later[0])


@pytest.mark.parametrize(
    ("epoch", "epochs", "progress"), [(3, 12, 0.25), (0, 4, 0.0), (3, None, 0.0), (3, -1, 0.0)]
)
def test_progress_is_the_share_of_the_epochs(
    epoch: int, epochs: int | None, progress: float
) -> None:
    assert progress_of(epoch, epochs) == progress
