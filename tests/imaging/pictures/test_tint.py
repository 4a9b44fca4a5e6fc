"""A grey picture in one tint is grey; a colour picture is not."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.imaging.picture_files import CORNERS, pillow
from tumorlens.imaging.decode import decode
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.pictures.tint import without_tint

HEAD = draw_phantom(4, lesion=True).image


def tinted(colour: tuple[float, ...], start: tuple[float, ...] = (0, 0, 0)) -> NDArray[np.uint8]:
    shade = HEAD[..., None] / 255
    mixed = np.array(start) + shade * (np.array(colour) - np.array(start))
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("colour", "start"),
    [
        ((150, 180, 255), (0, 0, 0)),  # blue film
        ((255, 220, 170), (20, 10, 0)),  # sepia
        ((80, 255, 80), (0, 0, 0)),
        ((255, 255, 255), (0, 0, 90)),  # a blue background
        ((180, 220, 420), (0, 0, 0)),  # so bright that blue reaches its limit
        ((30, 30, 30), (255, 240, 200)),  # turned over
    ],
)
@pytest.mark.parametrize("jpeg", [False, True])
def test_one_tint_is_grey(colour: Any, start: Any, jpeg: bool) -> None:
    picture = tinted(colour, start)
    options: dict[str, Any] = {"quality": 90, "subsampling": 0} if jpeg else {}
    found = decode(pillow(picture, "JPEG" if jpeg else "PNG", **options)).pixels
    assert found.ndim == 2
    assert abs(np.corrcoef(found.ravel(), HEAD.ravel())[0, 1]) > 0.99


@pytest.mark.parametrize("colours", [cv2.COLORMAP_JET, cv2.COLORMAP_HOT, cv2.COLORMAP_VIRIDIS])
def test_a_colour_map_and_a_colour_picture_stay_as_they_are(colours: int) -> None:
    mapped = np.ascontiguousarray(cv2.applyColorMap(HEAD, colours)[..., ::-1])
    assert without_tint(mapped) is mapped
    assert without_tint(CORNERS) is CORNERS


def test_grey_stored_as_colour_is_left_alone() -> None:
    plain = np.repeat(HEAD[..., None], 3, axis=2)
    assert without_tint(plain) is plain
    assert without_tint(HEAD) is HEAD
    flat = np.full((8, 8, 3), (10, 20, 200), np.uint8)
    assert without_tint(flat) is flat
