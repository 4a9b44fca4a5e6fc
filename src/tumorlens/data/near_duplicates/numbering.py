"""Runs of neighbouring file numbers in sources numbered patient by patient, without patient ids."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from tumorlens.data.catalogue import source_info
from tumorlens.data.manifest import Record
from tumorlens.imaging.fingerprint import Fingerprint, distance

# Length of a run.
_MIN_RUN = 12
_MAX_RUN = 36
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def running_number(record: Record) -> int | None:
    """Return the number in the file's name; None if the source is not numbered by patient."""
    if not source_info(record.source).patient_runs:
        return None
    number = _LAST_NUMBER.search(record.path.stem)
    return int(number.group(1)) if number else None


def neighbouring_numbers(
    records: Sequence[Record], prints: Sequence[Fingerprint | None]
) -> Iterator[tuple[int, int]]:
    """Link runs of 12 to 36 neighbouring numbers, cut where the images change most.

    Neighbours mostly are slices of one patient. A cut may separate some slices of a patient;
    without runs nearly all of them would be separated.
    """
    numbered: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, (record, print_) in enumerate(zip(records, prints, strict=True)):
        number = running_number(record)
        if number is not None and print_ is not None:
            numbered[record.source].append((number, index))
    for pairs in numbered.values():
        order = [index for _, index in sorted(pairs)]
        ordered = [print_ for i in order if (print_ := prints[i]) is not None]
        for start, end in pairwise(run_limits(ordered)):
            for index in order[start + 1 : end]:
                yield order[start], index


def run_limits(prints: Sequence[Fingerprint]) -> list[int]:
    """Cut a sequence into runs of 12 to 36; return the starts of the runs and the end."""
    limits = [0]
    while len(prints) - limits[-1] > _MAX_RUN:
        start = limits[-1]
        positions = range(start + _MIN_RUN, start + _MAX_RUN + 1)
        limits.append(max(positions, key=lambda at: _step(prints, at)))
    return [*limits, len(prints)] if prints else [0]


def _step(prints: Sequence[Fingerprint], at: int) -> int:
    """Return the smallest distance between the two images before and after a position."""
    before, after = prints[max(0, at - 2) : at], prints[at : at + 2]
    return int(np.min([distance(a, b) for a in before for b in after]))
