"""Comparison of two images by correlation of local contrast: do they show the same slice?

Local contrast is robust to brightness, gamma and windowing. Heads are compared in the best of eight
orientations (flips and quarter turns), and cropped ones after an affine alignment. In case the
head's box was located differently, whole images are compared too, and each image with the central
part of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.thumbnails import poses

Samples = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""The head's box and the whole image, each resampled to ``[64, 64]``."""

ZOOMS = (1.0, 0.95, 0.9)
"""Central fractions of an image that are compared, so that cropped copies are found."""

# From manual inspection of pairs 33 to 48 bits apart: near-duplicates have correlations of at least
# 0.80, cropped ones of at least 0.93 after the affine fit; other pairs stay below 0.75 and 0.90.
CORRELATION = 0.80
FITTED_CORRELATION = 0.93
_NEIGHBOURHOOD = 5.0  # standard deviation of the Gaussian window of local contrast, in pixels
_NOISE = 4.0  # grey levels of 255; suppresses noise in uniform background
_FIT_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
_FIT_BLUR = 5  # size of the Gaussian before the gradients, in pixels
_MIN_BEFORE_FIT = 0.3  # correlation above which an affine fit is tried
_MAX_DISTORTION = 0.25  # largest stretching or shearing accepted from a fit


class ContrastMatcher:
    """Compares images by local contrast, which is cached."""

    def __init__(self, samples: Callable[[int], Samples]) -> None:
        """Compare images by index; ``samples`` returns the samples of an index."""
        self._head = lru_cache(maxsize=4096)(lambda i: local_contrast(samples(i)[0]))
        self._centres = lru_cache(maxsize=1024)(
            lambda i: [local_contrast(_centre(samples(i)[1], zoom)) for zoom in ZOOMS]
        )

    def agreement(self, i: int, j: int, *, whole: bool) -> float | None:
        """Return the correlation of two images of the same slice, None for other pairs.

        ``whole``: also compare the whole images if the heads do not match.
        """
        plain, fitted = _correlate(self._head(i), self._head(j))
        if whole and plain < CORRELATION:
            plain = max(plain, self._of_whole_images(i, j))
        if plain >= CORRELATION or fitted >= FITTED_CORRELATION:
            return round(max(plain, fitted), 4)
        return None

    def _of_whole_images(self, i: int, j: int) -> float:
        one, other = self._centres(i), self._centres(j)
        compared = [(part, other[0]) for part in one] + [(part, one[0]) for part in other[1:]]
        return max(_best_pose(part, whole)[0] for part, whole in compared)


def to_uint8(sample: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round grey levels in 0..255 to integers."""
    return np.asarray(np.clip(sample + 0.5, 0, 255).astype(np.uint8))


def local_contrast(sample: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each pixel's difference from its local mean, in local standard deviations.

    ``float32 [64, 64]`` with zero mean and unit norm, so that a dot product is a correlation.
    """
    grey = sample.astype(np.float32)
    step = grey - cv2.GaussianBlur(grey, (0, 0), _NEIGHBOURHOOD)
    deviation = np.sqrt(cv2.GaussianBlur(step * step, (0, 0), _NEIGHBOURHOOD))
    contrast = step / (deviation + _NOISE)
    contrast -= contrast.mean()
    return np.asarray(contrast / max(float(np.linalg.norm(contrast)), 1e-6), np.float32)


def _centre(whole: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Enlarge the central part of a sample, ``zoom`` of its side, to the sample's size."""
    side = whole.shape[0]
    edge = (1 - zoom) / 2 * side + zoom / 2 - 0.5
    to_source = np.array([[zoom, 0, edge], [0, zoom, edge]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(
        whole, to_source, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(enlarged, np.uint8)


def _correlate(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Return the correlation in the best orientation, before and after the fit (0: no fit)."""
    plain, turned = _best_pose(one, other)
    if _MIN_BEFORE_FIT <= plain < CORRELATION:
        return plain, _fitted(one, turned)
    return plain, 0.0


def _best_pose(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    turned = poses(other)
    plain = [float(np.vdot(one, pose)) for pose in turned]
    best = int(np.argmax(plain))
    return plain[best], turned[best]


def _fitted(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation after ECC alignment (Evangelidis and Psarakis, PAMI 2008)."""
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        everywhere = np.full(one.shape, 255, np.uint8)
        value, fit = cv2.findTransformECC(
            one, other, warp, cv2.MOTION_AFFINE, _FIT_STEPS, everywhere, _FIT_BLUR
        )
    except cv2.error:  # no convergence
        return 0.0
    distortion = np.abs(np.asarray(fit)[:, :2] - np.eye(2)).max()
    return float(value) if distortion <= _MAX_DISTORTION else 0.0
