"""Skull stripping of single slices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess
from tumorlens.imaging.skull_strip import strip_skull, stripped_inputs

SPEC = PreprocessSpec(size=160)


def head(seed: int, *, lesion: bool = False) -> NDArray[np.float32]:
    return preprocess(draw_phantom(seed, lesion=lesion).image, SPEC)


@pytest.mark.parametrize("seed", range(6))
def test_the_brain_is_kept_and_the_scalp_removed(seed: int) -> None:
    scan = head(seed)[0]
    found = strip_skull(scan, np.random.default_rng(seed))
    assert found is not None
    shown, brain = found
    rows, columns = np.nonzero(scan > 0.08)
    rim = np.hypot(
        (np.arange(160)[:, None] - rows.mean()) / (np.ptp(rows) / 2),
        (np.arange(160)[None] - columns.mean()) / (np.ptp(columns) / 2),
    )
    assert shown[rim > 0.97].max() < 0.02
    middle = rim < 0.5
    assert brain[middle].mean() > 0.97
    np.testing.assert_allclose(shown[middle & (brain > 0)].mean(), scan[middle].mean(), rtol=0.1)


def test_a_blank_image_gives_no_brain() -> None:
    assert strip_skull(np.zeros((64, 64), np.float32), np.random.default_rng(0)) is None


def test_stripped_inputs_have_their_rows() -> None:
    scans = np.stack([head(0), np.zeros((1, 160, 160), np.float32), head(1)])
    shown, rows = stripped_inputs(scans, np.random.default_rng(0), SPEC)
    assert rows.tolist() == [0, 2]
    assert shown.shape == (2, 1, 160, 160)
    assert shown.dtype == np.float32
    assert shown.min() >= 0
    assert shown.max() == 1
    assert stripped_inputs(scans[1:2], np.random.default_rng(0), SPEC)[0].shape[0] == 0
