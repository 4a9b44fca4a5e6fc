"""Scans of public data sets that are not what their folder says, looked up by a file's hash.

Public collections of web pictures hold CT slices among the MRI, and "healthy" folders hold heads
with a plain mass in them. The table beside this module names those that were found by eye in
contact sheets of every group of near-duplicates of navoneel, br35h and sartaj_extra, by the first
16 hex digits of their files' SHA-256; docs/data-audit.md tells how. No radiologist has looked at
them: an entry says "do not learn from this", and never changes a label.
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
from tumorlens.data.splitfile import Split
from tumorlens.data.views import DIGITS

Doubt = Literal["not_mri", "lesion", "place"]
DOUBTS: dict[Doubt, str] = {
    "not_mri": "a CT slice, or no head",
    "lesion": "labelled healthy, and a mass is plain to see",
    "place": "the box or outline lies beside the tumour",
}
"""Every kind of doubt in words."""

_TABLE = "doubts.csv"


def known_doubt(record: Record) -> Doubt | None:
    """Return what is doubtful about a record's file, or None, also where its digest is not known.

    Slices of volumes are never in the table.
    """
    if record.sha256 is None or record.is_slice:
        return None
    return _doubts().get(record.sha256[:DIGITS])


def mislabels(doubt: Doubt | None) -> bool:
    """Tell whether a doubt speaks against a scan's label: no MRI, or a mass called healthy."""
    return doubt in ("not_mri", "lesion")


def without_doubtful(split: Split, records: Sequence[Record]) -> Split:
    """Return the split with doubtful scans taken out of every part but the test.

    The test stays as the collections label it, so that its figures can be compared; evaluation
    measures it without the doubtful ones beside that.

    Args:
        split: Of the records.
        records: With digests.
    """
    doubtful = {record.key for record in records if mislabels(known_doubt(record))}

    def kept(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key for key in keys if key not in doubtful)

    return replace(
        split,
        train=kept(split.train),
        validation=kept(split.validation),
        calibration=kept(split.calibration),
    )


def without_wrong_places(records: Sequence[Record]) -> list[Record]:
    """Return the records, those with a box or outline beside the tumour without annotation."""
    return [
        replace(record, boxes=None, polygons=None) if known_doubt(record) == "place" else record
        for record in records
    ]


def count_doubtful(records: Sequence[Record]) -> Counter[str]:
    """Return how many records of each kind of doubt there are."""
    return Counter(doubt for record in records if (doubt := known_doubt(record)) is not None)


@cache
def _doubts() -> dict[str, Doubt]:
    kinds: dict[str, Doubt] = {kind: kind for kind in DOUBTS}
    with files("tumorlens.data").joinpath(_TABLE).open(encoding="ascii") as table:
        return {row["sha256"]: kinds[row["doubt"]] for row in csv.DictReader(table)}
