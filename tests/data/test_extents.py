"""The tables of slices with enough brain and with a tumour: each row, and how it is read."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import get_args

import pytest

from tumorlens.data.extents import enough_brain, tumour_extent
from tumorlens.data.manifest import Plane, person_of


def rows(name: str) -> list[dict[str, str]]:
    with files("tumorlens.data").joinpath(name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


def limit(cell: str, default: int) -> int:
    return int(cell) if cell else default


def test_every_row_of_the_brain_s_extent_is_in_order() -> None:
    table = rows("brain_extent.csv")
    assert len({(row["file"], row["plane"]) for row in table}) == len(table) > 100
    for row in table:
        assert row["plane"] in get_args(Plane), row
        assert row["file"].endswith(".nii.gz"), row
        first, last = int(row["first"]), int(row["last"])
        assert 0 <= first <= last, row
        assert limit(row["sure_first_outside"], -1) < first, row
        assert limit(row["sure_last_outside"], last + 1) > last, row


def test_every_row_of_the_tumours_extent_is_in_order() -> None:
    table = rows("tumour_extent.csv")
    assert len({(row["file"], row["plane"]) for row in table}) == len(table) > 10
    for row in table:
        assert row["plane"] in get_args(Plane), row
        assert bool(row["tumour_first"]) == bool(row["tumour_last"]), row
        first, last = limit(row["tumour_first"], 10**6), limit(row["tumour_last"], -1)
        if row["tumour_first"]:
            assert 0 <= first <= last, row
        assert limit(row["clear_below"], -1) < first, row
        assert limit(row["clear_above"], 10**6) > last, row


def test_no_table_lists_a_person_who_stands_for_another() -> None:
    table = rows("same_persons.csv")
    assert {row["same_as"] for row in table}.isdisjoint(row["person"] for row in table)
    for row in table:
        assert person_of(row["person"]) == person_of(row["same_as"]) == row["same_as"]


@pytest.mark.parametrize(
    ("index", "enough"),
    [(0, False), (36, False), (37, None), (40, None), (41, True), (131, True), (132, None),
     (138, False), (170, False)],
)  # fmt: skip
def test_a_slice_is_inside_outside_or_unsure(index: int, enough: bool | None) -> None:
    assert enough_brain("aquino_T1.nii.gz", "sagittal", index) is enough
    assert enough_brain("unlisted.nii.gz", "sagittal", index) is None


@pytest.mark.parametrize(
    ("index", "finding"),
    [(0, "clear"), (3, "clear"), (4, None), (6, None), (7, "tumor"), (17, "tumor"), (18, None)],
)
def test_a_slice_shows_the_tumour_is_clear_of_it_or_unsure(index: int, finding: str | None) -> None:
    assert tumour_extent("brainix_FLAIR.nii.gz", "axial", index) == finding
    assert tumour_extent("brainix_FLAIR.nii.gz", "coronal", index) is None
