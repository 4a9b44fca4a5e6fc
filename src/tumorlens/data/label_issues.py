"""Label issues: mislabelled scans of public data sets, by file hash.

Public collections contain CT slices among the MRI, and heads with a clearly visible mass labelled
healthy. `label_issues.csv` lists those found by visual inspection of every group of near-duplicates
of navoneel, br35h and sartaj_extra, by the first 16 hex digits of the file's SHA-256;
docs/data-audit.md describes the method. No radiologist has reviewed the list: an entry excludes a
scan from training and never changes a label.
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
    "misplaced_annotation": "the box or outline is not on the tumour",
}
"""Every kind of label issue, with its description."""


def label_issue_of(record: Record) -> LabelIssue | None:
    """Return the known label issue of a record's file.

    None without a known issue, for records without digest and for slices of volumes.
    """
    if record.sha256 is None or record.is_slice:
        return None
    return _known_issues().get(record.sha256[:DIGITS])


def disputes_label(issue: LabelIssue | None) -> bool:
    """Return whether an issue puts the scan's label in question (not only its annotation)."""
    return issue in ("not_mri", "visible_lesion")


def exclude_label_issues(split: Split, records: Sequence[Record]) -> Split:
    """Return the split without scans whose label is disputed, except in the test part.

    The test part is unchanged, so that results stay comparable; evaluation also reports every
    metric without these scans.

    Args:
        split: Of the records.
        records: With digests.
    """
    disputed = {record.key for record in records if disputes_label(label_issue_of(record))}
    parts = {
        part: tuple(key for key in keys if key not in disputed)
        for part, keys in split.parts().items()
        if part != "test"
    }
    return replace(split, **parts)  # type: ignore[arg-type]


def drop_misplaced_annotations(records: Sequence[Record]) -> list[Record]:
    """Return the records without boxes and outlines known to be misplaced."""
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
