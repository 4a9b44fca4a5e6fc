"""Label issues: scans of public data sets that are not what their folder says, by file hash.

Public collections of web images hold CT slices among the MRI, and "healthy" folders hold heads
with a clearly visible mass. The table beside this module lists those found by visual inspection
of every group of near-duplicates of navoneel, br35h and sartaj_extra, by the first 16 hex digits
of the file's SHA-256; docs/data-audit.md describes how. No radiologist has reviewed the list: an
entry means "do not learn from this scan", and never changes a label.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Literal

from tumorlens.data.manifest import Record
from tumorlens.data.splits import Split
from tumorlens.data.views import DIGITS

LabelIssue = Literal["not_mri", "visible_lesion", "misplaced_annotation"]
LABEL_ISSUES: dict[LabelIssue, str] = {
    "not_mri": "a CT slice, or not a head",
    "visible_lesion": "labelled healthy, but a mass is clearly visible",
    "misplaced_annotation": "the box or outline lies beside the tumour",
}
"""Every kind of label issue, with its description."""


def label_issue_of(record: Record) -> LabelIssue | None:
    """Return the known label issue of a record's file.

    None where no issue is known, where the record has no digest, and for slices of volumes.
    """
    if record.sha256 is None or record.is_slice:
        return None
    return _known_issues().get(record.sha256[:DIGITS])


def disputes_label(issue: LabelIssue | None) -> bool:
    """Return whether an issue puts the scan's label in question (not only its annotation)."""
    return issue in ("not_mri", "visible_lesion")


def exclude_label_issues(split: Split, records: Sequence[Record]) -> Split:
    """Return the split without scans whose label is disputed, except in the test part.

    The test part stays as the collections label it, so that results stay comparable; evaluation
    reports every metric without these scans as well.

    Args:
        split: Of the records.
        records: With digests.
    """
    disputed = {record.key for record in records if disputes_label(label_issue_of(record))}
    kept = {
        part: tuple(key for key in keys if key not in disputed)
        for part, keys in split.parts().items()
        if part != "test"
    }
    return replace(split, **kept)  # type: ignore[arg-type]


def drop_misplaced_annotations(records: Sequence[Record]) -> list[Record]:
    """Return the records, without the boxes and outlines that are known to be misplaced."""
    return [
        replace(record, boxes=None, polygons=None)
        if label_issue_of(record) == "misplaced_annotation"
        else record
        for record in records
    ]


def count_label_issues(records: Sequence[Record]) -> Counter[str]:
    """Count the records with each kind of label issue."""
    return Counter(issue for record in records if (issue := label_issue_of(record)) is not None)


@cache
def _known_issues() -> dict[str, LabelIssue]:
    kinds: dict[str, LabelIssue] = {kind: kind for kind in LABEL_ISSUES}
    with files("tumorlens.data").joinpath("label_issues.csv").open(encoding="ascii") as table:
        return {row["sha256"]: kinds[row["issue"]] for row in csv.DictReader(table)}
