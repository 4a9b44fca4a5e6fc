"""Lesions inserted, removed and cropped away: labels and outlines follow, seams tell nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from tumorlens.augmentation.lesions import (
    RandLesionCrop,
    RandLesionInsertion,
    RandLesionRemoval,
)
from tumorlens.augmentation.transform import Batch, Transform

SIZE = 48


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch() -> dict[str, Tensor]:
    """Images 0..3 are tumours at 0.4 with a lesion at 0.6; 4..11 are healthy, at 0.5."""
    image = torch.full((12, 1, SIZE, SIZE), 0.5)
    lesion = torch.zeros(12, 1, SIZE, SIZE)
    for at in range(4):
        lesion[at, :, 6 + 6 * at : 16 + 6 * at, 8:18] = 1.0
        image[at] = torch.where(lesion[at] > 0.5, 0.6, 0.4)
    label = torch.tensor([1.0] * 4 + [0.0] * 8)
    return {"image": image, "lesion": lesion, "label": label, "view": torch.zeros(12).long()}


def applied(transform: Transform, given: dict[str, Tensor], seed: int = 0) -> list[Tensor]:
    """Image, lesion and label after a transform."""
    changed = transform(Batch(**({"annotated": torch.ones(12)} | given)), seeded(seed))
    return [changed.image, changed.lesion, changed.label]


def told(before: Tensor, after: Tensor, *, tumour: bool) -> list[int]:
    """Rows whose label became tumour, or healthy."""
    changed = (after > 0.5) != (before > 0.5)
    return torch.nonzero(changed & ((after > 0.5) == tumour)).flatten().tolist()


@pytest.mark.parametrize("kind", [RandLesionInsertion, RandLesionRemoval])
def test_the_given_tensors_stay_and_the_generator_decides(kind: Any) -> None:
    given, edit = batch(), kind(prob=0.7)
    kept = {name: tensor.clone() for name, tensor in given.items()}
    first, second = applied(edit, given, 1), applied(edit, given, 1)
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], applied(edit, given, 2)[0])


def test_an_inserted_lesion_brings_its_label_its_outline_and_its_contrast() -> None:
    given = batch()
    image, lesion, label = applied(RandLesionInsertion(prob=1.0), given, 1)
    assert torch.equal(image[:4], given["image"][:4])
    became = told(given["label"], label, tumour=True)
    assert became
    assert len(became) < 8
    for host in became:
        donor = next(k for k in range(4) if torch.equal(lesion[host], given["lesion"][k]))
        row, column = 11 + 6 * donor, 13
        # 0.6 on 0.4 at home is half as bright again; the host's tissue is at 0.5. The rim that
        # is compared holds a little of the lesion's feathered edge.
        assert image[host, 0, row, column] == pytest.approx(0.75, abs=0.02)
        assert image[host, 0, 47, 47] == 0.5
    for host in set(range(4, 12)) - set(became):
        assert not lesion[host].any()
        assert label[host] == 0
        assert torch.allclose(image[host], torch.tensor(0.5), atol=1e-5)


def test_no_patch_hangs_in_the_air() -> None:
    given = batch()
    given["image"][4:, :, :, :24] = 0.0
    image, _, label = applied(RandLesionInsertion(prob=1.0), given, 1)
    assert torch.equal(image, given["image"])
    assert torch.equal(label, given["label"])


def test_donors_are_of_the_hosts_view_where_there_are_any() -> None:
    given = batch()
    given["view"] = torch.tensor([0, 1, 2, 2, 0, 0, 0, 1, 1, 1, 3, 3])
    for seed in range(5):
        _, lesion, label = applied(RandLesionInsertion(prob=1.0), given, seed)
        for host in told(given["label"], label, tumour=True):
            donor = next(k for k in range(4) if torch.equal(lesion[host], given["lesion"][k]))
            view = int(given["view"][host])
            assert view == 3 or donor == view


def test_a_removed_lesion_leaves_healthy_tissue_and_no_outline() -> None:
    given = batch()
    image, lesion, label = applied(RandLesionRemoval(prob=1.0), given, 3)
    assert torch.equal(image[4:], given["image"][4:])
    gone = told(given["label"], label, tumour=False)
    assert gone
    assert len(gone) < 4
    for at in gone:
        assert not lesion[at].any()
        inside = given["lesion"][at] > 0.5
        # Its own tissue, or the donor's brought to its own brightness.
        assert image[at][inside].max() < 0.45
    for at in set(range(4)) - set(gone):
        inside = given["lesion"][at] > 0.5
        assert torch.equal(lesion[at], given["lesion"][at])
        assert torch.equal(image[at][inside], given["image"][at][inside])


@pytest.mark.parametrize("kind", [RandLesionInsertion, RandLesionRemoval])
@pytest.mark.parametrize(
    "change",
    [
        {"prob": 0.0},
        {"label": torch.ones(12)},  # no healthy image
        {"lesion": torch.zeros(12, 1, SIZE, SIZE)},  # no lesion to take
        {"lesion": torch.full((12, 1, SIZE, SIZE), 0.5)},  # only ignore regions
    ],
)
def test_without_anything_to_edit_nothing_changes(kind: Any, change: dict[str, Any]) -> None:
    edit = kind(prob=change.get("prob", 1.0))
    given = batch() | {name: tensor for name, tensor in change.items() if name != "prob"}
    answer = applied(edit, given)
    for name, tensor in zip(("image", "lesion", "label"), answer, strict=True):
        assert torch.equal(tensor, given[name]), name


def cropped(seed: int, **change: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    given = batch() | change
    return given, applied(RandLesionCrop(prob=1.0), given, seed)


def test_a_crop_without_the_lesion_is_healthy_and_one_with_it_is_not() -> None:
    kept, left = 0, 0
    for seed in range(10):
        given, (image, lesion, label) = cropped(seed)
        for at in range(4):
            if label[at] == 0:
                left += 1
                assert not lesion[at].any()
                assert image[at].max() == pytest.approx(0.4)
            elif not torch.equal(image[at], given["image"][at]):
                kept += 1
                # Zoomed in, most of the lesion's hundred cells have become more.
                assert (lesion[at] > 0.9).sum() > 70
        assert torch.equal(label[4:], given["label"][4:])
    assert kept > 5
    assert left > 5


def test_a_tumour_without_outline_is_never_cut() -> None:
    unknown = torch.tensor([0.0] * 4 + [1.0] * 8)
    given, (image, _, label) = cropped(1, annotated=unknown)
    assert torch.equal(image[:4], given["image"][:4])
    assert torch.equal(label, given["label"])


def test_a_crop_shows_tissue() -> None:
    air = torch.zeros(12, 1, SIZE, SIZE)
    air[:, :, :4, :4] = 1.0
    given, (image, _, _) = cropped(1, image=air)
    assert torch.equal(image, given["image"])


def test_remapped_lesions_stay_visible_and_healthy_patches_stay_as_they_are() -> None:
    given = batch()
    kinds = {"plain": 0.0, "remapped": 1.0}
    seen: dict[str, list[float]] = {name: [] for name in kinds}
    for seed in range(6):
        for name, share in kinds.items():
            insertion = RandLesionInsertion(prob=1.0, remap_prob=share)
            image, lesion, label = applied(insertion, given, seed)
            for host in told(given["label"], label, tumour=True):
                core = image[host][lesion[host] > 0.5].median()
                seen[name].append(float(core) - 0.5)
            healthy = torch.nonzero(label < 0.5).flatten()
            assert torch.allclose(image[healthy], given["image"][healthy], atol=1e-5)
    # At home a lesion of these is always brighter than its rim; remapped also darker.
    assert min(seen["plain"]) > 0.1
    assert min(seen["remapped"]) < -0.05
    assert min(abs(value) for value in seen["remapped"]) > 0.09
