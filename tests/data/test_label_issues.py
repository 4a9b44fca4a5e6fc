"""Label issues: a table of hashes, excluded from training and kept in the test part."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.drawn_data import drawn_records
from tumorlens.data.label_issues import (
    LABEL_ISSUES,
    count_label_issues,
    drop_misplaced_annotations,
    exclude_label_issues,
    label_issue_of,
)
from tumorlens.data.manifest import Record
from tumorlens.data.sources import load_source
from tumorlens.data.splits import make_split
from tumorlens.data.views import DIGITS

LINES = files("tumorlens.data").joinpath("label_issues.csv").read_text("ascii").splitlines()


def digest_of(issue: str) -> str:
    return next(line[:DIGITS] for line in LINES if line.endswith(f",{issue}")) + 48 * "0"


def records() -> list[Record]:
    """Four scans: fine, no MRI, a mass called healthy, a misplaced box."""
    plain = [replace(r, group=k, sha256=f"{k:064x}") for k, r in enumerate(drawn_records([1] * 4))]
    kinds = (None, *LABEL_ISSUES)
    return [
        replace(record, sha256=digest_of(kind), boxes=((0.1, 0.1, 0.2, 0.2),)) if kind else record
        for record, kind in zip(plain, kinds, strict=True)
    ]


def test_the_table_has_sorted_hashes_and_issues_only() -> None:
    assert LINES[0] == "sha256,issue"
    row = re.compile(rf"[0-9a-f]{{{DIGITS}}},(not_mri|visible_lesion|misplaced_annotation)")
    assert [line for line in LINES[1:] if not row.fullmatch(line)] == []
    hashes = [line[:DIGITS] for line in LINES[1:]]
    assert hashes == sorted(set(hashes))


def test_only_files_in_the_table_have_a_label_issue() -> None:
    assert [label_issue_of(r) for r in records()] == [
        None,
        "not_mri",
        "visible_lesion",
        "misplaced_annotation",
    ]
    assert label_issue_of(replace(records()[1], sha256=None)) is None
    cut = replace(records()[1], path=Path("v.nii.gz#axial:3"))
    assert label_issue_of(cut) is None
    assert count_label_issues(records()) == {
        "not_mri": 1,
        "visible_lesion": 1,
        "misplaced_annotation": 1,
    }


@pytest.mark.parametrize("part", ["train", "validation", "calibration", "test"])
def test_label_issues_are_excluded_except_in_the_test_part(part: str) -> None:
    held = records()
    split = make_split("grouped", 0, {part: [r.key for r in held]}, held)
    kept = exclude_label_issues(split, held)
    assert len(kept.parts()[part]) == (4 if part == "test" else 2)
    assert set(kept.parts()[part]) <= {r.key for r in held}
    assert kept.data_sha256 == split.data_sha256


def test_misplaced_boxes_are_dropped() -> None:
    fine, ct, mass, misplaced = drop_misplaced_annotations(records())
    assert misplaced.boxes is None
    assert misplaced.polygons is None
    assert (fine, ct, mass) == tuple(records()[:3])


@pytest.mark.real
def test_every_entry_is_a_real_image(data_root: Path) -> None:
    hashed = (
        replace(record, sha256=hashlib.sha256(record.path.read_bytes()).hexdigest())
        for record in load_source(data_root)
    )
    shared = [record for record in hashed if label_issue_of(record)]
    assert {(r.sha256 or "")[:DIGITS] for r in shared} == {line[:DIGITS] for line in LINES[1:]}
    found = Counter((r.source, label_issue_of(r), r.label) for r in shared)
    assert {label for (_, issue, label) in found if issue == "visible_lesion"} == {0}
    assert {label for (_, issue, label) in found if issue == "misplaced_annotation"} == {1}
    assert sum(n for (_, issue, _), n in found.items() if issue == "not_mri") == 31
