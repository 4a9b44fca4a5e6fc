"""Pages and frames around drawn heads are found to the pixel or so, and heads are left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import DEFAULT, PreprocessSpec, prepare, preprocess
from tumorlens.imaging.quality import assess
from tumorlens.imaging.surround import find_surround

Grey = NDArray[np.uint8]
HIDDEN = replace(DEFAULT, surround="hidden")


def head(seed: int = 0, plane: Plane = "axial") -> Grey:
    return draw_phantom(seed, lesion=True, plane=plane).image


def bordered(picture: Grey, top: int, bottom: int, left: int, right: int, level: int) -> Grey:
    sides = (top, bottom, left, right)
    return np.asarray(cv2.copyMakeBorder(picture, *sides, cv2.BORDER_CONSTANT, value=[level]))


def on_a_page(picture: Grey) -> Grey:
    return bordered(picture, 30, 60, 45, 20, 255)


def beside_white(picture: Grey) -> Grey:
    return bordered(picture, 0, 0, 70, 0, 255)


def captioned(picture: Grey) -> Grey:
    page = on_a_page(picture)
    at = (45, page.shape[0] - 20)
    return np.asarray(cv2.putText(page, "Fig. 2", at, cv2.FONT_HERSHEY_SIMPLEX, 1.0, [0], 2))


def framed(picture: Grey) -> Grey:
    wide = bordered(picture, 14, 14, 14, 14, 0)
    height, width = wide.shape
    return np.asarray(cv2.rectangle(wide, (5, 5), (width - 6, height - 6), [220], 3))


def framed_on_a_page(picture: Grey) -> Grey:
    return on_a_page(framed(picture))


def upper_line(picture: Grey) -> Grey:
    wide = bordered(picture, 14, 0, 0, 0, 0)
    return np.asarray(cv2.line(wide, (0, 6), (wide.shape[1] - 1, 6), [255], 2))


AROUND: dict[str, Callable[[Grey], Grey]] = {
    "page": on_a_page, "white beside": beside_white, "caption": captioned, "frame": framed,
    "frame on a page": framed_on_a_page, "line": upper_line,
}  # fmt: skip
WHERE = {  # the picture's upper left corner
    "page": (45, 30), "white beside": (70, 0), "caption": (45, 30), "frame": (14, 14),
    "frame on a page": (59, 44), "line": (0, 14),
}  # fmt: skip


def jpeg(picture: Grey, quality: int = 85) -> Grey:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


@pytest.mark.parametrize("plane", get_args(Plane))
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("compressed", [False, True])
def test_only_the_surround_of_a_head_is_hidden(around: str, plane: Plane, compressed: bool) -> None:
    scan = head(3, plane)
    # A dark scanner's ground around the head, as in scans.
    scan = bordered(scan, 12, 12, 12, 12, int(scan[0, 0]))
    picture = AROUND[around](scan)
    x, y = WHERE[around]
    hidden = find_surround(jpeg(picture) if compressed else picture)
    assert hidden is not None
    inside = np.zeros(picture.shape, dtype=bool)
    height, width = scan.shape
    inside[y + 8 : y + height - 8, x + 8 : x + width - 8] = True
    assert not hidden[inside].any()
    if around != "caption":
        kept = picture[~hidden & ~inside]
        assert np.mean(kept > 150) < 0.02
    else:
        assert hidden.mean() > 0.8 * (1 - scan.size / picture.size)


@pytest.mark.parametrize("plane", get_args(Plane))
def test_a_head_alone_has_no_surround(plane: Plane) -> None:
    for seed in range(6):
        scan = head(seed, plane)
        assert find_surround(scan) is None


def test_bright_skin_at_the_edge_is_not_a_page() -> None:
    scan = np.zeros((200, 200), dtype=np.uint8)
    cv2.circle(scan, (100, 100), 104, [255], cv2.FILLED)  # it leaves the picture on all sides
    cv2.circle(scan, (100, 100), 80, [90], cv2.FILLED)
    assert find_surround(scan) is None


@pytest.mark.parametrize("plane", get_args(Plane))
def test_the_white_air_of_an_inverted_scan_is_not_a_page(plane: Plane) -> None:
    for seed in range(3):
        assert find_surround(255 - bordered(head(seed, plane), 12, 12, 12, 12, 0)) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("around", ["page", "frame", "frame on a page"])
def test_the_input_is_the_same_with_and_without_surround(
    around: str, colour: bool, dtype: Any
) -> None:
    scan = bordered(head(5), 12, 12, 12, 12, 0)
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    pictures = [(p * np.float64(scale)).astype(dtype) for p in (scan, AROUND[around](scan))]
    if colour:
        pictures = [np.repeat(p[:, :, None], 3, axis=2) for p in pictures]
    alone, within = (preprocess(p, HIDDEN) for p in pictures)
    # A crop that lies a pixel beside is 0.02 away already.
    assert np.abs(alone - within).mean() < 0.04
    # With a wide margin page and frame are in view; the head is in the middle.
    wide = replace(DEFAULT, margin=0.4)
    for spec, seen in ((replace(wide, surround="hidden"), False), (wide, True)):
        view = preprocess(pictures[1], spec)[0]
        view[24:-24, 24:-24] = 0
        assert (view.max() > 0.7) == seen
    x, y = WHERE[around]
    frame, moved = (prepare(p, HIDDEN).frame for p in pictures)
    assert (moved.x0 - x, moved.y0 - y) == pytest.approx((frame.x0, frame.y0), abs=3)
    assert moved.w == pytest.approx(frame.w, abs=4)
    assert (moved.height, moved.width) == pictures[1].shape[:2]


@pytest.mark.parametrize("around", AROUND)
def test_quality_is_assessed_on_the_scan_without_the_page(around: str) -> None:
    picture = AROUND[around](bordered(head(7), 12, 12, 12, 12, 0))
    assert assess(prepare(picture, HIDDEN).visible).usable
    if around in ("page", "caption", "frame on a page"):
        assert not assess(prepare(picture, DEFAULT).visible).usable


def test_the_scan_is_cropped_out_of_its_page() -> None:
    scan = bordered(head(7), 12, 12, 12, 12, 0)
    cut = prepare(on_a_page(scan), HIDDEN).visible
    assert np.abs(np.subtract(cut.shape, scan.shape)).max() <= 8
    assert prepare(scan, HIDDEN).visible is scan
    whole = PreprocessSpec(crop="none", surround="hidden")
    page = on_a_page(scan)
    assert prepare(page, whole).visible is page


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (3, 200), (64, 64)])
def test_blank_and_tiny_images_are_unchanged(level: int, shape: tuple[int, int]) -> None:
    blank = np.full(shape, level, dtype=np.uint8)
    assert preprocess(blank, HIDDEN).shape == (1, HIDDEN.size, HIDDEN.size)
    assert find_surround(blank) is None
    assert not assess(prepare(blank, HIDDEN).visible).usable


def test_a_page_of_text_is_refused() -> None:
    page = np.full((400, 300), 255, dtype=np.uint8)
    for row in range(30, 390, 22):
        cv2.putText(
            page, "healthy head and brain", (12, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, [0], 1
        )
    assert not assess(prepare(page, HIDDEN).visible).usable
