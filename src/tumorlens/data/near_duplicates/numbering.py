"""Sources whose files are numbered patient by patient without naming them: runs of numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from tumorlens.data.catalogue import source_info
from tumorlens.data.manifest import Record
from tumorlens.imaging.fingerprint import Fingerprint, distance

# Lengths of a run of neighbouring numbers; it is cut where the images change most.
_SHORTEST = 12
_LONGEST = 36
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def running_number(record: Record) -> int | None:
    """Return the number in the file's name, where its source numbers patient by patient."""
    if not source_info(record.source).patient_runs:
        return None
    number = _LAST_NUMBER.search(record.path.stem)
    return int(number.group(1)) if number else None


def neighbouring_numbers(
    records: Sequence[Record], prints: Sequence[Fingerprint | None]
) -> Iterator[tuple[int, int]]:
    """Link runs of 12 to 36 neighbouring numbers, cut where the images change most.

    These sources do not name the patient, but neighbours are mostly of one patient: a cut may
    separate one patient's slices, where no links at all would separate nearly all of them.
    """
    numbered: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, (record, found) in enumerate(zip(records, prints, strict=True)):
        number = running_number(record)
        if number is not None and found is not None:
            numbered[record.source].append((number, index))
    for pairs in numbered.values():
        order = [index for _, index in sorted(pairs)]
        known = [found for i in order if (found := prints[i]) is not None]
        for start, end in pairwise(run_limits(known)):
            for index in order[start + 1 : end]:
                yield order[start], index


def run_limits(prints: Sequence[Fingerprint]) -> list[int]:
    """Cut a sequence into runs of 12 to 36; return where runs start, and the sequence's end."""
    limits = [0]
    while len(prints) - limits[-1] > _LONGEST:
        start = limits[-1]
        positions = range(start + _SHORTEST, start + _LONGEST + 1)
        limits.append(max(positions, key=lambda at: _step(prints, at)))
    return [*limits, len(prints)] if prints else [0]


def _step(prints: Sequence[Fingerprint], at: int) -> int:
    """How much the images change at a position: the nearest of two before to two after it."""
    before, after = prints[max(0, at - 2) : at], prints[at : at + 2]
    return int(np.min([distance(a, b) for a in before for b in after]))
