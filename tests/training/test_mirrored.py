"""Heads of one half and its mirror image: where the axis lies, and what becomes of lesions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from tumorlens.training.mirrored import Axis, clear_side, doubled, find_axis, mirror_halves

SIDE = 96
LEFT, MIDDLE, RIGHT = 30, 48, 66


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def head(seed: int, tilt: float = 0.0, right: float = 0.0, unlike: float = 0.0) -> Tensor:
    """A head of two like halves, turned clockwise by degrees, moved by pixels; ``[1, S, S]``."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.random((SIDE, SIDE), dtype=np.float32), (0, 0), 3)
    texture = (texture - texture.min()) / np.ptp(texture)
    other = texture[:, ::-1] if unlike == 0 else rng.permutation(texture.ravel()).reshape(SIDE, -1)
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    inside = np.hypot(x / 30, y / 38) < 1
    whole = np.where(inside, 0.3 + 0.6 * np.where(x < 0, texture, other), 0.0)
    about = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), -tilt, 1)
    about[0, 2] += right
    return torch.from_numpy(cv2.warpAffine(whole.astype(np.float32), about, (SIDE, SIDE)))[None]


def lesion_at(*columns: int, row: int = 48, radius: int = 7) -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    found = torch.zeros(SIDE, SIDE)
    for column in columns:
        found[((y - row) ** 2 + (x - column) ** 2) < radius**2] = 1.0
    return found[None]


def batch(n: int, *columns: int) -> dict[str, Tensor]:
    """Tumours with bright lesions at columns; without any, healthy heads."""
    lesion = lesion_at(*columns).expand(n, 1, SIDE, SIDE).clone()
    image = torch.stack([head(seed) for seed in range(n)])
    return {
        "image": torch.where(lesion > 0.5, 1.0, image),
        "lesion": lesion,
        "label": torch.full((n,), float(bool(columns))),
        "annotated": torch.ones(n),
        "view": torch.zeros(n, dtype=torch.int64),
    }


@pytest.mark.parametrize(("tilt", "right"), [(0, 0), (8, 0), (-11, 3), (15, -4), (3, 5)])
def test_the_axis_is_found(tilt: float, right: float) -> None:
    axis = find_axis(torch.stack([head(seed, tilt, right) for seed in range(4)]))
    assert axis.found.all()
    assert (axis.tilt.rad2deg() - tilt).abs().max() < 1.5
    # A head moved to the right meets the axis of its tilt there.
    assert (axis.offset - right / (SIDE / 2) * np.cos(np.radians(tilt))).abs().max() < 0.03


def test_unlike_halves_have_no_axis() -> None:
    y, x = np.indices((SIDE, SIDE))
    half = torch.from_numpy(((x > 20) & (x < 40) & (y > 10)).astype(np.float32))
    assert not find_axis(half[None, None]).found.any()


@pytest.mark.parametrize(("column", "side"), [(LEFT, 1.0), (MIDDLE, 0.0), (RIGHT, -1.0)])
def test_the_clear_side_is_the_one_without_a_lesion(column: int, side: float) -> None:
    upright = Axis(*(torch.zeros(1) for _ in range(3)))
    assert clear_side(lesion_at(column) > 0.5, upright).tolist() == [side]
    assert clear_side(torch.zeros(1, SIDE, SIDE, dtype=torch.bool), upright).tolist() == [0.0]


def test_the_kept_half_stays_and_the_other_is_its_mirror_image() -> None:
    image = head(0, unlike=1)[None]
    upright = Axis(*(torch.zeros(1) for _ in range(3)))
    for kept, half in ((1.0, slice(SIDE // 2, None)), (-1.0, slice(0, SIDE // 2))):
        made = doubled(image, upright, torch.tensor([kept]))
        assert torch.allclose(made[..., half], image[..., half], atol=1e-5)
        assert torch.allclose(made, made.flip(-1), atol=1e-5)


def joined(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.cat([first[name], second[name]]) for name in first}


def changed(given: dict[str, Tensor], image: Tensor) -> Tensor:
    return (image != given["image"]).flatten(1).any(1)


@pytest.mark.parametrize("column", [LEFT, RIGHT])
@pytest.mark.parametrize("view", [0, 1])
def test_clear_halves_take_the_places_of_healthy_pictures(column: int, view: int) -> None:
    given = joined(batch(10, column), batch(20))
    given["view"] = torch.tensor([view] * 10 + [2] * 20)
    image, lesion, seen = mirror_halves(**given, probability=1.0, generator=seeded())
    hosts = torch.nonzero(changed(given, image)[10:]).flatten() + 10
    assert len(hosts) == 10
    assert not lesion[10:].any()
    assert image[hosts].amax() < 0.95  # no lesion came along
    assert (seen[hosts] == view).all()
    assert (seen == view).sum() == 20
    # Each is made of one of the tumour pictures: of its clear half, which it shows as it was.
    half = slice(SIDE // 2 + 4, None) if column == LEFT else slice(0, SIDE // 2 - 4)
    apart = (image[hosts, None, ..., half] - given["image"][None, :10, ..., half]).abs()
    nearest = apart.flatten(2).mean(2)
    assert sorted(nearest.argmin(1).tolist()) == list(range(10))
    assert nearest.amin(1).max() < 0.01


def test_clear_halves_that_find_no_healthy_picture_are_left_out() -> None:
    given = joined(batch(10, LEFT), batch(3))
    given["view"] = torch.tensor([0] * 10 + [2] * 3)
    image, _, _ = mirror_halves(**given, probability=1.0, generator=seeded())
    assert changed(given, image)[10:].all()
    alone = batch(10, LEFT)
    image, lesion, _ = mirror_halves(**alone, probability=1.0, generator=seeded())
    doubled_ones = changed(alone, image)
    assert (lesion[doubled_ones].flatten(1).amax(1) > 0.9).all()


@pytest.mark.parametrize("columns", [(LEFT,), (RIGHT,), (MIDDLE,), (LEFT, RIGHT)])
def test_tumour_pictures_keep_lesions_and_some_get_two(columns: tuple[int, ...]) -> None:
    given = batch(40, *columns)
    image, lesion, _ = mirror_halves(**given, probability=1.0, generator=seeded())
    twice = changed(given, image)
    assert 4 < twice.sum() < 24
    for column in {*columns, *(SIDE - 1 - each for each in columns)}:
        assert (lesion[twice, 0, 48, column] > 0.9).all()
        assert (image[twice, 0, 48, column] > 0.95).all()
    assert torch.equal(lesion[~twice], given["lesion"][~twice])


def test_healthy_heads_are_mirrored_seldom_and_stay_healthy() -> None:
    given = batch(40)
    image, lesion, _ = mirror_halves(**given, probability=1.0, generator=seeded())
    assert 4 < changed(given, image).sum() < 22
    assert not lesion.any()


def test_what_has_no_halves_or_no_outline_stays_as_it_is() -> None:
    given = batch(8, LEFT)
    given["view"] = torch.tensor([2, 3] * 4)
    bare = batch(8, LEFT) | {"annotated": torch.zeros(8), "lesion": torch.zeros(8, 1, SIDE, SIDE)}
    for same in (given, bare):
        image, lesion, view = mirror_halves(**same, probability=1.0, generator=seeded())
        assert torch.equal(image, same["image"])
        assert torch.equal(lesion, same["lesion"])
        assert torch.equal(view, same["view"])


def test_at_probability_0_nothing_is_drawn() -> None:
    given, generator = batch(4, LEFT), seeded()
    state = generator.get_state()
    image, _, _ = mirror_halves(**given, probability=0.0, generator=generator)
    assert image is given["image"]
    assert torch.equal(generator.get_state(), state)


def test_the_given_tensors_stay_and_the_generator_decides() -> None:
    given = batch(8, LEFT)
    kept = {name: tensor.clone() for name, tensor in given.items()}
    first, again, other = (
        mirror_halves(**given, probability=0.6, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
