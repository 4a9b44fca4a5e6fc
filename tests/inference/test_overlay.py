"""The heat map as a picture: fixed scale, clear where there is no evidence."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.errors import InputError
from tumorlens.inference.overlay import encode_png, heat_rgba, render_overlay, to_display


@pytest.mark.parametrize(
    ("value", "alpha"), [(0.0, 0), (0.1, 0), (0.25, 64), (0.4, 128), (0.7, 255), (1.0, 255)]
)
def test_alpha_grows_with_the_evidence(value: float, alpha: int) -> None:
    rgba = heat_rgba(np.full((2, 3), value, dtype=np.float32))
    assert rgba.shape == (2, 3, 4)
    assert set(rgba[..., 3].ravel()) == {alpha}


def test_the_scale_is_fixed_and_not_stretched() -> None:
    weak = np.full((4, 4), 0.3, dtype=np.float32)
    weak[0, 0] = 0.32
    strong = weak.copy()
    strong[3, 3] = 1.0
    # A strong cell elsewhere changes nothing about the weak ones.
    np.testing.assert_array_equal(heat_rgba(weak)[0], heat_rgba(strong)[0])


def test_lightness_rises_with_the_evidence() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    lightness = cv2.cvtColor(heat_rgba(ramp)[..., :3], cv2.COLOR_RGB2LAB)[0, :, 0].astype(int)
    assert lightness[0] < 5
    assert lightness[-1] > 240
    assert (np.diff(lightness) >= 0).all()


def test_the_colours_are_in_rgb_order() -> None:
    red, _, blue, _ = heat_rgba(np.full((1, 1), 0.6, dtype=np.float32))[0, 0]
    assert red > 180 > 100 > blue  # Inferno is orange there


def test_no_evidence_leaves_the_scan_unchanged() -> None:
    scan = np.arange(256, dtype=np.uint8).reshape(16, 16)
    cold = np.full((16, 16), 0.1, dtype=np.float32)
    hot = np.ones((16, 16), dtype=np.float32)
    np.testing.assert_array_equal(render_overlay(scan, cold), np.dstack([scan] * 3))
    np.testing.assert_array_equal(render_overlay(scan, hot, 0), np.dstack([scan] * 3))
    np.testing.assert_array_equal(render_overlay(scan, hot, 1), heat_rgba(hot)[..., :3])


def test_half_opacity_is_half_way() -> None:
    scan = np.full((1, 1), 100, dtype=np.uint8)
    colour = heat_rgba(np.ones((1, 1), dtype=np.float32))[0, 0, :3].astype(float)
    blended = render_overlay(scan, np.ones((1, 1), dtype=np.float32), 0.5)[0, 0]
    np.testing.assert_allclose(blended, (100 + colour) / 2, atol=0.51)


@pytest.mark.parametrize(
    ("scan", "heatmap", "opacity", "reason"),
    [
        (np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.float32), 0.5, "the same shape"),
        (np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.float32), 0.5, "the scan dtype uint8"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32), 0.5, r"\[H, W\]"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), 1.01, np.float32), 0.5, "outside 0..1"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), -0.1, np.float32), 0.5, "outside 0..1"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), np.nan, np.float32), 0.5, "outside 0..1"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), 1.5, "from 0 to 1"),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.float32), 0.5, "shape"),
    ],
)
def test_invalid_shapes_and_ranges_are_refused(
    scan: NDArray[np.uint8], heatmap: NDArray[np.float32], opacity: float, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        render_overlay(scan, heatmap, opacity)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4)])
def test_png_encoding_is_lossless(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    encoded = encode_png(pixels)
    read = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    swap = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}.get(shape[-1])
    np.testing.assert_array_equal(cv2.cvtColor(read, swap) if len(shape) == 3 else read, pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros(4, np.uint8)]
)
def test_png_encoding_refuses_invalid_arrays(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        encode_png(pixels)


def test_8_bit_scans_are_displayed_unchanged() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(to_display(grey), grey)
    np.testing.assert_array_equal(to_display(np.dstack([grey] * 3)), grey)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_depths_are_windowed_for_display(dtype: type) -> None:
    ramp = np.linspace(1000, 3000, 10_000).reshape(100, 100).astype(dtype)
    ramp[0, 0] = 60_000  # one hot pixel must not darken the rest
    shown = to_display(ramp)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(int(shown[50, 0]) - 127) <= 2
    assert (to_display(np.full((3, 3), 7, dtype=dtype)) == 0).all()
