"""Augmentation: seeded, in range, lesion and label moved along, and off where it is off."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Generator, Tensor

from tumorlens.augmentation.transforms import Augment, AugmentSpec
from tumorlens.errors import ConfigError
from tumorlens.imaging.phantom import draw_phantom

OFF = AugmentSpec(p_flip=0.0)
GEOMETRY = {
    "flip": {"p_flip": 1.0},
    "flip vertical": {"p_flip_vertical": 1.0},
    "both flips": {"p_flip": 1.0, "p_flip_vertical": 1.0},
    "rotation": {"rotation": 30.0},
    "scale": {"scale": 0.25},
    "enlarge": {"enlarge": 1.2},
    "shift": {"shift": 0.1},
    "elastic": {"p_elastic": 1.0, "elastic": 0.3},
    "all": {"p_flip": 0.5, "p_flip_vertical": 0.5, "rotation": 20.0, "scale": 0.2, "shift": 0.1},
}
INTENSITY = [field.name for field in fields(AugmentSpec) if field.name.startswith("p_")]
EDITS = ("p_paste", "p_synthetic", "p_take_out", "p_window")
MOVES = ("p_flip", "p_flip_vertical", "p_elastic")
INTENSITY = [name for name in INTENSITY if name not in (*MOVES, *EDITS)]
EVERYTHING = replace(AugmentSpec(**GEOMETRY["all"]), **dict.fromkeys(INTENSITY, 0.5))


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


def test_enlarging_shows_a_disc_as_much_larger_as_it_says() -> None:
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    disc = ((y - 63.5) ** 2 + (x - 63.5) ** 2 < 30**2).float()[None, None]
    larger, _ = Augment(replace(OFF, enlarge=1.25))(disc, disc, seeded())
    assert float(larger.sum() / disc.sum()) == pytest.approx(1.25**2, rel=0.01)


def test_enlarging_to_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"augment\.enlarge is 0"):
        AugmentSpec(enlarge=0.0)


def test_stretching_stretches_as_much_as_it_says() -> None:
    side, share = 96, 0.15
    # Each pixel's value is its column, so a picture's values tell where they were taken from.
    columns = torch.linspace(0, 1, side).expand(256, 1, side, side)
    stretched, _ = Augment(replace(OFF, p_elastic=0.5, elastic=share))(columns, columns, seeded())
    inside = stretched[:, 0, 24:72, 24:72]
    still = (inside - columns[:, 0, 24:72, 24:72]).abs().amax(dim=(1, 2)) < 1e-3
    assert 96 <= still.sum() <= 160
    moved = inside[~still]
    # Steps of a pixel against those of a picture left as it is. Between knots a field of splines
    # is steeper than the straight line between them here, and flatter there.
    stretch = moved.diff(dim=2) * (side - 1) - 1
    assert abs(stretch.mean()) < 0.1 * share
    assert stretch.std() == pytest.approx(share, rel=0.3)
    assert stretch.min() > -1, "folded over"
    # Smooth: a pixel is stretched as its neighbour is.
    assert stretch.diff(dim=2).std() < 0.3 * share


@pytest.mark.parametrize("name", INTENSITY)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_intensity_step_acts_and_stays_in_range(name: str, channels: int) -> None:
    image = heads(8).expand(-1, channels, -1, -1).contiguous()
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


def test_doses_follow_the_training() -> None:
    spec = AugmentSpec(p_paste=0.4, p_invert=0.2, p_take_out=0.4, p_noise=0.3,
                       strong_from=0.4, strong=2.0, calm_from=0.8)  # fmt: skip
    names = ("p_paste", "p_invert", "p_take_out", "p_noise")

    def doses(progress: float) -> list[float]:
        return [getattr(spec.at(progress), name) for name in names]

    assert spec.at(0.39) == spec
    assert doses(0.4) == pytest.approx([0.8, 0.4, 0.4, 0.3])
    assert doses(0.8) == pytest.approx([0.2, 0.4, 0.1, 0.3])
    assert AugmentSpec(p_paste=0.4).at(0.99) == AugmentSpec(p_paste=0.4)
    assert AugmentSpec(p_invert=0.7, strong=2.0, strong_from=0.0).at(0.5).p_invert == 1.0


@pytest.mark.parametrize(
    ("first", "progress", "side"),
    [(0, 0.0, 160), (96, 0.0, 96), (96, 0.29, 96), (96, 0.31, 128), (96, 0.59, 128), (96, 0.6, 160),
     (96, 1.0, 160), (160, 0.0, 160), (200, 0.0, 160), (20, 0.0, 32)],
)  # fmt: skip
def test_the_side_grows_to_the_network_s_own(first: int, progress: float, side: int) -> None:
    spec = AugmentSpec(first_side=first, grown_by=0.6)
    assert spec.side_at(progress, 160) == side


def test_smaller_pictures_show_the_same_at_the_same_places() -> None:
    image = blobs()
    small, lesion = Augment(OFF).geometry(image, image, seeded(), 32)
    assert small.shape == (6, 1, 32, 32)
    expected = torch.nn.functional.avg_pool2d(image, 2)
    assert torch.allclose(small, expected, atol=1e-5)
    assert torch.equal(small, lesion)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_inverted_pictures_shows_fluid_and_lesions_bright(share: float) -> None:
    image = torch.zeros(40, 1, 48, 48)
    image[..., 4:44, 4:44] = 0.4  # a head
    image[..., 20:34, 20:34] = 0.0  # a ventricle
    lesion = torch.zeros_like(image)
    lesion[..., 8:16, 8:16] = 1.0
    image = torch.where(lesion > 0.5, 0.9, image)
    spec = AugmentSpec(p_flip=0.0, p_invert=1.0, t2_like=share)
    turned = Augment(spec).intensity(image, seeded(), lesion)
    core, fluid, tissue = (turned[..., at, at].flatten() for at in (12, 27, 38))
    assert (tissue > 0.4).all()
    assert (turned[..., :3, :] == 0).all()  # air stays dark
    bright = core > 0.85
    assert float(bright.float().mean()) == pytest.approx(share, abs=0.2)
    assert (fluid[bright] > 0.9).all()
    assert (fluid[~bright] < 0.1).all()
    assert (core[~bright] < 0.5).all()
    assert AugmentSpec(t2_like=0.5, strong_from=0.4).at(0.3).t2_like == 0
    assert AugmentSpec(t2_like=0.5, strong_from=0.4).at(0.4).t2_like == 0.5
