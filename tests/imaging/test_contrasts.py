"""Other contrasts of T1-weighted volumes, on a drawn head whose parts are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from tests.imaging.drawn_volumes import BRAIN_MM, EYES_MM, draw_volume
from tumorlens.errors import InputError
from tumorlens.imaging.contrasts import take_enhanced_slice, take_t2_slice
from tumorlens.imaging.enhancing import find_enhancing
from tumorlens.imaging.tissues import Tissues, find_tissues
from tumorlens.imaging.volume import Volume, take_slice


@pytest.fixture(scope="module")
def tissues() -> Tissues:
    return find_tissues(draw_volume()[0])


def test_brain_and_eyes_are_found(tissues: Tissues) -> None:
    _, parts = draw_volume()
    found, brain = tissues.brain > 0.5, parts["brain"]
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.93
    assert not (found & parts["air"]).any()
    assert tissues.t1[parts["white"]].mean() == pytest.approx(1, abs=0.05)
    for middle, side in zip(EYES_MM, (slice(None, 45), slice(45, None)), strict=True):
        eye = np.argwhere(tissues.eyes[side] > 0.5) * 2.0 + [2 * (side.start or 0), 0, 0]
        assert np.abs(eye.mean(axis=0) - middle).max() < 4


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_has_the_contrast_of_t2(tissues: Tissues, seed: int) -> None:
    volume, parts = draw_volume()
    index = round(EYES_MM[0][2] / 2)
    shown = take_t2_slice(tissues, "axial", index, (0, 0), np.random.default_rng(seed))
    assert shown.dtype == np.float32
    assert shown.shape == take_slice(volume, "axial", index).shape
    assert shown.min() >= 0
    assert shown.max() <= 1

    def mean(part: str, at: int = index) -> float:
        mask = Volume(parts[part].astype(np.float32), volume.spacing_mm, "mask")
        picture = take_t2_slice(tissues, "axial", at, (0, 0), np.random.default_rng(seed))
        return float(picture[take_slice(mask, "axial", at) > 0].mean())

    middle = round(BRAIN_MM[2] / 2)
    assert mean("inner", middle) > 0.8
    assert mean("inner", middle) > mean("grey", middle) > mean("white", middle) + 0.05
    assert mean("eyes") > 0.7
    assert mean("air") < 0.05
    assert mean("white", middle) > 0.2


def test_what_enhances_lies_where_it_does_in_everyone(tissues: Tissues) -> None:
    _, parts = draw_volume()
    much = tissues.enhancing > 0.5
    places = np.argwhere(much) * 2.0
    # In the midplane and symmetric about it, none of it deep in the brain but the plexus.
    assert abs(places[:, 0].mean() - BRAIN_MM[0]) < 4
    deep = ((np.indices(much.shape).T * 2.0 - BRAIN_MM).T ** 2 / 50**2).sum(axis=0) < 1
    assert not (much & deep & ~parts["inner"]).any()
    assert (much & parts["inner"]).any()
    # The sagittal sinus follows the vault from front to back.
    top = places[np.abs(places[:, 0] - BRAIN_MM[0]) < 4]
    vault = top[top[:, 2] > BRAIN_MM[2] + 20]
    assert vault[:, 1].min() < BRAIN_MM[1] - 60
    assert vault[:, 1].max() > BRAIN_MM[1] + 60
    # Transverse sinuses run at the back, to both sides.
    back = places[(places[:, 1] < 60) & (np.abs(places[:, 0] - BRAIN_MM[0]) > 25)]
    assert {-1.0, 1.0} == set(np.sign(back[:, 0] - BRAIN_MM[0]))


@pytest.mark.parametrize("seed", range(5))
def test_a_slice_with_contrast_medium(tissues: Tissues, seed: int) -> None:
    volume, parts = draw_volume()
    middle = round(BRAIN_MM[0] / 2)
    shown = take_enhanced_slice(tissues, "sagittal", middle, (0, 0), np.random.default_rng(seed))
    assert shown.dtype == np.float32
    assert 0 <= shown.min() <= shown.max() <= 1

    def mean(mask: np.ndarray) -> float:
        picture = take_slice(
            Volume(mask.astype(np.float32), volume.spacing_mm, "mask"), "sagittal", middle
        )
        return float(shown[picture > 0].mean())

    enhanced, plexus = tissues.enhancing > 0.9, parts["inner"] & (tissues.enhancing < 0.01)
    assert mean(enhanced) > 1.2 * mean(parts["white"])
    assert mean(parts["white"]) > mean(parts["grey"]) > mean(plexus)


def test_a_brain_of_no_shape_has_nothing_that_enhances() -> None:
    nothing = np.zeros((40, 40, 40), dtype=bool)
    nothing[18:21, 18:21, 18:21] = True
    found = find_enhancing(np.full(nothing.shape, 0.5, dtype=np.float32), nothing, ndimage)
    assert not found.any()


@pytest.mark.parametrize("take", [take_t2_slice, take_enhanced_slice])
def test_how_bright_things_are_is_drawn(tissues: Tissues, take: Callable[..., Any]) -> None:
    first, again, other = (
        take(tissues, "coronal", 60, (5, -8), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_voxels_may_have_another_size(tissues: Tissues) -> None:
    volume, parts = draw_volume((1.5, 2.0, 3.0))
    found = find_tissues(volume)
    assert found.brain.shape == found.eyes.shape == volume.data.shape
    brain = found.brain > 0.5
    overlap = 2 * (brain & parts["brain"]).sum() / (brain.sum() + parts["brain"].sum())
    assert overlap > 0.9
    assert (found.eyes > 0.5).sum() * 9 == pytest.approx((tissues.eyes > 0.5).sum() * 8, rel=0.25)


def test_a_head_without_eyes_has_none_bright() -> None:
    volume, parts = draw_volume()
    filled = np.where(parts["eyes"], np.float32(600), volume.data)
    found = find_tissues(replace(volume, data=filled))
    assert not (found.eyes[parts["eyes"]] > 0.5).any()


def test_what_is_no_whole_head_in_t1_is_refused() -> None:
    volume, _ = draw_volume()
    flat = np.zeros_like(volume.data)
    noise = np.random.default_rng(0).random(volume.data.shape, dtype=np.float32)
    part_of_it = volume.data[:, :, 70:95]
    too_small = volume.data[::2, ::2, ::2]
    for wrong in (flat, noise, part_of_it, too_small):
        with pytest.raises(InputError, match=r"drawn_T1.nii: .*data.t2_slices_per_plane=0"):
            find_tissues(replace(volume, data=np.ascontiguousarray(wrong)))
