"""Whether two images show the same slice: correlation of their local contrast.

Local contrast does not depend on brightness, gamma or windowing. Heads are compared in the pose
(flip or quarter turn) that fits best, and cropped ones after an affine alignment. Where the head's
box was located differently in two nearly equal images, the whole images are compared, and each
image with the other's central part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.thumbnails import poses

Samples = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Of one image: the head's box and the whole image, each resampled to ``[64, 64]``."""

ZOOMS = (1.0, 0.95, 0.9)
"""Central fractions of an image that are compared, so that cropped copies are found."""

# Of pairs 33 to 48 bits apart, inspected one by one: near-duplicates correlate by 0.80 and more
# as they are, cropped ones by 0.93 and more after an affine fit; other pairs stay below 0.75 and
# 0.90.
CORRELATION = 0.80
FITTED_CORRELATION = 0.93
_NEIGHBOURHOOD = 5.0  # standard deviation of the Gaussian window of local contrast, in pixels
_NOISE = 4.0  # grey levels of 255; keeps flat background flat
_FIT_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
_FIT_BLUR = 5  # size of the Gaussian before the gradients, in pixels
_WORTH_FITTING = 0.3  # cropped near-duplicates correlate by more than this before the fit
_LARGEST_FIT = 0.25  # a fit that stretches or shears more than this is no near-duplicate


class ContrastMatcher:
    """Compares images by local contrast, computed when first needed and cached."""

    def __init__(self, samples: Callable[[int], Samples]) -> None:
        """Compare images whose samples, by index, ``samples`` returns."""
        self._head = lru_cache(maxsize=4096)(lambda i: local_contrast(samples(i)[0]))
        self._centres = lru_cache(maxsize=1024)(
            lambda i: [local_contrast(_centre(samples(i)[1], zoom)) for zoom in ZOOMS]
        )

    def agreement(self, i: int, j: int, *, whole: bool) -> float | None:
        """Return the correlation of two images that show one slice, None for any others.

        ``whole``: compare the whole images too where the heads do not agree.
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
    """Round a sample of grey levels, 0..255, to whole ones."""
    return np.asarray(np.clip(sample + 0.5, 0, 255).astype(np.uint8))


def local_contrast(sample: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return each pixel's difference from its local mean, in local standard deviations.

    Returns ``float32 [64, 64]`` of mean 0 and length 1, so that a dot product is a correlation.
    """
    grey = sample.astype(np.float32)
    step = grey - cv2.GaussianBlur(grey, (0, 0), _NEIGHBOURHOOD)
    deviation = np.sqrt(cv2.GaussianBlur(step * step, (0, 0), _NEIGHBOURHOOD))
    contrast = step / (deviation + _NOISE)
    contrast -= contrast.mean()
    return np.asarray(contrast / max(float(np.linalg.norm(contrast)), 1e-6), np.float32)


def _centre(whole: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Stretch the central part of a sample, ``zoom`` of its side, to the whole sample."""
    side = whole.shape[0]
    edge = (1 - zoom) / 2 * side + zoom / 2 - 0.5
    to_source = np.array([[zoom, 0, edge], [0, zoom, edge]], np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    stretched = cv2.warpAffine(
        whole, to_source, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(stretched, np.uint8)


def _correlate(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Return the correlation in the best pose, before and after an affine fit (0: no fit)."""
    plain, turned = _best_pose(one, other)
    if _WORTH_FITTING <= plain < CORRELATION:
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
        # The arguments after the steps: no mask, and a 5-pixel Gaussian before the gradients.
        everywhere = np.full(one.shape, 255, np.uint8)
        value, fit = cv2.findTransformECC(
            one, other, warp, cv2.MOTION_AFFINE, _FIT_STEPS, everywhere, _FIT_BLUR
        )
    except cv2.error:  # the alignment did not converge: the images have nothing in common
        return 0.0
    stretched = np.abs(np.asarray(fit)[:, :2] - np.eye(2)).max()
    return float(value) if stretched <= _LARGEST_FIT else 0.0
