"""Distant near-duplicates: pairs proposed by hash distance, confirmed on pixels.

A strongly sharpened or cropped version differs in more bits than `group_records` accepts by hash
alone. Pairs up to 48 bits apart (heads) or 32 (whole images) are therefore compared by local
contrast, as in the audit. Within a source numbered patient by patient (`SourceInfo.patient_runs`)
slices of different patients may be as similar; there two parallel pairs are required, n with m
and n + 1 with m + 1, as in two scans of one patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates.contrast import ContrastMatcher, Samples, to_uint8
from tumorlens.data.near_duplicates.fingerprint_cache import read_bytes
from tumorlens.data.near_duplicates.numbering import running_number
from tumorlens.data.near_duplicates.search import Proposal
from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import WHOLE_MAX_DISTANCE
from tumorlens.imaging.thumbnails import thumbnails

Pair = tuple[int, int]

_MAX_STEP = 2  # largest difference of the numbers of two parallel pairs
_MAX_STEP_DIFFERENCE = 1  # between the two sides, which may be spaced differently
_CACHED_SAMPLES = 4096


def confirmed_pairs(
    records: Sequence[Record],
    proposed: Sequence[Proposal],
    groups: NDArray[np.int64],
) -> list[Pair]:
    """Return the confirmed pairs between different groups.

    Args:
        records: `N` records.
        proposed: pairs to compare, sorted.
        groups: ``int64 [N]``; pairs within one group are not compared.

    Raises:
        InputError: A file cannot be read.
    """

    @lru_cache(maxsize=_CACHED_SAMPLES)
    def sample(index: int) -> Samples:
        path = records[index].path
        head, whole = thumbnails(decode(read_bytes(path), name=str(path)).pixels, zooms=(1.0,))
        return to_uint8(head), to_uint8(whole[0])

    contrast = ContrastMatcher(sample)
    confirmed: list[Pair] = []
    numbered: dict[Pair, list[Pair]] = defaultdict(list)
    joined: set[Pair] = set()
    for pair in proposed:
        i, j = pair.first, pair.second
        between = (int(min(groups[i], groups[j])), int(max(groups[i], groups[j])))
        if between[0] == between[1] or between in joined:
            continue
        if contrast.agreement(i, j, whole=pair.distance <= WHOLE_MAX_DISTANCE) is None:
            continue
        if _in_one_numbered_source(records[i], records[j]):
            numbered[between].append((i, j))
        else:
            confirmed.append((i, j))
            joined.add(between)
    for pairs in numbered.values():
        if _any_parallel(records, groups, pairs):
            confirmed.append(pairs[0])
    return confirmed


def _in_one_numbered_source(one: Record, other: Record) -> bool:
    numbers = running_number(one), running_number(other)
    return one.source == other.source and None not in numbers


def _any_parallel(
    records: Sequence[Record], groups: NDArray[np.int64], pairs: Sequence[Pair]
) -> bool:
    """Return whether two of the pairs between two groups are parallel."""
    numbers = []
    for i, j in pairs:
        first, second = (i, j) if groups[i] < groups[j] else (j, i)
        numbers.append((running_number(records[first]), running_number(records[second])))
    for (a, b), (c, d) in combinations(numbers, 2):
        if a is None or b is None or c is None or d is None:
            continue
        one, other = c - a, d - b
        same_way = one * other > 0
        if (
            same_way
            and max(abs(one), abs(other)) <= _MAX_STEP
            and abs(one - other) <= _MAX_STEP_DIFFERENCE
        ):
            return True
    return False
