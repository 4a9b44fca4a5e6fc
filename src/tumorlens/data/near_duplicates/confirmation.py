"""Confirmation on pixels: which of the pairs proposed by their hashes show the same slice.

No pair is bound by its hashes alone: featureless slices of different persons, as near the vertex,
may have equal ones. Within a source numbered patient by patient (`SourceInfo.patient_runs`) slices
of different patients may be as similar as two versions of one. There a pair further apart than
`is_close` needs a parallel one, n with m and n + 1 with m + 1, as in two scans of one patient.
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
from tumorlens.data.near_duplicates.search import (
    HEAD_PROPOSAL_DISTANCE,
    WHOLE_PROPOSAL_DISTANCE,
    Proposal,
)
from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import DEFAULT_MAX_DISTANCE, WHOLE_MAX_DISTANCE, Components
from tumorlens.imaging.thumbnails import thumbnails

Pair = tuple[int, int]

_MAX_STEP = 2  # largest difference of the numbers of two parallel pairs
_MAX_STEP_DIFFERENCE = 1  # between the two sides, which may be spaced differently
_CACHED_SAMPLES = 4096


def is_close(pair: Proposal) -> bool:
    """Return whether the hashes are as close as those of two versions of one image."""
    return pair.head <= DEFAULT_MAX_DISTANCE or pair.whole <= WHOLE_MAX_DISTANCE


def confirm(contrast: ContrastMatcher, pair: Proposal, one: Record, other: Record) -> float | None:
    """Return the agreement of a proposed pair, None if it does not show the same slice.

    Whole images are compared if their hashes are near, and with central parts if they are close.

    Args:
        contrast: compares the images by the indices in ``pair``.
        pair: the pair and its distances.
        one: the record of ``pair.first``.
        other: the record of ``pair.second``; of two persons (`are_two_persons`) more agreement is
            asked for.
    """
    return contrast.agreement(
        pair.first,
        pair.second,
        fit=pair.head <= HEAD_PROPOSAL_DISTANCE or pair.whole <= WHOLE_MAX_DISTANCE,
        whole=pair.whole <= WHOLE_PROPOSAL_DISTANCE,
        zooms=pair.distance <= WHOLE_MAX_DISTANCE,
        persons=are_two_persons(one, other),
    )


def are_two_persons(one: Record, other: Record) -> bool:
    """Return whether two records are said to show two persons.

    So by their ``person``, by their ``patient`` within a source, or since only one of two sources
    states its persons. Slices of two persons in a common space come close by hash.
    """
    patients = {one.patient, other.patient}
    if one.source == other.source and None not in patients and len(patients) == 2:
        return True
    persons = {one.person, other.person}
    return len(persons) == 2 and (None not in persons or one.source != other.source)


def confirmed_pairs(
    records: Sequence[Record],
    proposed: Sequence[Proposal],
    groups: NDArray[np.int64],
) -> list[Pair]:
    """Return confirmed pairs that join the groups into those of near-duplicates.

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
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    components = Components(first[group].tolist())
    confirmed: list[Pair] = []
    for pair in filter(is_close, proposed):
        i, j = pair.first, pair.second
        if components.root(i) == components.root(j):
            continue
        if confirm(contrast, pair, records[i], records[j]) is not None:
            components.join(i, j)
            confirmed.append((i, j))
    distant = [pair for pair in proposed if not is_close(pair)]
    return confirmed + _confirmed_distant(records, distant, components, contrast)


def _confirmed_distant(
    records: Sequence[Record],
    proposed: Sequence[Proposal],
    components: Components,
    contrast: ContrastMatcher,
) -> list[Pair]:
    groups = components.labels()
    confirmed: list[Pair] = []
    numbered: dict[Pair, list[Pair]] = defaultdict(list)
    for pair in proposed:
        i, j = pair.first, pair.second
        if components.root(i) == components.root(j):
            continue
        if confirm(contrast, pair, records[i], records[j]) is None:
            continue
        if _in_one_numbered_source(records[i], records[j]):
            numbered[int(min(groups[i], groups[j])), int(max(groups[i], groups[j]))].append((i, j))
        else:
            confirmed.append((i, j))
            components.join(i, j)
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
