"""Doubtful scans: a table of hashes, left out of learning and left in the test."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.drawn_data import drawn_records
from tumorlens.data.doubts import (
    count_doubtful,
    known_doubt,
    without_doubtful,
    without_wrong_places,
)
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.data.splitfile import make_split
from tumorlens.data.views import DIGITS

LINES = files("tumorlens.data").joinpath("doubts.csv").read_text("ascii").splitlines()


def digest_of(doubt: str) -> str:
    return next(line[:DIGITS] for line in LINES if line.endswith(f",{doubt}")) + 48 * "0"


def records() -> list[Record]:
    """Four scans: fine, no MRI, a mass called healthy, a misplaced box."""
    plain = [replace(r, group=k, sha256=f"{k:064x}") for k, r in enumerate(drawn_records([1] * 4))]
    kinds = (None, "not_mri", "lesion", "place")
    return [
        replace(record, sha256=digest_of(kind), boxes=((0.1, 0.1, 0.2, 0.2),)) if kind else record
        for record, kind in zip(plain, kinds, strict=True)
    ]


def test_the_table_holds_sorted_hashes_and_kinds_and_nothing_else() -> None:
    assert LINES[0] == "sha256,doubt"
    row = re.compile(rf"[0-9a-f]{{{DIGITS}}},(not_mri|lesion|place)")
    assert [line for line in LINES[1:] if not row.fullmatch(line)] == []
    hashes = [line[:DIGITS] for line in LINES[1:]]
    assert hashes == sorted(set(hashes))


def test_a_file_of_the_table_is_doubtful_and_any_other_is_not() -> None:
    assert [known_doubt(r) for r in records()] == [None, "not_mri", "lesion", "place"]
    assert known_doubt(replace(records()[1], sha256=None)) is None
    cut = replace(records()[1], path=Path("v.nii.gz#axial:3"))
    assert known_doubt(cut) is None
    assert count_doubtful(records()) == {"not_mri": 1, "lesion": 1, "place": 1}


@pytest.mark.parametrize("part", ["train", "validation", "calibration", "test"])
def test_only_the_test_part_keeps_them(part: str) -> None:
    held = records()
    split = make_split("grouped", 0, {part: [r.key for r in held]}, held)
    kept = without_doubtful(split, held)
    assert len(kept.parts()[part]) == (4 if part == "test" else 2)
    assert set(kept.parts()[part]) <= {r.key for r in held}
    assert kept.data_sha256 == split.data_sha256


def test_a_misplaced_box_is_no_annotation() -> None:
    fine, ct, mass, misplaced = without_wrong_places(records())
    assert misplaced.boxes is None
    assert misplaced.polygons is None
    assert (fine, ct, mass) == tuple(records()[:3])


@pytest.mark.real
def test_every_entry_is_a_shared_image(data_root: Path) -> None:
    shared = [r for r in group_records(load_source(data_root)) if known_doubt(r)]
    assert {(r.sha256 or "")[:DIGITS] for r in shared} == {line[:DIGITS] for line in LINES[1:]}
    found = Counter((r.source, known_doubt(r), r.label) for r in shared)
    assert {label for (_, doubt, label) in found if doubt == "lesion"} == {0}
    assert {label for (_, doubt, label) in found if doubt == "place"} == {1}
    assert sum(n for (_, doubt, _), n in found.items() if doubt == "not_mri") == 31
