"""Localisation metrics on small maps with hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.metrics.localization import (
    TOLERANCE,
    box_coverage,
    box_from_map,
    box_iou,
    energy_in_box,
    energy_in_region,
    iou_at_area,
    pointing_distance,
    pointing_hit,
    rank_correlation,
)

# Four by four: a hot corner, one warm cell far off, one cold one.
HEAT = [
    [9, 8, 0, 0],
    [7, 6, 0, 0],
    [0, 0, -50, 0],
    [0, 0, 0, 10],
]
CORNER = (0.0, 0.0, 0.5, 0.5)
FAR = (0.75, 0.75, 1.0, 1.0)


@pytest.mark.parametrize(
    ("boxes", "hit"),
    [
        ([FAR], True),
        ([CORNER], False),
        ([CORNER, FAR], True),
        ([(0.875, 0.875, 0.9, 0.9)], True),  # the cell's centre lies on the box's corner
        ([(0.88, 0.75, 1.0, 1.0)], False),  # in the cell, but right of its centre
    ],
)
def test_pointing_hit(boxes: list[tuple[float, ...]], hit: bool) -> None:
    assert pointing_hit(HEAT, boxes) is hit


def test_a_flat_map_points_at_the_corner_not_at_the_middle() -> None:
    assert not pointing_hit(np.ones((8, 8)), [(0.25, 0.25, 0.75, 0.75)])
    assert pointing_hit(np.ones((8, 8)), [(0, 0, 0.1, 0.1)])


@pytest.mark.parametrize(
    ("boxes", "share"),
    [
        ([CORNER], 30 / 40),
        ([FAR], 10 / 40),
        ([CORNER, FAR], 1.0),
        ([CORNER, CORNER], 30 / 40),  # the same box twice is no more
        ([(0, 0, 0.5, 0.125)], (9 + 8) / 2 / 40),  # half of two cells
        ([(0.5, 0, 1, 0.5)], 0.0),
    ],
)
def test_energy_in_box(boxes: list[tuple[float, ...]], share: float) -> None:
    assert energy_in_box(HEAT, boxes) == pytest.approx(share, abs=1e-12)


def test_energy_of_a_map_without_positive_values_is_zero() -> None:
    assert energy_in_box([[-1.0, -2.0]], [(0, 0, 1, 1)]) == 0.0


@pytest.mark.parametrize(
    ("boxes", "iou"),
    [
        ([CORNER], 3 / 5),  # hottest four: 10 9 8 7, three of them in the box of four
        ([FAR], 1.0),
        ([(0, 0, 1, 1)], 1.0),
        ([(0.5, 0.0, 1.0, 0.25)], 0.0),
        ([(0.75, 0.75, 0.875, 1.0)], 0.5 / (0.5 + 1 - 0.5)),  # half a cell: one cell is taken
    ],
)
def test_iou_at_area(boxes: list[tuple[float, ...]], iou: float) -> None:
    assert iou_at_area(HEAT, boxes) == pytest.approx(iou, abs=1e-12)


@pytest.mark.parametrize(
    ("level", "box"),
    [
        (5, (0.75, 0.75, 1.0, 1.0)),  # the corner is hot too, but not joined to the peak
        (-1, (0.0, 0.0, 1.0, 1.0)),
        (10, (0.75, 0.75, 1.0, 1.0)),
        (10.5, None),
    ],
)
def test_box_from_map(level: float, box: tuple[float, ...] | None) -> None:
    assert box_from_map(HEAT, level) == box


def test_box_from_map_follows_a_bend_but_not_a_diagonal() -> None:
    bend = [[5, 5, 5, 0], [0, 0, 5, 0], [0, 9, 5, 0], [5, 0, 0, 0]]
    assert box_from_map(bend, 5) == (0.0, 0.0, 0.75, 0.75)


def test_box_coverage_shares_cells() -> None:
    covered = box_coverage((2, 2), [(0.25, 0.0, 1.0, 0.75)])
    np.testing.assert_allclose(covered, [[0.5, 1.0], [0.25, 0.5]])
    assert box_coverage((5, 7), [(0.1, 0.2, 0.6, 0.9)]).sum() == pytest.approx(0.5 * 0.7 * 35)


@pytest.mark.parametrize(
    ("heat", "boxes"),
    [
        ([[1.0]], np.zeros((0, 4))),
        ([[1.0]], [(0.5, 0.5, 0.5, 0.9)]),
        ([[1.0]], [(0.0, 0.0, 1.0)]),
        ([[np.nan]], [CORNER]),
        (np.zeros((0, 4)), [CORNER]),
        ([1.0, 2.0], [CORNER]),
    ],
)
def test_invalid_maps_and_boxes_are_rejected(heat: object, boxes: object) -> None:
    for measure in (pointing_hit, energy_in_box, iou_at_area):
        with pytest.raises(DataError):
            measure(heat, boxes)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("boxes", "distance"),
    [
        ([(0.5, 0.0, 1.0, 1.0)], 0.0),
        ([(0.8, 0.0, 1.0, 1.0)], 2 / 8),  # the peak's centre is at x = 4.4 of 8, y = 1.5 of 4
        ([(0.8, 0.75, 1.0, 1.0)], (2**2 + 1.5**2) ** 0.5 / 8),
        ([(0.8, 0.75, 1.0, 1.0), (0.0, 0.5, 0.1, 1.0)], (2**2 + 1.5**2) ** 0.5 / 8),
        ([(0.0, 0.5, 1.0, 1.0)], 0.5 / 8),
    ],
)
def test_distance_counts_in_longer_sides(boxes: list[tuple[float, ...]], distance: float) -> None:
    heat = np.zeros((4, 8))
    heat[1, 4] = 1
    # Half a cell, so that no box's edge runs through the centre: x from 4.5 to 4.4.
    moved = [(x0 + 0.1 / 8, y0, x1 + 0.1 / 8, y1) for x0, y0, x1, y1 in boxes]
    assert pointing_distance(heat, moved) == pytest.approx(distance, abs=1e-9)


def test_the_tolerance_is_a_radius_and_its_edge_does_not_count() -> None:
    heat = np.zeros((256, 256))
    heat[100, 50] = 1
    below = [(50 / 256, 115 / 256, 51 / 256, 120 / 256)]  # 14.5 pixels below the peak's centre
    assert not pointing_hit(heat, below)
    assert pointing_hit(heat, below, TOLERANCE)
    assert not pointing_hit(heat, below, 14.5 / 256)
    aside = [(62 / 256, 112 / 256, 70 / 256, 120 / 256)]  # 11.5 in both ways: 16.3 away
    assert not pointing_hit(heat, aside, TOLERANCE)


def test_energy_in_a_region_counts_shares_of_cells() -> None:
    region = np.zeros((4, 4))
    region[0, 0], region[3, 3], region[2, 2] = 1, 0.5, 1  # the last holds negative evidence
    assert energy_in_region(HEAT, region) == pytest.approx((9 + 5) / 40)
    assert energy_in_region(HEAT, np.ones((4, 4), bool)) == 1
    assert energy_in_region(np.full((2, 2), -1.0), np.ones((2, 2))) == 0
    with pytest.raises(DataError, match="region"):
        energy_in_region(HEAT, np.ones((2, 2)))


@pytest.mark.parametrize(
    ("boxes", "value"),
    [
        ([CORNER], 1.0),
        ([(0.25, 0.0, 0.75, 0.5)], 1 / 3),
        ([FAR], 0.0),
        ([FAR, (0.0, 0.0, 0.5, 0.25)], 0.5),
    ],
)
def test_box_iou_is_that_of_the_best_box(boxes: list[tuple[float, ...]], value: float) -> None:
    assert box_iou(CORNER, boxes) == pytest.approx(value)
    assert box_iou(None, boxes) == 0


def test_the_main_region_follows_a_winding_path_and_no_diagonal() -> None:
    path = np.array(
        [
            [1, 1, 1, 1, 1],
            [0, 0, 0, 0, 1],
            [1, 1, 1, 0, 1],
            [1, 0, 9, 0, 1],
            [1, 1, 1, 1, 1],
        ]
    )
    assert box_from_map(path, 1) == (0.0, 0.0, 1.0, 1.0)
    path[4, 3] = 0  # cuts the way out
    assert box_from_map(path, 1) == (0.0, 0.4, 0.6, 1.0)
    assert box_from_map(np.array([[1, 0], [0, 9]]), 1) == (0.5, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("other", "value"),
    [
        ([[10, 20], [30, 40]], 1.0),
        ([[4, 3], [2, 1]], -1.0),
        ([[1, 1], [2, 2]], 2 / 5**0.5),  # ranks 1.5 1.5 3.5 3.5: covariance 4, variances 5 and 4
        ([[7, 7], [7, 7]], 0.0),
    ],
)
def test_rank_correlation(other: list[list[int]], value: float) -> None:
    assert rank_correlation([[1, 2], [3, 4]], other) == pytest.approx(value)


def test_maps_of_two_shapes_have_no_rank_correlation() -> None:
    with pytest.raises(DataError, match="compared"):
        rank_correlation(np.ones((2, 2)), np.ones((2, 3)))
