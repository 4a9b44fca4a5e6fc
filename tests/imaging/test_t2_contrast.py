"""T2-like slices of T1-weighted volumes, on a drawn head whose parts are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.imaging.drawn_volumes import BRAIN_MM, EYES_MM, draw_volume
from tumorlens.errors import InputError
from tumorlens.imaging.t2_contrast import Tissues, find_tissues, take_t2_slice
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


def test_how_bright_things_are_is_drawn(tissues: Tissues) -> None:
    first, again, other = (
        take_t2_slice(tissues, "coronal", 60, (5, -8), np.random.default_rng(seed))
        for seed in (1, 1, 2)
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
