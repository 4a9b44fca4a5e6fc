"""Intensity transforms: seeded, in range, and doing what their name says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.augmentation.images import heads, seeded
from tumorlens.augmentation.intensity import (
    IntensityTransform,
    RandAdjustContrast,
    RandHistogramShift,
    RandInvert,
)
from tumorlens.augmentation.transform import Batch

KINDS: list[Any] = IntensityTransform.__subclasses__()


def changed(transform: IntensityTransform, image: Tensor, seed: int = 0) -> Tensor:
    return transform(Batch.unlabelled(image), seeded(seed)).image


def test_all_kinds_are_tested() -> None:
    assert len(KINDS) == 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_acts_and_stays_in_range(kind: Any, channels: int) -> None:
    image = heads(8).expand(-1, channels, -1, -1).contiguous()
    kept = image.clone()
    every = changed(kind(prob=1.0), image, 2)
    assert torch.equal(image, kept)
    assert every.shape == image.shape
    assert 0 <= every.min() <= every.max() <= 1
    assert torch.equal(every, changed(kind(prob=1.0), image, 2))
    difference = (every - image).abs().amax(dim=(1, 2, 3))
    # A border of width 0..6 on random edges may miss an image; every other one hits all.
    assert (difference > 1e-3).sum() >= (1 if kind.__name__ == "RandBorder" else len(image))
    half = changed(kind(prob=0.5), image, 2)
    touched = (half != image).flatten(1).any(dim=1)
    assert touched.any()
    assert not touched.all()
    batch = Batch.unlabelled(image)
    assert kind(prob=0.0)(batch, seeded()) is batch


@pytest.mark.parametrize("kind", [RandAdjustContrast, RandHistogramShift])
def test_monotone_maps_keep_the_order_of_grey_levels(kind: Any) -> None:
    ramp = torch.linspace(0, 1, 64).expand(4, 1, 64, 64).contiguous()
    mapped = changed(kind(prob=1.0), ramp, 1)
    assert (mapped.diff(dim=3) >= -1e-6).all()
    assert torch.allclose(mapped[..., 0], torch.zeros(1), atol=1e-2)
    assert torch.allclose(mapped[..., -1], torch.ones(1), atol=1e-5)


def test_inverting_keeps_the_background_dark() -> None:
    image = torch.zeros(1, 1, 64, 64)
    image[..., 16:48, 16:48] = 0.8
    turned = changed(RandInvert(prob=1.0), image)
    assert turned[..., :8, :].max() == 0
    assert turned[0, 0, 32, 32] < 0.5


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_inverted_pictures_shows_fluid_and_lesions_bright(share: float) -> None:
    image = torch.zeros(40, 1, 48, 48)
    image[..., 4:44, 4:44] = 0.4  # a head
    image[..., 20:34, 20:34] = 0.0  # a ventricle
    lesion = torch.zeros_like(image)
    lesion[..., 8:16, 8:16] = 1.0
    image = torch.where(lesion > 0.5, 0.9, image)
    turned = RandInvert(prob=1.0, t2_prob=share)(Batch.unlabelled(image, lesion), seeded()).image
    core, fluid, tissue = (turned[..., at, at].flatten() for at in (12, 27, 38))
    assert (tissue > 0.4).all()
    assert (turned[..., :3, :] == 0).all()  # air stays dark
    bright = core > 0.85
    assert float(bright.float().mean()) == pytest.approx(share, abs=0.2)
    assert (fluid[bright] > 0.9).all()
    assert (fluid[~bright] < 0.1).all()
    assert (core[~bright] < 0.5).all()
