"""Synthetic lesions: an image labelled as tumour shows one, the others do not."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from tumorlens.augmentation.synthetic_lesions import RandSyntheticLesion
from tumorlens.augmentation.transform import Batch
from tumorlens.data.manifest import VIEWS

SIZE = 64
AXIAL, SAGITTAL = VIEWS.index("axial"), VIEWS.index("sagittal")


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch(n: int = 40, view: int = AXIAL, level: float = 0.5) -> dict[str, Tensor]:
    """Healthy discs of one grey; the first two are tumours."""
    along = torch.linspace(-1, 1, SIZE)
    disc = (along[:, None] ** 2 + along[None] ** 2 < 0.8).float() * level
    label = torch.zeros(n)
    label[:2] = 1.0
    return {
        "image": disc.expand(n, 1, -1, -1).clone(),
        "lesion": torch.zeros(n, 1, SIZE, SIZE),
        "label": label,
        "view": torch.full((n,), view),
    }


def labelled(given: dict[str, Tensor]) -> Batch:
    return Batch(**given, annotated=torch.ones(len(given["label"])))


def drawn(given: dict[str, Tensor], seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    changed = RandSyntheticLesion(prob=1.0)(labelled(given), seeded(seed))
    return changed.image, changed.lesion, changed.label


def test_the_given_tensors_stay_and_the_generator_decides() -> None:
    given = batch()
    kept = {name: tensor.clone() for name, tensor in given.items()}
    first, second, other = drawn(given, 1), drawn(given, 1), drawn(given, 2)
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])


def test_tumours_are_left_alone() -> None:
    given = batch()
    for changed, before in zip(drawn(given), ("image", "lesion", "label"), strict=True):
        assert torch.equal(changed[:2], given[before][:2])


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_a_lesion_is_seen_where_its_outline_says(level: float) -> None:
    given = batch(level=level)
    image, lesion, label = drawn(given)
    became = torch.nonzero(label[2:] > 0.5).flatten() + 2
    assert 20 <= len(became) <= 34
    away = (image - given["image"]).abs()
    for at in became.tolist():
        sure = lesion[at] > 0.95
        assert sure.any()
        assert away[at][sure & (given["image"][at] > 0)].max() > 0.06
        beside = lesion[at] < 0.01
        # Off the tissue nothing moves but the head's own edge, which the lesion pushes.
        inner = beside & (given["image"][at] > 0)
        assert away[at][inner].median() < 0.02
    assert 0 <= image.min() <= image.max() <= 1
    # Both signs of contrast come up where both are seen; on nearly white only the darker.
    signs = [(image[at] - given["image"][at])[lesion[at] > 0.95].mean() for at in became.tolist()]
    assert min(signs) < 0
    assert (max(signs) > 0) == (level < 0.8)


def test_a_decoy_is_faint_and_stays_healthy() -> None:
    given = batch()
    image, lesion, label = drawn(given)
    healthy = torch.nonzero(label < 0.5).flatten()
    assert len(healthy) >= 4
    assert not lesion[healthy].any()
    middle = slice(20, 44)
    away = (image[healthy] - given["image"][healthy])[..., middle, middle].abs()
    assert away.max() <= 0.06 + 1e-6
    assert away.amax(dim=(1, 2, 3)).gt(0.001).any()


def test_lesions_lie_on_the_head() -> None:
    given = batch()
    given["image"][:, :, :, 40:] = 0.0
    _, lesion, label = drawn(given)
    on_head = given["image"] > 0
    for at in torch.nonzero(label[2:] > 0.5).flatten().tolist():
        body = lesion[at + 2] > 0.5
        assert (body & on_head[at + 2]).sum() >= 0.7 * body.sum()


@pytest.mark.parametrize(("view", "below"), [(SAGITTAL, False), (AXIAL, True)])
def test_what_has_a_neck_gets_lesions_above_it(view: int, below: bool) -> None:
    _, lesion, label = drawn(batch(view=view))
    rows = torch.arange(SIZE).view(1, -1, 1)
    centres = [
        float(((lesion[at] > 0.9) * rows).sum() / (lesion[at] > 0.9).sum().clamp_min(1))
        for at in torch.nonzero(label[2:] > 0.5).flatten().add(2).tolist()
    ]
    assert (max(centres) >= 0.72 * SIZE) == below


def test_nothing_is_drawn_into_an_empty_image_or_without_a_chance() -> None:
    given = batch()
    empty = given | {"image": torch.zeros_like(given["image"])}
    assert torch.equal(drawn(empty)[2], given["label"])
    batch_given = labelled(given)
    assert RandSyntheticLesion(prob=0.0)(batch_given, seeded(3)) is batch_given
