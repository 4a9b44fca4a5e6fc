"""Comparison of two images by correlation of local contrast: do they show the same slice?

Local contrast is robust to brightness, gamma and windowing. Two views of each pair are compared, in
the best of eight orientations (flips and quarter turns): the heads, cropped ones also after an
affine alignment, and, in case the head's box was located differently, the whole images, if close by
hash also each with the central part of the other.

A skull's outline alone gives two persons' slices correlations above 0.8, mainly near the vertex,
where there is little else. Thus the head's interior has to agree by itself: there the background
and the skull do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.thumbnails import THUMBNAIL_SIDE, head_hull, poses

Samples = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""The head's box and the whole image, each resampled to ``[64, 64]``."""

ZOOMS = (1.0, 0.95, 0.9)
"""Central fractions of an image that are compared, so that cropped copies are found."""

# Chosen on 10,642 images of 19 sources. Two persons of different sources: where the correlation
# reaches 0.80, mostly near the vertex, the interiors have at most 0.73; elsewhere at most 0.83.
# Near-duplicates with any background have interiors of 0.85 or more, strongly sharpened ones of
# 0.75 or more at a correlation of 0.80. Two persons of one source whose brains were registered to a
# template have interiors up to 0.916.
CORRELATION = 0.80
INTERIOR = 0.75
INTERIOR_ALONE = 0.85
INTERIOR_OF_PERSONS = 0.92
_INTERIOR_ALONE_MIN = 0.60  # correlation below which no interior is looked at
FITTED_CORRELATION = 0.93
_NEIGHBOURHOOD = 5.0  # standard deviation of the Gaussian window of local contrast, in pixels
_NOISE = 4.0  # grey levels of 255; suppresses noise in uniform background
_FIT_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
_FIT_BLUR = 5  # size of the Gaussian before the gradients, in pixels
_MIN_BEFORE_FIT = 0.3  # correlation above which an affine fit is tried
_MAX_DISTORTION = 0.25  # largest stretching or shearing accepted from a fit
# The erosion that takes the rim off the hull of a whole image, in pixels.
_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
_MIN_INTERIOR = 60  # pixels; a smaller interior shows nothing
# The interior of a head's box, whose outline ends at the box: a disk of three quarters of it.
_CENTRE = np.hypot(*(np.mgrid[:THUMBNAIL_SIDE, :THUMBNAIL_SIDE] - (THUMBNAIL_SIDE - 1) / 2)) <= 24
_TURNED = 64  # images whose eight orientations are kept


class ContrastMatcher:
    """Compares images by local contrast, which is cached."""

    def __init__(self, samples: Callable[[int], Samples]) -> None:
        """Compare images by index; ``samples`` returns the samples of an index."""
        self._head = lru_cache(maxsize=4096)(lambda i: local_contrast(samples(i)[0]))
        self._part = lru_cache(maxsize=4096)(lambda i, zoom: _centre(samples(i)[1], zoom))
        self._frame = lru_cache(maxsize=4096)(lambda i, zoom: local_contrast(self._part(i, zoom)))
        self._turned_head = lru_cache(maxsize=_TURNED)(lambda i: np.stack(poses(self._head(i))))
        self._turned_frame = lru_cache(maxsize=_TURNED)(
            lambda i, zoom: np.stack(poses(self._frame(i, zoom)))
        )

    def agreement(
        self,
        i: int,
        j: int,
        *,
        fit: bool = True,
        whole: bool = True,
        zooms: bool = False,
        persons: bool = False,
    ) -> float | None:
        """Return the correlation of two images of the same slice, None for other pairs.

        If the correlation is below `CORRELATION`, that of the interiors, which agree, is returned.

        Args:
            i: index of one image.
            j: index of the other. With pairs sorted by ``i``, its orientations are made once.
            fit: also compare the heads after an alignment (about 2 ms).
            whole: also compare the whole images.
            zooms: also compare each whole image with the central parts of the other.
            persons: whether the images are said to be of two persons; then only an interior of
                `INTERIOR_OF_PERSONS` shows otherwise.
        """
        turned, other = self._turned_head(i), self._head(j)
        plain, pose = _best_pose(turned, other)
        agreed = _agreed(plain, lambda: _correlation(turned[pose], other, _CENTRE), persons)
        if agreed is None and whole:
            agreed = self._of_whole_images(i, j, ZOOMS if zooms else ZOOMS[:1], persons)
        if agreed is None and fit and not persons and _MIN_BEFORE_FIT <= plain < CORRELATION:
            agreed = _fitted(turned[pose], other)
        return None if agreed is None else round(agreed, 4)

    def _of_whole_images(
        self, i: int, j: int, zooms: Sequence[float], persons: bool
    ) -> float | None:
        for one, other in [(zoom, 1.0) for zoom in zooms] + [(1.0, zoom) for zoom in zooms[1:]]:
            turned, frame = self._turned_frame(i, one), self._frame(j, other)
            plain, pose = _best_pose(turned, frame)
            samples = self._part(i, one), self._part(j, other)
            interior = partial(_of_interiors, samples, turned, frame, pose)
            agreed = _agreed(plain, interior, persons)
            if agreed is not None:
                return agreed
        return None


def _agreed(plain: float, interior: Callable[[], float], persons: bool) -> float | None:
    """Return the agreement of two images from the correlations of all and of their interiors."""
    if plain < _INTERIOR_ALONE_MIN:
        return None
    inside = interior()
    like = plain >= CORRELATION
    enough = INTERIOR_OF_PERSONS if persons else INTERIOR if like else INTERIOR_ALONE
    if inside < enough:
        return None
    return plain if like else inside


def _of_interiors(
    samples: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    turned: NDArray[np.float32],
    frame: NDArray[np.float32],
    pose: int,
) -> float:
    """Correlate two whole images inside their common head, without its rim.

    The head is located in the darker of both at each pixel: of two copies one may have a noisy or
    light background, and the other shows the air.
    """
    turned_sample = np.rint(poses(samples[0].astype(np.float32))[pose]).astype(np.uint8)
    hull = head_hull(np.minimum(turned_sample, samples[1]))
    inside = cv2.erode(hull, _RIM, borderType=cv2.BORDER_CONSTANT, borderValue=[0]) > 0
    return _correlation(turned[pose], frame, inside)


def _correlation(
    one: NDArray[np.float32], other: NDArray[np.float32], inside: NDArray[np.bool_]
) -> float:
    """Return the correlation of the pixels inside; 0 if they are too few."""
    a, b = one[inside], other[inside]
    if len(a) < _MIN_INTERIOR:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.vdot(a, b)) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9)


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
    if zoom == 1.0:
        return whole
    side = whole.shape[0]
    edge = (1 - zoom) / 2 * side + zoom / 2 - 0.5
    to_source = np.array([[zoom, 0, edge], [0, zoom, edge]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    enlarged = cv2.warpAffine(
        whole, to_source, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(enlarged, np.uint8)


def _best_pose(turned: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, int]:
    """Return the best correlation of eight orientations ``[8, 64, 64]``, and which one it is."""
    plain = turned.reshape(len(turned), -1) @ other.ravel()
    best = int(np.argmax(plain))
    return float(plain[best]), best


def _fitted(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Return the correlation after ECC alignment (Evangelidis and Psarakis, PAMI 2008)."""
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        everywhere = np.full(one.shape, 255, np.uint8)
        value, fit = cv2.findTransformECC(
            one, other, warp, cv2.MOTION_AFFINE, _FIT_STEPS, everywhere, _FIT_BLUR
        )
    except cv2.error:  # no convergence
        return None
    distortion = np.abs(np.asarray(fit)[:, :2] - np.eye(2)).max()
    if value < FITTED_CORRELATION or distortion > _MAX_DISTORTION:
        return None
    return float(value)
