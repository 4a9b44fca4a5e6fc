"""From pixels to the network's input: what stands where, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import ConfigError, DecodeError
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import (
    DEFAULT,
    NOTEBOOK,
    Frame,
    PreprocessSpec,
    prepare,
    preprocess,
)

Array = NDArray[Any]
UNIT = replace(DEFAULT, intensity="unit")


def head_box(pixels: Array) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is brighter than the drawn background's noise."""
    bright = cv2.medianBlur(pixels, 5) > 40
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(64, 64), (50, 90, 3)])
@pytest.mark.parametrize(
    ("spec", "level", "expected"),
    [
        (DEFAULT, 0, 0.0),
        (DEFAULT, 1, 0.0),  # one grey level has no contrast, so it is as black as black
        (replace(DEFAULT, channels=3), 1, 0.0),
        (UNIT, 0, 0.0),
        (NOTEBOOK, 0, 0.0),
        (NOTEBOOK, 1, 1.0),
    ],
)
def test_a_blank_picture(
    spec: PreprocessSpec, level: int, expected: float, shape: tuple[int, ...], dtype: Any
) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    tensor = preprocess(np.full(shape, level * white, dtype=dtype), spec)
    assert tensor.shape == (spec.channels, spec.size, spec.size)
    assert tensor.dtype == np.float32
    assert np.unique(tensor).tolist() == [expected]


@pytest.mark.parametrize("shape", [(200, 180, 3), (97, 301, 3), (128, 128, 3), (60, 40, 3)])
def test_the_notebook_preprocessing_is_reproduced(shape: tuple[int, ...]) -> None:
    colour = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    # What its cells do: cv2.imread gives BGR; to RGB, resize, channel-first, / 255.
    bgr = np.ascontiguousarray(colour[:, :, ::-1])
    resized = cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), (128, 128))
    expected = resized.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert np.array_equal(preprocess(colour, NOTEBOOK), expected)
    grey = colour[:, :, 0]
    resized = cv2.resize(np.dstack([grey, grey, grey]), (128, 128))
    expected = resized.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    assert np.array_equal(preprocess(grey, NOTEBOOK), expected)


def test_intensity_is_scaled_by_percentiles_of_the_head() -> None:
    # A head of two levels, 80 and 180, in exact halves: its 1st percentile is 0, its 99.5th 1.
    pixels = np.zeros((160, 160), dtype=np.uint8)
    pixels[30:130, 30:80], pixels[30:130, 80:130] = 80, 180
    spec = PreprocessSpec(size=100, margin=0.0)
    frame = prepare(pixels, spec).frame
    assert (frame.x0, frame.y0, frame.w, frame.h) == (30, 30, 100, 100)
    tensor = preprocess(pixels, spec)
    assert np.array_equal(tensor[0, :, :50], np.zeros((100, 50)))
    assert np.array_equal(tensor[0, :, 50:], np.ones((100, 50)))
    middle = replace(spec, low=0.0, high=100.0)
    pixels[60:100, 60:100] = 130
    assert preprocess(pixels, middle)[0, 50, 50] == pytest.approx(0.5)


def white_bar(pixels: Array) -> Array:
    return np.hstack([pixels, np.full((len(pixels), 40), 255, np.uint8)])


def grey_frame(pixels: Array) -> Array:
    return cv2.copyMakeBorder(pixels, 12, 12, 12, 12, cv2.BORDER_CONSTANT, value=(128,))


def nested_frames(pixels: Array) -> Array:
    grey = cv2.copyMakeBorder(pixels, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(120,))
    return cv2.copyMakeBorder(grey, 9, 9, 9, 9, cv2.BORDER_CONSTANT, value=(255,))


def burned_in_text(pixels: Array) -> Array:
    wide = cv2.copyMakeBorder(pixels, 30, 10, 60, 60, cv2.BORDER_CONSTANT, value=(0,))
    for text, at in (("SE:3 IM:14", (2, 18)), ("R", (4, 150)), ("W 400 L 40", (260, 286))):
        cv2.putText(wide, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255,), 1)
    return wide


def black_margin(pixels: Array) -> Array:
    return cv2.copyMakeBorder(pixels, 10, 200, 150, 30, cv2.BORDER_CONSTANT, value=(0,))


SURROUNDINGS = {
    "none": (lambda pixels: pixels, 0, 0),
    "white bar": (white_bar, 0, 0),
    "grey frame": (grey_frame, 12, 12),
    "nested frames": (nested_frames, 15, 15),
    "burned-in text": (burned_in_text, 60, 30),
    "black margin": (black_margin, 150, 10),
}


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_head_is_found_among_annotations(around: str, seed: int) -> None:
    put, right, down = SURROUNDINGS[around]
    head = draw_phantom(seed, lesion=True).image
    left, top, end, bottom = head_box(head)
    frame = prepare(put(head), replace(DEFAULT, margin=0.0)).frame
    # The brain at least; a scalp that a dark skull parts from it may stay outside.
    assert frame.w == frame.h
    assert 0.85 <= frame.w / max(end - left, bottom - top) <= 1.03
    assert frame.x0 + frame.w / 2 == pytest.approx(right + (left + end) / 2, abs=4)
    assert frame.y0 + frame.h / 2 == pytest.approx(down + (top + bottom) / 2, abs=4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", [DEFAULT, UNIT, NOTEBOOK], ids=["default", "unit", "notebook"])
@pytest.mark.parametrize("colour", [False, True])
def test_the_bit_depth_does_not_matter(spec: PreprocessSpec, channels: Any, colour: bool) -> None:
    head = draw_phantom(3, lesion=True).image
    pixels = np.dstack([head, head // 2, head]) if colour else head
    spec = replace(spec, channels=channels)
    expected = preprocess(pixels, spec)
    as_words = preprocess(pixels.astype(np.uint16) * 257, spec)
    as_floats = preprocess(pixels.astype(np.float32) / np.float32(255), spec)
    # Where OpenCV computes in whole levels (grey of colour, the notebook's resizing), 16 bits
    # and floats are finer by up to a level, which the percentiles then stretch.
    slack = 2 / 255 if spec.crop == "none" or colour else 1e-3
    assert np.abs(as_words - expected).max() <= slack
    assert np.abs(as_floats - expected).max() <= slack


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0.5, 0.25, 0.75, 0.5), (0.5, 0.0, 1.0, 0.5)),
        ((0.25, 0.25, 0.75, 0.75), (0.0, 0.0, 1.0, 1.0)),
        ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)),  # clipped to the input
        ((0.0, 0.0, 0.25, 0.25), (0.0, 0.0, 0.0, 0.0)),  # beside it: no area
    ],
)
def test_boxes_are_converted_to_the_input(
    box: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    frame = Frame(height=100, width=200, x0=50, y0=25, w=100, h=50, size=32)
    moved = frame.boxes_to_input(np.array([box]))
    assert moved.dtype == np.float32
    assert moved.tolist() == [list(expected)]


def test_a_map_is_resampled_to_the_image() -> None:
    # The frame passes the image on the left, and leaves its right half free.
    frame = Frame(height=4, width=8, x0=-2, y0=0, w=4, h=4, size=32)
    spread = frame.map_to_image(np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert spread.dtype == np.float32
    assert spread.tolist() == [
        [1.75, 2, 0, 0, 0, 0, 0, 0],
        [2.25, 2.5, 0, 0, 0, 0, 0, 0],
        [3.25, 3.5, 0, 0, 0, 0, 0, 0],
        [3.75, 4, 0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("size", [200, 256, 3000])
@pytest.mark.parametrize("seed", [1, 4])
def test_a_lesion_is_mapped_to_the_input_and_back(seed: int, size: int) -> None:
    phantom = draw_phantom(seed, lesion=True)
    assert phantom.box is not None
    pixels, mask = (
        cv2.resize(picture, (size, size), interpolation=cv2.INTER_NEAREST)
        for picture in (phantom.image, phantom.mask.astype(np.uint8))
    )
    # Off the middle, so that a swapped axis or a lost offset shows.
    pixels = cv2.copyMakeBorder(pixels, 0, size // 8, size // 4, 0, cv2.BORDER_CONSTANT, value=(0,))
    mask = cv2.copyMakeBorder(mask, 0, size // 8, size // 4, 0, cv2.BORDER_CONSTANT, value=(0,))
    height, width = pixels.shape
    rows, columns = np.nonzero(mask)
    box = np.array([[columns.min() / width, rows.min() / height, (columns.max() + 1) / width,
                     (rows.max() + 1) / height]])  # fmt: skip
    frame = prepare(pixels, DEFAULT).frame
    assert (frame.height, frame.width) == (height, width)
    x0, y0, x1, y1 = frame.boxes_to_input(box)[0] * DEFAULT.size
    # The picture of the lesion alone, cut as the pixels are.
    inside = (np.arange(DEFAULT.size) + 0.5) / DEFAULT.size
    at_x = (frame.x0 + inside * frame.w).astype(int).clip(0, width - 1)
    at_y = (frame.y0 + inside * frame.h).astype(int).clip(0, height - 1)
    moved = mask[np.ix_(at_y, at_x)]
    found_rows, found_columns = np.nonzero(moved)
    assert [found_columns.min(), found_rows.min(), found_columns.max() + 1, found_rows.max() + 1] \
        == pytest.approx([x0, y0, x1, y1], abs=2)  # fmt: skip
    back = frame.map_to_image(moved.astype(np.float32)) > 0.5
    overlap = (back & (mask > 0)).sum() / (back | (mask > 0)).sum()
    assert overlap > 0.9


def test_a_spec_describes_itself() -> None:
    told = PreprocessSpec(size=96, margin=0.09).describe()
    assert told == "1 × 96 × 96 pixels, crop content with a margin of 9 %, intensity percentile"
    assert "crop none, " in NOTEBOOK.describe()


@pytest.mark.parametrize("spec", [DEFAULT, NOTEBOOK], ids=["default", "notebook"])
def test_orientation_is_preserved(spec: PreprocessSpec) -> None:
    pixels = np.zeros((120, 160), dtype=np.uint8)
    cv2.ellipse(pixels, (80, 60), (50, 45), 0, 0, 360, (90,), cv2.FILLED)
    cv2.circle(pixels, (55, 42), 8, (250,), cv2.FILLED)
    half = spec.size // 2
    for flip in (None, 1, 0, -1):
        image = pixels if flip is None else np.ascontiguousarray(cv2.flip(pixels, flip))
        tensor = preprocess(image, spec)[0]
        row, column = np.unravel_index(cv2.GaussianBlur(tensor, (5, 5), 0).argmax(), tensor.shape)
        assert (column < half) == (flip in (None, 0)), flip
        assert (row < half) == (flip in (None, 1)), flip


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 1), np.uint8), "shape"),
        (np.zeros(16, np.uint8), "shape"),
        (np.zeros((0, 5), np.uint8), "shape"),
        (np.zeros((8, 8), np.float64), "type"),
        (np.zeros((8, 8), np.int16), "type"),
        (np.zeros((8, 8), bool), "type"),
        (np.full((8, 8), np.nan, np.float32), "NaN or infinite"),
        (np.full((8, 8), np.inf, np.float32), "NaN or infinite"),
    ],
)
@pytest.mark.parametrize("call", [preprocess, prepare])
def test_invalid_arrays_are_refused(call: Any, pixels: Array, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        call(pixels, DEFAULT)


@pytest.mark.parametrize(
    "settings",
    [{"size": 15}, {"size": 1025}, {"low": 99.0, "high": 1.0}, {"high": 101.0}, {"margin": -0.1},
     {"channels": 2}, {"crop": "brain"}, {"intensity": "z-score"}, {"sizes": 128}],
)  # fmt: skip
def test_invalid_specs_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="preprocess: "):
        PreprocessSpec.from_dict(settings)


def test_a_spec_round_trips_through_its_dictionary() -> None:
    spec = PreprocessSpec(size=96, channels=3, margin=0.1, low=2.0)
    assert PreprocessSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("spec", [DEFAULT, NOTEBOOK], ids=["default", "notebook"])
@pytest.mark.parametrize(
    "shape", [(1, 500), (500, 1), (1, 1), (2, 3), (3, 5000), (4000, 5), (16, 16), (2049, 2048)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_range_holds_for_any_shape(
    spec: PreprocessSpec, shape: tuple[int, int], dtype: Any
) -> None:
    noise = np.random.default_rng(1).random(shape)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (noise * top).astype(dtype)
    kept = pixels.copy()
    tensor = preprocess(pixels, spec)
    assert tensor.shape == (spec.channels, spec.size, spec.size)
    assert tensor.flags.c_contiguous
    assert 0 <= tensor.min() <= tensor.max() <= 1
    assert np.array_equal(pixels, kept)
    assert np.array_equal(preprocess(pixels, spec), tensor)
    frame = prepare(pixels, spec).frame
    assert (frame.height, frame.width) == shape
    assert frame.map_to_image(np.ones((4, 4), np.float32)).shape == shape


def test_floats_of_any_unit_are_scaled_by_the_head() -> None:
    head = draw_phantom(2, lesion=False).image.astype(np.float32)
    expected = preprocess(head, DEFAULT)
    assert np.abs(preprocess(head * np.float32(12.5), DEFAULT) - expected).max() < 1e-3
    assert np.abs(preprocess(head - np.float32(1024), DEFAULT) - expected).max() < 1e-3


def test_read_only_views_are_accepted() -> None:
    head = draw_phantom(5, lesion=True, size=300).image
    view = head[10:290, 5:250]
    view.flags.writeable = False
    assert np.array_equal(preprocess(view, DEFAULT), preprocess(view.copy(), DEFAULT))


@pytest.mark.parametrize("ground", [0, 255, 60])
@pytest.mark.parametrize("share", [0.2, 0.25, 0.3])
def test_a_small_scan_on_a_large_page_is_found(ground: int, share: float) -> None:
    scan = draw_phantom(8, lesion=True).image
    page = np.full((int(256 / share * 0.75), int(256 / share)), ground, np.uint8)
    top, left = page.shape[0] // 5, page.shape[1] // 3
    page[top : top + 256, left : left + 256] = scan
    spec = PreprocessSpec(surround="hidden")
    found, alone = prepare(page, spec), prepare(scan, spec)
    assert np.corrcoef(found.tensor.ravel(), alone.tensor.ravel())[0, 1] > 0.97
    assert found.frame.x0 == pytest.approx(alone.frame.x0 + left, abs=8)
    assert found.frame.y0 == pytest.approx(alone.frame.y0 + top, abs=8)
    assert (found.frame.height, found.frame.width) == page.shape
    assert min(found.visible.shape) < 400


def test_of_several_views_none_is_chosen() -> None:
    scan = draw_phantom(8, lesion=True, size=128).image
    sheet = np.tile(scan, (4, 4))
    assert prepare(sheet, DEFAULT).visible.shape == sheet.shape
