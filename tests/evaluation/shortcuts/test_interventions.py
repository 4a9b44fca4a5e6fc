"""Interventions on scans, on images with predictable results."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tumorlens.evaluation.sampling import Mask, ModelInput
from tumorlens.evaluation.shortcuts import interventions
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, prepare

SIDE = 50


def flat(level: float) -> ModelInput:
    return np.full((1, SIDE, SIDE), level, dtype=np.float32)


def square(top: int, left: int, side: int) -> Mask:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def with_patch(level: float, mask: Mask, inside: float) -> ModelInput:
    return np.where(mask, np.float32(inside), flat(level)).astype(np.float32)


def test_border_only_removes_the_whole_head() -> None:
    head = square(10, 10, 30)
    picture = with_patch(0.1, head, 0.8)
    picture[0, 2, 3] = 0.9  # a letter
    left = interventions.remove_head(picture, head)
    assert left[0, 2, 3] == np.float32(0.9)
    left[0, 2, 3] = 0.1
    assert (left == np.float32(0.1)).all()
    assert picture[0, 20, 20] == np.float32(0.8), "the given picture must stay"


def test_a_head_that_fills_the_image_leaves_black() -> None:
    assert (interventions.remove_head(flat(0.7), np.ones((SIDE, SIDE), dtype=bool)) == 0).all()


def test_the_disc_lies_in_the_middle_of_the_head() -> None:
    disc = interventions.centre_disc(square(10, 20, 20), 0.5)
    # The box spans rows 10..29 and columns 20..39: middle (19.5, 29.5), reach 5.
    rows, columns = np.nonzero(disc)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 24, 25, 34)
    assert not disc[15, 25], "round, not square"
    assert disc.sum() == sum(
        (y - 19.5) ** 2 + (x - 29.5) ** 2 <= 25 for y in range(SIDE) for x in range(SIDE)
    )
    assert not interventions.centre_disc(np.zeros((SIDE, SIDE), dtype=bool), 0.5).any()


def test_grey_is_the_rest_of_the_heads_median() -> None:
    head, tumour = square(5, 5, 40), square(20, 20, 10)
    picture = with_patch(0.0, head, 0.3)
    picture[0, tumour] = 1.0
    filled = interventions.fill_grey(picture, tumour, head)
    assert (filled[0, head] == np.float32(0.3)).all()
    assert (filled[0, ~head] == 0).all()


def test_inpainting_uses_the_surroundings_but_not_the_skull() -> None:
    head, tumour = square(5, 5, 40), square(20, 5, 10)
    picture = with_patch(0.0, head, 0.4)
    picture[0, tumour] = 0.9
    picture[0, 20:30, 3:5] = 1.0  # bright skull at the tumour's edge
    filled = interventions.fill_inpainted(picture, tumour, head)
    assert np.abs(filled[0, tumour] - 0.4).max() < 0.02
    assert (filled[0, ~tumour] == picture[0, ~tumour]).all()


def test_a_tumour_is_filled_with_tissue_at_its_own_brightness() -> None:
    # The left half is at 0.2, the right at 0.6: tissue from the right comes in 0.4 darker.
    picture = flat(0.2)
    picture[0, :, 25:] = 0.6
    tumour = square(20, 8, 6)
    picture[0, tumour] = 1.0
    picture[0, 22, 36] = 0.7  # a detail of the tissue, 0.1 above its surroundings
    filled = interventions.fill_tissue(picture, tumour, (0, 25))
    assert filled[0, 22, 11] == pytest.approx(0.3, abs=0.02)
    assert filled[0, 24, 10] == pytest.approx(0.2, abs=0.02)
    assert (filled[0, :, 25:] == picture[0, :, 25:]).all()


def test_an_inserted_patch_keeps_its_contrast_and_is_located() -> None:
    patch = square(5, 5, 10)
    donor = with_patch(0.2, patch, 0.5)
    result, place = interventions.insert_patch(
        flat(0.4), np.zeros_like(patch), donor, (20, 15), patch
    )
    assert (place == square(25, 20, 10)).all()
    assert result[0, 30, 25] == pytest.approx(0.7, abs=0.01)
    assert result[0, 10, 10] == np.float32(0.4)
    edge = result[0, 30, 17:24]
    assert (np.diff(edge) >= -1e-6).all(), "feathered: it rises over the edge"
    assert edge[0] < 0.45 < edge[-1]


def test_a_single_fitting_shift_is_found() -> None:
    patch = np.zeros((SIDE, SIDE), dtype=bool)
    patch[2:5, 2:8] = patch[2:8, 2:4] = True  # an L
    allowed = np.zeros_like(patch)
    allowed[30:33, 40:46] = allowed[30:36, 40:42] = True  # the same L elsewhere
    for seed in range(3):
        assert interventions.random_shift(patch, allowed, np.random.default_rng(seed)) == (28, 38)
    allowed[30, 40] = False
    assert interventions.random_shift(patch, allowed, np.random.default_rng(0)) is None
    assert (
        interventions.random_shift(np.zeros_like(patch), allowed, np.random.default_rng(0)) is None
    )


def test_random_shifts_stay_inside_the_allowed_region() -> None:
    patch, allowed = square(0, 0, 7), interventions.grow(square(10, 10, 30), -0.02)
    allowed[20:24, 20:24] = False
    seen = set()
    for seed in range(40):
        shift = interventions.random_shift(patch, allowed, np.random.default_rng(seed))
        assert shift is not None
        seen.add(shift)
        put = interventions.shifted(patch, shift)
        assert put.sum() == patch.sum()
        assert not (put & ~allowed).any()
    assert len(seen) > 10


def test_masks_move_grow_and_shrink() -> None:
    assert (interventions.shifted(square(10, 10, 5), (3, -4)) == square(13, 6, 5)).all()
    assert interventions.shifted(square(10, 10, 5), (0, 37)).sum() == 5 * 3
    assert interventions.grow(square(20, 20, 1), 0.04).sum() == 17  # a round kernel of 5 pixels
    assert (interventions.grow(square(20, 20, 11), -0.02) == square(21, 21, 9)).all()


def test_a_thumbnail_holds_the_means_of_its_blocks() -> None:
    picture = flat(0.2)
    picture[0, :25, :25] = 0.6
    small = interventions.thumbnail(picture, 2)
    assert small[0, 0, 0] == pytest.approx(0.6, abs=1e-5)
    assert small[0, -1, -1] == pytest.approx(0.2, abs=1e-5)
    picture[0, 10, 10] = 1.0  # one pixel of 625 moves its block by 0.4 / 625
    assert interventions.thumbnail(picture, 2)[0, 0, 0] == pytest.approx(0.6 + 0.4 / 625, abs=1e-5)


def test_a_blur_spreads_and_loses_nothing() -> None:
    picture = flat(0.0)
    picture[0, 25, 25] = 1.0
    soft = interventions.blurred(picture, 0.04)  # a standard deviation of 2 pixels
    assert soft.sum() == pytest.approx(1.0, abs=1e-3)
    assert soft.max() == pytest.approx(1 / (2 * np.pi * 4), rel=0.05)


def test_the_outline_holds_the_scalp_and_no_letter() -> None:
    shown = np.zeros((200, 200), dtype=np.uint8)
    cv2.ellipse(shown, (100, 100), (70, 85), 0, 0, 360, [120], 6)  # scalp
    cv2.ellipse(
        shown, (100, 100), (58, 73), 0, 0, 360, [200], cv2.FILLED
    )  # brain, parted from it by dark skull
    cv2.putText(shown, "L", (2, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, [255], 2)
    frame = prepare(shown, PreprocessSpec(size=200, crop="none")).frame
    head = interventions.head_outline(shown, frame)
    assert head[18, 100]
    assert head[100, 32]
    assert not head[:30, :24].any()
    assert head.sum() == pytest.approx(np.pi * 73 * 88, rel=0.02)


def test_the_outline_follows_the_frame() -> None:
    shown = np.zeros((200, 260), dtype=np.uint8)
    cv2.ellipse(shown, (150, 90), (60, 75), 0, 0, 360, [180], cv2.FILLED)
    head = interventions.head_outline(shown, prepare(shown, PreprocessSpec(size=64)).frame)
    rows, columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    # The frame is a square around the head with a margin of 3 % on the longer side.
    assert rows.size == pytest.approx(64 / 1.06, abs=1)
    assert columns.size == pytest.approx(64 / 1.06 * 121 / 151, abs=1)
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(31.5, abs=1)


def test_a_swapped_background_brings_the_other_s_letters_and_keeps_the_head() -> None:
    mine, other = (draw_phantom(seed, lesion=False).image for seed in (1, 2))
    mine[4:16, 4:16] = 255
    other[-16:-4, -16:-4] = 255
    swapped = interventions.swap_background(mine, other)
    assert swapped[:20, :20].max() < 60, "my letter is gone"
    assert swapped[-24:, -24:].max() > 150, "the other's has come"
    middle = np.s_[96:160, 96:160]
    best = cv2.matchTemplate(swapped, mine[middle], cv2.TM_CCOEFF_NORMED).max()
    assert best > 0.98, "the head's inside is as it was"


def test_a_background_of_another_size_is_stretched_to_the_head() -> None:
    mine = draw_phantom(1, lesion=False, size=256).image
    other = draw_phantom(2, lesion=False, size=128).image
    swapped = interventions.swap_background(mine, other)
    assert swapped.shape[0] == pytest.approx(256, rel=0.1)
    assert swapped.dtype == np.uint8
