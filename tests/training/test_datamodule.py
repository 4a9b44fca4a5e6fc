"""Items, batches and their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from tests.drawn_data import SIZE, drawn_dataset, drawn_records
from tumorlens.errors import DataError
from tumorlens.training.datamodule import (
    ScanDataModule,
    ScanDataset,
    SeededSampler,
    balanced_weights,
    balancing_weight,
    class_weights,
)

LABELS = [1, 0, 1, 1, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_item(channels: int) -> None:
    train = drawn_dataset(LABELS, "train", channels)
    item = train[2]
    assert set(item) == {"image", "label", "lesion", "annotated", "view"}
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in item.items()} == {
        "image": (torch.float32, (channels, SIZE, SIZE)),
        "label": (torch.float32, ()),
        "lesion": (torch.float32, (1, SIZE, SIZE)),
        "annotated": (torch.float32, ()),
        "view": (torch.int64, ()),
    }
    assert item["image"].unique().tolist() == pytest.approx([0.02])
    assert item["lesion"].unique().tolist() == [0, 0.5, 1]
    # Known: every healthy picture, and tumours with a box; not the tumour without one.
    assert [train[at]["annotated"].item() for at in (1, 2, 3)] == [1, 1, 0]
    for mode in ("validation", "test"):
        dataset = drawn_dataset(LABELS, mode, channels)  # type: ignore[arg-type]
        assert set(dataset[2]) == {"image", "label"}
    assert [int(train[at]["label"]) for at in range(len(train))] == LABELS


def test_an_item_does_not_share_memory_with_the_store() -> None:
    inputs = np.zeros((2, 1, 8, 8), dtype=np.float32)
    inputs.flags.writeable = False
    dataset = ScanDataset(drawn_records([0, 1]), inputs, np.zeros((2, 8, 8), np.uint8), "train")
    dataset[0]["image"].fill_(1)
    assert dataset[0]["image"].sum() == 0


@pytest.mark.parametrize("mode", ["train", "validation"])
def test_a_batch_is_its_items_stacked(mode: str) -> None:
    dataset = drawn_dataset(LABELS, mode)  # type: ignore[arg-type]
    batch = dataset.__getitems__([3, 0, 3])
    stacked = default_collate([dataset[3], dataset[0], dataset[3]])
    assert list(batch) == list(stacked)
    for name, tensor in batch.items():
        assert tensor.dtype == stacked[name].dtype
        assert torch.equal(tensor, stacked[name])


def test_records_that_do_not_fit_are_refused() -> None:
    records, inputs = drawn_records([0, 1]), np.zeros((2, 1, 8, 8), np.float32)
    lesions = np.zeros((2, 8, 8), np.uint8)
    unlabelled = [records[0], replace(records[1], label=None)]
    with pytest.raises(DataError, match=r"no label.*s:1\.png"):
        ScanDataset(unlabelled, inputs, lesions, "train")
    with pytest.raises(DataError, match="1 inputs"):
        ScanDataset(records, inputs[:1], lesions, "train")


def module(**settings: object) -> ScanDataModule:
    parts = {mode: drawn_dataset(LABELS, mode) for mode in ("train", "validation", "test")}
    return ScanDataModule(parts, **{"batch_size": 4, **settings})  # type: ignore[arg-type]


def order_of(loader: object) -> list[int]:
    images = torch.cat([batch["image"] for batch in loader])  # type: ignore[attr-defined]
    return [round(float(level) * 100) for level in images[:, 0, 0, 0]]


def test_only_the_training_loader_shuffles() -> None:
    loaders = module()
    everything = list(range(len(LABELS)))
    train = loaders.train_dataloader()
    first = order_of(train)
    assert sorted(first) == everything
    assert first != everything
    train.sampler.set_epoch(1)  # type: ignore[attr-defined]
    second = order_of(train)
    assert sorted(second) == everything
    assert second != first
    for loader in (*loaders.val_dataloader(), *loaders.test_dataloader()):
        assert order_of(loader) == order_of(loader) == everything
    assert [len(batch["label"]) for batch in train] == [4, 4, 2]


def test_the_default_batch_is_the_notebook_s() -> None:
    parts = {"train": drawn_dataset([0, 1] * 40, "train")}
    train = ScanDataModule(parts).train_dataloader()  # type: ignore[arg-type]
    assert [len(batch["label"]) for batch in train] == [32, 32, 16]


def test_parts_that_do_not_exist_have_no_loader() -> None:
    loaders = ScanDataModule({"train": drawn_dataset(LABELS, "train")})
    assert loaders.val_dataloader() == loaders.test_dataloader() == []


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> list[int]:
        sampler = SeededSampler(50, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert drawn(0, 3) == drawn(0, 3)
    orders = [drawn(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(("size", "world"), [(12, 3), (13, 4), (5, 8)])
def test_ranks_share_an_epoch(size: int, world: int) -> None:
    shares = [list(SeededSampler(size, 7, rank=rank, world=world)) for rank in range(world)]
    assert {len(share) for share in shares} == {-(-size // world)}
    drawn = [index for share in shares for index in share]
    assert set(drawn) == set(range(size))
    # Only what fills the last round is drawn twice.
    assert len(drawn) - size < world
    if size % world == 0:
        assert len(set(drawn)) == len(drawn)
    assert len(SeededSampler(size, 7, rank=0, world=world)) == len(shares[0])


def test_weights_balance_findings_and_calm_large_sources() -> None:
    records = [
        *drawn_records([1] * 16, source="large"),
        *drawn_records([1] * 4, source="small"),
        *drawn_records([0] * 9, source="large"),
    ]
    weights = balanced_weights(records)
    assert weights.sum() == pytest.approx(1)
    assert weights[:20].sum() == pytest.approx(0.42)
    assert weights[:16].sum() / weights[16:20].sum() == pytest.approx(2)  # sqrt(16 / 4)
    sampler = SeededSampler(29, 0, weights=weights, count=6000)
    share = np.bincount(list(sampler), minlength=29)[:20].sum() / 6000
    assert len(sampler) == 6000
    assert share == pytest.approx(0.42, abs=0.03)


def test_every_finding_has_its_share() -> None:
    tumours, beside = drawn_records([1] * 40), drawn_records([0] * 6)
    healthy = drawn_records([0] * 24, source="h")
    clear = [replace(each, finding="clear") for each in drawn_records([0] * 2, source="t")]
    other = [replace(each, finding="other_lesion") for each in drawn_records([0] * 5, source="t")]
    weights = balanced_weights([*tumours, *beside, *healthy, *clear, *other])
    shares = [part.sum() for part in np.split(weights, [40, 46, 70, 72])]
    assert shares == pytest.approx([0.42, 0.14, 0.16, 0.20, 0.08])


def test_the_share_of_a_missing_finding_goes_to_the_rest_that_show_no_tumour() -> None:
    tumours, healthy = drawn_records([1] * 40), drawn_records([0] * 24, source="h")
    clear = [replace(each, finding="clear") for each in drawn_records([0] * 2, source="t")]
    weights = balanced_weights([*tumours, *healthy, *clear])
    shares = [part.sum() for part in np.split(weights, [40, 64])]
    assert shares == pytest.approx([0.42, 0.58 * 16 / 36, 0.58 * 20 / 36])


def test_sequences_of_a_source_are_balanced_too() -> None:
    rare, common = drawn_records([1] * 4), drawn_records([1] * 16)
    records = [
        *(replace(each, sequence="FLAIR") for each in rare),
        *(replace(each, sequence="T1C") for each in common),
        *drawn_records([0] * 4),
    ]
    weights = balanced_weights(records)
    assert weights[4:20].sum() / weights[:4].sum() == pytest.approx(2)  # sqrt(16 / 4)


def test_class_weights_are_torch_s_usual_ones() -> None:
    weights = class_weights(drawn_records([1, 1, 1, 0]))
    assert weights.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    sampler = SeededSampler(4, 0, weights=weights, count=6000)
    drawn = np.array(list(sampler))
    assert np.isin(drawn, [0, 1, 2]).mean() == pytest.approx(0.5, abs=0.03)
    assert list(sampler) == drawn.tolist()
    sampler.set_epoch(1)
    assert list(sampler) != drawn.tolist()


@pytest.mark.parametrize(("labels", "weight"), [([1, 0], 1), ([1, 1, 1, 0], 1 / 3), ([0, 0, 1], 2)])
def test_the_weight_that_balances(labels: list[int], weight: float) -> None:
    assert balancing_weight(np.array(labels, dtype=np.float32)) == pytest.approx(weight)


def test_the_weighted_loader_evens_out_the_classes() -> None:
    parts = {"train": drawn_dataset([1] * 90 + [0] * 10, "train")}
    loader = ScanDataModule(parts, sampler="weighted", epoch_images=2000).train_dataloader()  # type: ignore[arg-type]
    labels = torch.cat([batch["label"] for batch in loader])
    assert len(labels) == 2000
    assert float(labels.mean()) == pytest.approx(0.5, abs=0.05)


def test_the_balanced_loader_draws_as_many_as_asked() -> None:
    loader = module(sampler="balanced", epoch_images=23).train_dataloader()
    assert sum(len(batch["label"]) for batch in loader) == 23
