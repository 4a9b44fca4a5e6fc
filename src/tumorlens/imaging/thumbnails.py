"""Thumbnails of the head and of the whole image, independent of image size and margins."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.image import to_grey

THUMBNAIL_SIDE = 64
_WORK_SIDE = 160  # longest side at which the head is located, so that resizing changes little
_BOX_DEVIATIONS = (
    1.8  # half the box, in standard deviations of the head's outline; 2 for an ellipse
)


def poses(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the eight flips and quarter turns of ``[S, S]``, the unchanged image first."""
    return [
        np.ascontiguousarray(p)
        for base in (image, image.T)
        for p in (base, base[::-1], base[:, ::-1], base[::-1, ::-1])
    ]


def thumbnails(
    pixels: NDArray[np.generic], zooms: tuple[float, ...] = ()
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return a thumbnail of the head's box, and of the whole image at each of ``zooms``.

    The box comes from the moments of the head's convex hull rather than from its extremes as in
    `find_head`: more robust to cropped margins and JPEG noise. A zoom of 0.9 takes the central
    nine tenths of width and height, as after cropping a margin of 5 % on each side.

    Returns:
        The head's thumbnail and those of the image, each ``float32 [64, 64]`` in 0..255.
    """
    small = _working_copy(pixels)
    height, width = small.shape
    spans = [(0.5 - zoom / 2, 0.5 + zoom / 2) for zoom in zooms]
    whole = [
        _thumbnail(small, a * width - 0.5, a * height - 0.5, b * width - 0.5, b * height - 0.5)
        for a, b in spans
    ]
    hull = head_hull(small)
    left, right = _span(hull.sum(axis=0, dtype=np.float64))
    top, bottom = _span(hull.sum(axis=1, dtype=np.float64))
    return _thumbnail(small, left, top, right, bottom), whole


def _thumbnail(
    small: NDArray[np.uint8], left: float, top: float, right: float, bottom: float
) -> NDArray[np.float32]:
    """Resample the box, whose edges are in pixel coordinates (0 is the first pixel's centre)."""
    step_x = max(right - left, 4.0) / THUMBNAIL_SIDE
    step_y = max(bottom - top, 4.0) / THUMBNAIL_SIDE
    to_source = np.array(
        [[step_x, 0, left + step_x / 2], [0, step_y, top + step_y / 2]], np.float32
    )
    return np.asarray(
        cv2.warpAffine(
            small.astype(np.float32),
            to_source,
            (THUMBNAIL_SIDE, THUMBNAIL_SIDE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _working_copy(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return a grey ``uint8`` copy, longest side 160, slightly blurred, stretched to 0..255."""
    grey = to_grey(pixels.astype(np.float32))
    grey = np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0)
    height, width = grey.shape
    scale = _WORK_SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.GaussianBlur(cv2.resize(grey, size, interpolation=shrink), (0, 0), 1.5)
    low, high = float(small.min()), float(small.max())
    # So small a relative range is the rounding of a blank image.
    if high - low <= 1e-5 * max(abs(low), abs(high), 1e-30):
        return np.zeros(small.shape, np.uint8)
    return np.asarray((small - low) * (255.0 / (high - low)) + 0.5).astype(np.uint8)


def head_hull(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask of the convex hull around all large bright components."""
    level, _ = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    floor = float(np.percentile(small, 1))
    mask = (small > floor + 0.7 * (level - floor)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.ones(small.shape, np.uint8)
    areas = [cv2.contourArea(c) for c in contours]
    # Scale bars and text are small compared with the head.
    large = [c for c, area in zip(contours, areas, strict=True) if area >= 0.1 * max(areas)]
    hull = np.zeros(small.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(large)), [1])
    return hull


def _span(mass: NDArray[np.float64]) -> tuple[float, float]:
    weights = mass / mass.sum()
    position = np.arange(len(weights))
    centre = float((weights * position).sum())
    half = _BOX_DEVIATIONS * float(np.sqrt((weights * (position - centre) ** 2).sum()))
    return centre - half, centre + half
