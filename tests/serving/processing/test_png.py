"""The PNG files of explanations: every reader gets the pixels back."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tumorlens.inference.overlay import heat_palette
from tumorlens.serving.processing.png import CompressedPixels


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 256), (301, 517)])
def test_grey_levels_come_back(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    written = CompressedPixels(pixels).as_grey()
    with Image.open(io.BytesIO(written)) as picture:
        picture.load()
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), pixels)
    assert np.array_equal(_by_opencv(written), pixels)


def test_each_level_has_the_colour_and_transparency_of_the_palette() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    written = CompressedPixels(levels).as_colours(heat_palette())
    with Image.open(io.BytesIO(written)) as picture:
        shown = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(shown.reshape(256, 4), heat_palette())
    rgba = cv2.cvtColor(_by_opencv(written), cv2.COLOR_BGRA2RGBA)
    assert np.array_equal(rgba.reshape(256, 4), heat_palette())


def test_a_slice_of_a_larger_array_is_written_as_it_is() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (40, 60), dtype=np.uint8)
    part = pixels[5:30:2, 3:50]
    assert np.array_equal(_by_opencv(CompressedPixels(part).as_grey()), part)


def _by_opencv(data: bytes) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return np.asarray(pixels, dtype=np.uint8)
