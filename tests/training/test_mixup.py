"""Mixup on known values."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from tumorlens.errors import ConfigError
from tumorlens.training.mixup import mixup


def batch(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Picture k is of level k, tumours are the odd ones, and all places are known."""
    image = torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 1, 4, 4)
    return image, (torch.arange(n) % 2).float(), torch.ones(n)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_label_and_picture_are_blended_alike() -> None:
    n = 64
    image, label, annotated = batch(n)
    partner = torch.randperm(n, generator=seeded())  # the first thing drawn
    mixed, soft, known = mixup(image, label, annotated, 1.0, 1.0, seeded())
    own, other = torch.arange(n).float(), partner.float()
    assert mixed.shape == image.shape
    level = mixed[:, 0, 0, 0]
    assert torch.equal(mixed, level.view(n, 1, 1, 1).expand_as(mixed))
    paired = partner != torch.arange(n)
    share = (level - other)[paired] / (own - other)[paired]
    assert ((share > 0) & (share < 1)).all()
    expected = share * label[paired] + (1 - share) * label[partner][paired]
    assert torch.allclose(soft[paired], expected, atol=1e-3)
    assert known.sum() == 0
    # Beta(1, 1) is uniform: mean 1/2, standard deviation 0.29 / sqrt(64).
    assert abs(float(share.mean()) - 0.5) < 0.15


def test_a_small_alpha_keeps_one_picture_nearly_whole() -> None:
    image, label, annotated = torch.ones(512, 1, 1, 1), torch.zeros(512), torch.ones(512)
    image[256:], label[256:] = 0, 1
    shares = mixup(image, label, annotated, 1.0, 0.1, seeded())[1]
    apart = torch.minimum(shares, 1 - shares)
    assert (apart < 0.1).float().mean() > 0.7
    assert (apart > 0.3).any()


def test_only_chosen_pictures_change() -> None:
    image, label, annotated = batch(400)
    mixed, soft, known = mixup(image, label, annotated, 0.3, 0.4, seeded())
    kept = known == 1
    assert 0.6 < float(kept.float().mean()) < 0.8
    assert torch.equal(mixed[kept], image[kept])
    assert torch.equal(soft[kept], label[kept])
    assert torch.equal(image, batch(400)[0])


def test_an_unknown_place_stays_unknown() -> None:
    image, label, _ = batch(8)
    assert mixup(image, label, torch.zeros(8), 0.5, 0.4, seeded())[2].sum() == 0


def test_off_draws_nothing() -> None:
    generator = seeded()
    before = generator.get_state()
    given = batch(4)
    assert all(a is b for a, b in zip(given, mixup(*given, 0.0, 0.4, generator), strict=True))
    assert torch.equal(generator.get_state(), before)


def test_the_generator_alone_decides() -> None:
    one, same, other = (mixup(*batch(16), 0.8, 0.4, seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("probability", "alpha", "named"),
    [(1.2, 0.4, "p_mixup"), (-0.1, 0.4, "p_mixup"), (0.5, 0, "mixup")],
)
def test_settings_out_of_range_are_named(probability: float, alpha: float, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"augment\.{named} is"):
        mixup(*batch(4), probability, alpha, seeded())
