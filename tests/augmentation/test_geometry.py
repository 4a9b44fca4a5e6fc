"""Geometry: lesion and image move together, by as much as the settings say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.augmentation.images import blobs, heads, seeded
from tumorlens.augmentation.geometry import RandAffineElastic
from tumorlens.augmentation.transform import Batch
from tumorlens.errors import ConfigError

SETTINGS: dict[str, dict[str, float]] = {
    "flip": {"flip_prob": 1.0},
    "flip vertical": {"flip_vertical_prob": 1.0},
    "both flips": {"flip_prob": 1.0, "flip_vertical_prob": 1.0},
    "rotation": {"rotation": 30.0},
    "scale": {"scale": 0.25},
    "resolution ratio": {"resolution_ratio": 1.2},
    "translation": {"translation": 0.1},
    "elastic": {"elastic_prob": 1.0, "elastic_strength": 0.3},
    "all": {"flip_prob": 0.5, "flip_vertical_prob": 0.5, "rotation": 20.0, "scale": 0.2,
            "translation": 0.1},
}  # fmt: skip


def moved(image: Tensor, lesion: Tensor, seed: int = 0, **settings: Any) -> tuple[Tensor, Tensor]:
    batch = RandAffineElastic(**settings)(Batch.unlabelled(image, lesion), seeded(seed))
    return batch.image, batch.lesion


def test_without_settings_pictures_stay() -> None:
    image, lesion = moved(heads(), blobs(4))
    # The grid of the identity is computed in floats.
    assert torch.allclose(image, heads(), atol=2e-5)
    assert torch.allclose(lesion, blobs(4), atol=2e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_lesion_moves_with_the_image(name: str) -> None:
    images = blobs()
    image, lesion = moved(images, images, 5, **SETTINGS[name])
    assert not torch.allclose(image, images, atol=0.1)
    assert torch.equal(image, lesion)


@pytest.mark.parametrize(
    ("name", "dims"), [("flip", (3,)), ("flip vertical", (2,)), ("both flips", (2, 3))]
)
def test_a_flip_is_a_flip(name: str, dims: tuple[int, ...]) -> None:
    image, _ = moved(heads(), heads(), **SETTINGS[name])
    assert torch.allclose(image, heads().flip(dims), atol=2e-5)


def test_the_resolution_ratio_shows_a_disc_as_much_larger_as_it_says() -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    disc = ((y - 63.5) ** 2 + (x - 63.5) ** 2 < 30**2).float()[None, None]
    larger, _ = moved(disc, disc, resolution_ratio=1.25)
    assert float(larger.sum() / disc.sum()) == pytest.approx(1.25**2, rel=0.01)


def test_a_resolution_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.geometry\.resolution_ratio is 0"):
        RandAffineElastic(resolution_ratio=0.0)


def test_elastic_deformation_stretches_as_much_as_it_says() -> None:
    side, share = 96, 0.15
    # Each pixel's value is its column, so an image's values tell where they were taken from.
    columns = torch.linspace(0, 1, side).expand(256, 1, side, side)
    stretched, _ = moved(columns, columns, elastic_prob=0.5, elastic_strength=share)
    inside = stretched[:, 0, 24:72, 24:72]
    still = (inside - columns[:, 0, 24:72, 24:72]).abs().amax(dim=(1, 2)) < 1e-3
    assert 96 <= still.sum() <= 160
    displaced = inside[~still]
    # Steps of a pixel against those of an image left as it is. Between knots a field of splines
    # is steeper than the straight line between them here, and flatter there.
    stretch = displaced.diff(dim=2) * (side - 1) - 1
    assert abs(stretch.mean()) < 0.1 * share
    assert stretch.std() == pytest.approx(share, rel=0.3)
    assert stretch.min() > -1, "folded over"
    # Smooth: a pixel is stretched as its neighbour is.
    assert stretch.diff(dim=2).std() < 0.3 * share


def test_smaller_pictures_show_the_same_at_the_same_places() -> None:
    images = blobs()
    small = RandAffineElastic().resample(Batch.unlabelled(images, images), seeded(), 32)
    assert small.image.shape == (6, 1, 32, 32)
    expected = torch.nn.functional.avg_pool2d(images, 2)
    assert torch.allclose(small.image, expected, atol=1e-5)
    assert torch.equal(small.image, small.lesion)
