"""Localisation metrics: agreement of a class map with annotated boxes.

Maps are float ``[h, w]`` of any resolution; boxes are ``[N, 4]``: ``x0, y0, x1, y1`` as fractions
of the map's width and height. A cell counts by the share of its area inside the boxes; where boxes
overlap, the larger share counts.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tumorlens.errors import DataError

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]

TOLERANCE = 15 / 256
"""The pointing game's tolerance: 15 pixels of an image whose longer side is 256."""


def pointing_hit(heat: ArrayLike, boxes: ArrayLike, tolerance: float = 0.0) -> bool:
    """Return whether the centre of the map's peak cell lies in a box, or near one.

    The pointing game of Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV
    2018. Of tied peak cells the first in reading order counts, so a constant map points at the
    corner.

    Args:
        heat: The map.
        boxes: The boxes.
        tolerance: Distances below this count as hits, in units of `pointing_distance`. With 0 the
            peak must lie in a box (edges included); the paper uses 15 pixels (`TOLERANCE`).

    Raises:
        DataError: An empty or non-finite map, no box, or a box without area.
    """
    distance = pointing_distance(heat, boxes)
    return distance == 0 or distance < tolerance


def pointing_distance(heat: ArrayLike, boxes: ArrayLike) -> float:
    """Return the distance from the centre of the peak cell to the nearest box, 0 inside one.

    The unit is the longer side of the map; cells are assumed to be square. Raises as
    `pointing_hit`.
    """
    values, corners = _checked(heat, boxes)
    height, width = values.shape
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    x, y = (column + 0.5) / width, (row + 0.5) / height
    left, top, right, bottom = corners.T
    across = np.maximum(np.maximum(left - x, x - right), 0) * width
    down = np.maximum(np.maximum(top - y, y - bottom), 0) * height
    return float(np.hypot(across, down).min() / max(height, width))


def energy_in_box(heat: ArrayLike, boxes: ArrayLike) -> float:
    """Return the share, 0..1, of the map's positive energy that lies inside the boxes.

    The energy-based pointing game of Wang et al., Score-CAM, CVPR workshops 2020: the sum of
    ``max(map, 0)`` inside the boxes over the whole sum, 0 for a map without positive values.
    Raises as `pointing_hit`.
    """
    values, corners = _checked(heat, boxes)
    return energy_in_region(values, box_coverage(values.shape, corners))


def energy_in_region(heat: ArrayLike, region: ArrayLike) -> float:
    """Return the share, 0..1, of the map's positive energy in a region, as `energy_in_box`.

    ``region`` has the map's shape: bool, or the share 0..1 of each cell that counts. Raises
    `DataError` for another shape, or an empty or non-finite map.
    """
    values, inside = _checked_map(heat), np.asarray(region, dtype=np.float64)
    if inside.shape != values.shape:
        raise DataError(f"a region of shape {inside.shape} on a map of shape {values.shape}")
    energy = np.maximum(values, 0)
    total = float(energy.sum())
    return float((energy * inside).sum()) / total if total else 0.0


def iou_at_area(heat: ArrayLike, boxes: ArrayLike) -> float:
    """Return the intersection over union, 0..1, of the boxes and the map's highest cells.

    The highest cells are taken until they cover the area of the boxes (at least one cell), so no
    threshold has to be chosen; ties are broken in reading order. Raises as `pointing_hit`.
    """
    values, corners = _checked(heat, boxes)
    covered = box_coverage(values.shape, corners)
    area = float(covered.sum())
    highest = np.argsort(-values, axis=None, kind="stable")[: max(1, round(area))]
    inside = float(covered.ravel()[highest].sum())
    return inside / (area + highest.size - inside)


def box_from_map(heat: ArrayLike, level: float) -> Box | None:
    """Return the box around the map's main region: ``(x0, y0, x1, y1)`` fractions, or None.

    The region is the four-connected component of cells of at least ``level`` that holds the peak;
    None when no cell reaches the level. Raises `DataError` for an empty or non-finite map.
    """
    values = _checked_map(heat)
    if values.max() < level:
        return None
    _, regions = cv2.connectedComponents((values >= level).astype(np.uint8), connectivity=4)
    region = regions == regions.flat[int(values.argmax())]
    x, y, w, h = cv2.boundingRect(region.astype(np.uint8))
    height, width = values.shape
    return x / width, y / height, (x + w) / width, (y + h) / height


def box_iou(box: Box | None, boxes: ArrayLike) -> float:
    """Return the intersection over union, 0..1, with the best-matching box; 0 for None."""
    if box is None:
        return 0.0
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = np.minimum(corners[:, 2:], box[2:]) - np.maximum(corners[:, :2], box[:2])
    intersection = np.clip(sides, 0, None).prod(axis=1)
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1) + (box[2] - box[0]) * (box[3] - box[1])
    return float((intersection / (areas - intersection)).max())


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Return Spearman's rank correlation of two maps, -1..1; ties share their mean rank.

    It is 0 if a map is constant. Raises `DataError` when they differ in shape, are empty or not
    finite. Needs scipy (extra 'train').
    """
    maps = _checked_map(one), _checked_map(other)
    if maps[0].shape != maps[1].shape:
        raise DataError(f"maps of shapes {maps[0].shape} and {maps[1].shape} cannot be compared")
    if any(np.ptp(each) == 0 for each in maps):
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(maps[0], maps[1], axis=None).statistic)


def box_coverage(shape: tuple[int, ...], boxes: ArrayLike) -> Floats:
    """Return for each cell of a map ``[h, w]`` the share of its area inside the boxes, 0..1."""
    height, width = shape
    covered = np.zeros((height, width))
    for left, top, right, bottom in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        rows = _overlap(height, top, bottom)
        covered = np.maximum(covered, rows[:, None] * _overlap(width, left, right))
    return covered


def _overlap(cells: int, low: float, high: float) -> Floats:
    """Return the share of each of ``cells`` equal parts of 0..1 that lies in low..high."""
    start = np.arange(cells)
    inside = np.minimum(start + 1, high * cells) - np.maximum(start, low * cells)
    return np.asarray(np.clip(inside, 0.0, 1.0))


def _checked_map(heat: ArrayLike) -> Floats:
    values = np.asarray(heat, dtype=np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise DataError(f"a map must be finite and [h, w]; got shape {values.shape}")
    return values


def _checked(heat: ArrayLike, boxes: ArrayLike) -> tuple[Floats, Floats]:
    values, corners = _checked_map(heat), np.asarray(boxes, dtype=np.float64)
    if corners.size == 0 or corners.ndim != 2 or corners.shape[1] != 4:
        raise DataError(f"localisation needs boxes [N, 4]; got shape {corners.shape}")
    if not (corners[:, 2:] > corners[:, :2]).all():
        raise DataError("a box must be x0 < x1 and y0 < y1, as fractions of the image")
    return values, corners
