"""What is watched of a scan, and that it moves when scans change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tumorlens.drift.statistics import STATISTICS, observe
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.imaging.preprocess import PreprocessSpec, preprocess

SPEC = PreprocessSpec(size=96)


def observed(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, float]:
    return dict(zip(STATISTICS, observe(preprocess(image, SPEC), 0.3, 1.5), strict=True))


def test_statistics_of_a_small_input() -> None:
    tensor = np.array(
        [[[0, 0, 0, 0], [0, 0.2, 0.6, 0], [0, 0.6, 0.6, 0], [0, 0, 0, 0]]], np.float32
    )
    score, brightness, contrast, sharpness, domain = observe(tensor, 0.25, 2.0)
    assert (score, domain) == (0.25, 2.0)
    # Laplacians: 0.6 + 0.6 - 4 * 0.2, 0.2 + 0.6 - 4 * 0.6 twice, and 0.6 + 0.6 - 4 * 0.6.
    assert brightness == pytest.approx(0.5)
    assert contrast == pytest.approx(np.std([0.2, 0.6, 0.6, 0.6]))
    assert sharpness == pytest.approx((0.4 + 1.6 + 1.6 + 1.2) / 4 / np.std([0.2, 0.6, 0.6, 0.6]))


def test_a_blank_input_has_finite_statistics_but_for_a_missing_detector() -> None:
    assert observe(np.zeros((1, 8, 8), np.float32), 0.5, None)[:4] == (0.5, 0.0, 0.0, 0.0)
    assert np.isnan(observe(np.zeros((3, 8, 8), np.float32), 0.5, None)[4])


def test_blur_noise_and_gamma_move_what_they_should() -> None:
    image = draw_phantom(7, lesion=True, size=256).image
    plain = observed(image)
    blurred = observed(np.asarray(cv2.GaussianBlur(image, (0, 0), 3)))
    assert blurred["sharpness"] < 0.8 * plain["sharpness"]
    noise = np.random.default_rng(0).normal(0, 30, image.shape)
    noisy = observed(np.clip(image + noise * (image > 20), 0, 255).astype(np.uint8))
    assert noisy["sharpness"] > 1.2 * plain["sharpness"]
    darker = observed((255 * (image / 255.0) ** 2).astype(np.uint8))
    assert darker["brightness"] < 0.9 * plain["brightness"]


def test_another_size_or_gain_is_no_drift() -> None:
    image = draw_phantom(3, lesion=False, size=512).image
    half = observed(np.asarray(cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA)))
    dimmed = observed((image * 0.6).astype(np.uint8))
    plain = observed(image)
    for name in ("brightness", "contrast", "sharpness"):
        assert half[name] == pytest.approx(plain[name], rel=0.05)
        assert dimmed[name] == pytest.approx(plain[name], rel=0.05)
