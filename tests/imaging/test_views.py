"""Several views in one picture are told from one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.quality import assess
from tumorlens.imaging.views import shows_several_views

SIDE = 128
Grey = NDArray[np.uint8]


def head(seed: int, plane: Plane = "axial") -> Grey:
    return draw_phantom(seed, lesion=bool(seed % 2), size=SIDE, plane=plane).image


def montage(rows: int, columns: int, gap: int = 0, ground: int = 0) -> Grey:
    step = SIDE + gap
    made = np.full((rows * step - gap, columns * step - gap), ground, np.uint8)
    for index in range(rows * columns):
        top, left = index // columns * step, index % columns * step
        made[top : top + SIDE, left : left + SIDE] = head(index)
    return made


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 2), (2, 1), (1, 3), (2, 2), (2, 3), (3, 3), (4, 4), (5, 6)]
)
@pytest.mark.parametrize(("gap", "ground"), [(0, 0), (6, 0), (4, 255), (10, 128)])
def test_montages_are_refused(rows: int, columns: int, gap: int, ground: int) -> None:
    picture = montage(rows, columns, gap, ground)
    assert shows_several_views(picture)
    assert "several views in one picture" in str(assess(picture).reason)


def test_a_contact_sheet_with_an_empty_place_and_one_of_three_planes_are_refused() -> None:
    sheet = montage(3, 4)
    sheet[2 * SIDE :, 2 * SIDE :] = 0
    assert shows_several_views(sheet)
    planes = montage(2, 2)
    planes[:SIDE, SIDE:] = head(1, "coronal")
    planes[SIDE:, :SIDE] = head(2, "sagittal")
    planes[SIDE:, SIDE:] = 0
    assert shows_several_views(planes)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("kind", ["plain", "16 bit", "float", "small", "page"])
def test_one_head_is_one_view(plane: Plane, kind: str) -> None:
    for seed in range(4):
        picture: NDArray[np.generic] = head(seed, plane)
        if kind == "16 bit":
            picture = picture.astype(np.uint16) * np.uint16(257)
        if kind == "float":
            picture = picture.astype(np.float32) / 7 - 3
        if kind in ("small", "page"):
            ground = 255 if kind == "page" else 0
            picture = cv2.copyMakeBorder(head(seed, plane), 40, 90, 120, 30,
                                         cv2.BORDER_CONSTANT, value=[ground])  # fmt: skip
        assert not shows_several_views(picture)


def test_parts_of_one_head_are_no_views() -> None:
    # Two lobes of a slice without a skull, and face and hindbrain one above the other.
    y, x = np.mgrid[-1:1:192j, -1:1:192j]
    lobes = np.zeros((192, 192), np.uint8)
    for side in (-1, 1):
        lobes[np.hypot((x - side * 0.2) / 0.12, y / 0.25) < 1] = 150
    assert not shows_several_views(lobes)
    split = np.zeros((192, 192), np.uint8)
    split[np.hypot(x / 0.8, y / 0.95) < 1] = 150
    split[(np.abs(y) < 0.05)] = 0
    assert not shows_several_views(split)


def test_a_blank_picture_has_no_views() -> None:
    assert not shows_several_views(np.zeros((64, 64), np.uint8))
