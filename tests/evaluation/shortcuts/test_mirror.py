"""Mirror symmetry: where the axis lies, and which half is free of lesion."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tumorlens.evaluation.sampling import Mask, ModelInput
from tumorlens.evaluation.shortcuts.mirror import Axis, find_axis, lesion_free_side, mirror_half

SIDE = 96
UPRIGHT = Axis(0.0, 0.0, 0.0)


def head(seed: int, tilt: float = 0.0, right: float = 0.0, *, symmetric: bool = True) -> ModelInput:
    """A head of two halves, turned clockwise by degrees, moved by pixels; ``[1, S, S]``."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.random((SIDE, SIDE), dtype=np.float32), (0, 0), 3)
    texture = (texture - texture.min()) / np.ptp(texture)
    other = texture[:, ::-1] if symmetric else rng.permutation(texture.ravel()).reshape(SIDE, -1)
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    inside = np.hypot(x / 30, y / 38) < 1
    whole = np.where(inside, 0.3 + 0.6 * np.where(x < 0, texture, other), 0.0)
    about = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), -tilt, 1)
    about[0, 2] += right
    return np.asarray(cv2.warpAffine(whole.astype(np.float32), about, (SIDE, SIDE)))[None]


def lesion_at(column: int) -> Mask:
    y, x = np.indices((SIDE, SIDE))
    return np.asarray((y - 48) ** 2 + (x - column) ** 2 < 49)


@pytest.mark.parametrize(("tilt", "right"), [(0, 0), (8, 0), (-11, 3), (15, -4), (3, 5)])
def test_the_axis_is_found(tilt: float, right: float) -> None:
    for seed in range(4):
        axis = find_axis(head(seed, tilt, right))
        assert axis.found
        assert np.degrees(axis.tilt) == pytest.approx(tilt, abs=1.5)
        # A head moved to the right meets the axis of its tilt there.
        expected = right / (SIDE / 2) * np.cos(np.radians(tilt))
        assert axis.offset == pytest.approx(expected, abs=0.03)


def test_asymmetric_scans_have_no_axis() -> None:
    y, x = np.indices((SIDE, SIDE))
    assert not find_axis(((x > 20) & (x < 40) & (y > 10)).astype(np.float32)[None]).found


@pytest.mark.parametrize(("column", "side"), [(30, 1), (48, 0), (66, -1)])
def test_lesion_free_side(column: int, side: int) -> None:
    assert lesion_free_side(lesion_at(column), UPRIGHT) == side
    assert lesion_free_side(np.zeros((SIDE, SIDE), dtype=bool), UPRIGHT) == 0


@pytest.mark.parametrize(("kept", "half"), [(1, slice(SIDE // 2, None)), (-1, slice(SIDE // 2))])
def test_the_kept_half_stays_and_the_other_is_its_mirror_image(kept: int, half: slice) -> None:
    image = head(0, symmetric=False)
    made = mirror_half(image, UPRIGHT, kept)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[..., half], image[..., half], atol=1e-5)
    np.testing.assert_allclose(made, made[..., ::-1], atol=1e-5)
