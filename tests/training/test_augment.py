"""Augmentation: seeded, in range, lesion and label moved along, and off where it is off."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.training.augment import Augment, AugmentSpec, paste

OFF = AugmentSpec(p_flip=0.0)
GEOMETRY = {
    "flip": {"p_flip": 1.0},
    "flip vertical": {"p_flip_vertical": 1.0},
    "both flips": {"p_flip": 1.0, "p_flip_vertical": 1.0},
    "rotation": {"rotation": 30.0},
    "scale": {"scale": 0.25},
    "shift": {"shift": 0.1},
    "all": {"p_flip": 0.5, "p_flip_vertical": 0.5, "rotation": 20.0, "scale": 0.2, "shift": 0.1},
}
INTENSITY = [field.name for field in fields(AugmentSpec) if field.name.startswith("p_")]
INTENSITY = [name for name in INTENSITY if "flip" not in name and name != "p_paste"]
EVERYTHING = replace(AugmentSpec(**GEOMETRY["all"]), **dict.fromkeys(INTENSITY, 0.5), p_paste=1.0)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def heads(n: int = 4, size: int = 64) -> Tensor:
    drawn = [draw_phantom(seed, lesion=seed % 2 == 0, size=size).image for seed in range(n)]
    return torch.stack([torch.from_numpy(image) for image in drawn])[:, None].float() / 255


def blobs(n: int = 6, size: int = 64) -> Tensor:
    """One bright blob a picture, off the middle both ways, at different places."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centres = [(22 + 2 * k, 40 - k) for k in range(n)]
    return torch.stack([torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40.0) for cy, cx in centres])[
        :, None
    ]


@pytest.mark.parametrize("spec", [OFF, EVERYTHING], ids=["off", "everything"])
def test_the_same_generator_gives_the_same_pictures(spec: AugmentSpec) -> None:
    image, lesion = heads(), blobs(4)
    first, second = (Augment(spec)(image, lesion, seeded(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    if spec is EVERYTHING:
        assert not torch.equal(first[0], Augment(spec)(image, lesion, seeded(4))[0])


def test_the_global_generator_takes_no_part() -> None:
    image, lesion = heads(), blobs(4)
    torch.manual_seed(1)
    first = Augment(EVERYTHING)(image, lesion, seeded())[0]
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(Augment(EVERYTHING)(image, lesion, seeded())[0], first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_changes_at_probability_0() -> None:
    image, lesion = heads(), blobs(4)
    moved, marked = Augment(OFF)(image, lesion, seeded())
    # The grid of the identity is computed in floats.
    assert torch.allclose(moved, image, atol=2e-5)
    assert torch.allclose(marked, lesion, atol=2e-5)
    assert Augment(OFF).intensity(image, seeded()) is image


@pytest.mark.parametrize("name", GEOMETRY)
def test_the_lesion_moves_with_the_image(name: str) -> None:
    pictures = blobs()
    spec = replace(OFF, **GEOMETRY[name])
    image, lesion = Augment(spec)(pictures, pictures, seeded(5))
    assert not torch.allclose(image, pictures, atol=0.1)
    assert torch.equal(image, lesion)


@pytest.mark.parametrize(
    ("spec", "dims"),
    [
        ({"p_flip": 1.0}, (3,)),
        ({"p_flip_vertical": 1.0}, (2,)),
        ({"p_flip": 1.0, "p_flip_vertical": 1.0}, (2, 3)),
    ],
)
def test_a_flip_is_a_flip(spec: dict[str, float], dims: tuple[int, ...]) -> None:
    image = heads()
    moved, _ = Augment(replace(OFF, **spec))(image, image, seeded())
    assert torch.allclose(moved, image.flip(dims), atol=2e-5)


@pytest.mark.parametrize("name", INTENSITY)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_intensity_step_acts_and_stays_in_range(name: str, channels: int) -> None:
    image = heads().expand(-1, channels, -1, -1).contiguous()
    kept = image.clone()
    changed = Augment(replace(OFF, **{name: 1.0})).intensity(image, seeded(2))
    assert torch.equal(image, kept)
    assert changed.shape == image.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    difference = (changed - image).abs().amax(dim=(1, 2, 3))
    # A border of width 0..6 on random edges may miss a picture; every other step hits all.
    assert (difference > 1e-3).sum() >= (1 if name == "p_border" else len(image))
    half = Augment(replace(OFF, **{name: 0.5})).intensity(image, seeded(2))
    touched = (half != image).flatten(1).any(dim=1)
    assert touched.any()
    assert not touched.all()


def test_monotone_steps_keep_the_order_of_grey_levels() -> None:
    ramp = torch.linspace(0, 1, 64).expand(4, 1, 64, 64).contiguous()
    for name in ("p_gamma", "p_remap"):
        changed = Augment(replace(OFF, **{name: 1.0})).intensity(ramp, seeded(1))
        assert (changed.diff(dim=3) >= -1e-6).all(), name
        assert torch.allclose(changed[..., 0], torch.zeros(1), atol=1e-2)
        assert torch.allclose(changed[..., -1], torch.ones(1), atol=1e-5)


def test_inverting_keeps_the_background_dark() -> None:
    picture = torch.zeros(1, 1, 64, 64)
    picture[..., 16:48, 16:48] = 0.8
    turned = Augment(replace(OFF, p_invert=1.0)).intensity(picture, seeded())
    assert turned[..., :8, :].max() == 0
    assert turned[0, 0, 32, 32] < 0.5


def test_everything_at_once_stays_in_range() -> None:
    for seed in range(5):
        image, lesion = Augment(EVERYTHING)(heads(8), blobs(8), seeded(seed))
        assert 0 <= image.min() <= image.max() <= 1
        assert 0 <= lesion.min() <= lesion.max() <= 1


def batch_to_paste() -> dict[str, Tensor]:
    """Picture k is of level k / 10; 0 and 1 are tumours with lesions, 2..7 are healthy."""
    image = torch.arange(8).view(8, 1, 1, 1).div(10).expand(8, 1, 32, 32).contiguous()
    lesion = torch.zeros(8, 1, 32, 32)
    lesion[0, :, 4:12, 4:12] = 1.0
    lesion[1, :, 20:28, 20:28] = 1.0
    return {"image": image, "lesion": lesion, "label": torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0])}


def test_pasting_sets_label_and_lesion() -> None:
    batch = batch_to_paste()
    before = {name: tensor.clone() for name, tensor in batch.items()}
    image, lesion, label = paste(**batch, probability=1.0, generator=seeded(1))
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert torch.equal(image[:2], batch["image"][:2])
    became = torch.nonzero((label > 0.5) & (batch["label"] < 0.5)).flatten().tolist()
    stayed = torch.nonzero(label < 0.5).flatten().tolist()
    assert became
    assert stayed
    for host in became:
        donor = next(k for k in (0, 1) if torch.equal(lesion[host], batch["lesion"][k]))
        inside = batch["lesion"][donor] > 0.9
        centre = torch.nonzero(inside[0]).float().mean(dim=0).long()
        assert image[host, 0, centre[0], centre[1]] == pytest.approx(donor / 10)
        assert image[host, 0, 16, 1] == pytest.approx(host / 10)
    for host in stayed:
        assert not lesion[host].any()
        levels = image[host].unique()
        # Healthy tissue in a lesion's shape, between the host's level and another healthy one's.
        assert ((levels >= 0.2 - 1e-6) & (levels <= 0.7 + 1e-6)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"probability": 0.0},
        {"label": torch.ones(8)},  # no healthy picture to paste into
        {"lesion": torch.zeros(8, 1, 32, 32)},  # no lesion to take
        {"lesion": torch.full((8, 1, 32, 32), 0.5)},  # only unsure places
    ],
)
def test_without_anything_to_paste_nothing_changes(change: dict[str, Any]) -> None:
    given = batch_to_paste() | {"probability": 1.0} | change
    answer = paste(**given, generator=seeded())
    for name, tensor in zip(("image", "lesion", "label"), answer, strict=True):
        assert torch.equal(tensor, given[name]), name
