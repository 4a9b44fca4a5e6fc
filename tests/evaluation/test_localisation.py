"""Maps against boxes: small maps whose answers can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tumorlens.errors import DataError
from tumorlens.evaluation.localisation import (
    box_coverage,
    box_from_map,
    energy_in_box,
    iou_at_area,
    pointing_hit,
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
def test_what_cannot_be_measured_is_an_error(heat: object, boxes: object) -> None:
    for measure in (pointing_hit, energy_in_box, iou_at_area):
        with pytest.raises(DataError):
            measure(heat, boxes)  # type: ignore[operator]
