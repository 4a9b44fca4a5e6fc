"""Pairs that hashes alone may not bind: proposed from further away, confirmed on pixels.

A copy that was sharpened hard or cut differs in more bits than `group_records` lets pass, where
strangers begin. Here pairs up to 48 bits apart (heads) or 32 (whole pictures) are read and compared
by their local contrast, as the audit does it. In a source of running numbers
(`SourceInfo.patient_runs`) one such pair does not bind, since two persons' slices may be as alike
as that: there two pairs must agree in step, n with m and n + 1 with m + 1, as the slices of two
scans of one person do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.copies import HEAD_MAX_DISTANCE, MIDDLE_MAX_DISTANCE, ContrastOf, Samples
from tumorlens.data.fingerprints import read_bytes
from tumorlens.data.looks import rounded
from tumorlens.data.manifest import Record
from tumorlens.data.neighbours import find_pairs
from tumorlens.data.runs import running_number
from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import BITS, FRAME_MAX_DISTANCE, Fingerprint
from tumorlens.imaging.headbox import samples

Pair = tuple[int, int]

_LONGEST_STEP = 2  # numbers that two pairs in step may lie apart
_UNEVEN = 1  # and by how much more on one side than on the other: slices are not cut alike
_READ_AT_ONCE = 4096


def confirmed_pairs(
    records: Sequence[Record],
    prints: Sequence[Fingerprint | None],
    groups: NDArray[np.int64],
) -> list[Pair]:
    """Return pairs of different groups that show one slice, or slices of one person.

    Args:
        records: `N` of them; slices of volumes are passed over.
        prints: of the records; None for slices of volumes.
        groups: ``int64 [N]``, what is bound already and need not be compared.

    Raises:
        InputError: A file cannot be read.
    """

    @lru_cache(maxsize=_READ_AT_ONCE)
    def sample(index: int) -> Samples:
        path = records[index].path
        head, whole = samples(decode(read_bytes(path), name=str(path)).pixels, zooms=(1.0,))
        return rounded(head), rounded(whole[0])

    contrast = ContrastOf(sample)
    bound: list[Pair] = []
    in_runs: dict[Pair, list[Pair]] = defaultdict(list)
    joined: set[Pair] = set()
    for (i, j), distance in sorted(_proposed(prints, groups).items()):
        between = (int(min(groups[i], groups[j])), int(max(groups[i], groups[j])))
        if between in joined:
            continue
        if contrast.agreement(i, j, whole=distance <= FRAME_MAX_DISTANCE) is None:
            continue
        if _of_one_numbered_source(records[i], records[j]):
            in_runs[between].append((i, j))
        else:
            bound.append((i, j))
            joined.add(between)
    for pairs in in_runs.values():
        if _any_in_step(records, groups, pairs):
            bound.append(pairs[0])
    return bound


def _proposed(prints: Sequence[Fingerprint | None], groups: NDArray[np.int64]) -> dict[Pair, int]:
    """Pairs across groups that one of the hashes calls close, with the smaller distance."""
    at = np.array([i for i, found in enumerate(prints) if found is not None], np.int64)
    known = [found for found in prints if found is not None]
    if len(known) < 2:
        return {}
    heads = np.stack([found.bits for found in known])
    frames = np.stack([f.bits if f.frame_bits is None else f.frame_bits for f in known])
    nearest: dict[Pair, int] = {}
    for bits, limit in ((heads, HEAD_MAX_DISTANCE), (frames, MIDDLE_MAX_DISTANCE)):
        pairs = find_pairs(bits, limit)
        one, other = at[pairs[:, 0]], at[pairs[:, 1]]
        across = groups[one] != groups[other]
        for i, j, distance in zip(one[across], other[across], pairs[across, 2], strict=True):
            pair = (int(i), int(j))
            nearest[pair] = min(int(distance), nearest.get(pair, BITS))
    return nearest


def _of_one_numbered_source(one: Record, other: Record) -> bool:
    numbers = running_number(one), running_number(other)
    return one.source == other.source and None not in numbers


def _any_in_step(
    records: Sequence[Record], groups: NDArray[np.int64], pairs: Sequence[Pair]
) -> bool:
    """Whether two of the pairs between two groups lie in step."""
    numbers = []
    for i, j in pairs:
        first, second = (i, j) if groups[i] < groups[j] else (j, i)
        numbers.append((running_number(records[first]), running_number(records[second])))
    for (a, b), (c, d) in combinations(numbers, 2):
        if a is None or b is None or c is None or d is None:
            continue
        one, other = c - a, d - b
        same_way = one * other > 0
        if same_way and max(abs(one), abs(other)) <= _LONGEST_STEP and abs(one - other) <= _UNEVEN:
            return True
    return False
