"""Groups: records that must stay on one side of every split."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from tumorlens.data.fingerprints import FingerprintCache, fingerprint_records, read_bytes
from tumorlens.data.manifest import Record, check_unique
from tumorlens.data.neighbours import find_pairs
from tumorlens.data.sources import source_info
from tumorlens.data.views import known_view
from tumorlens.errors import ManifestError
from tumorlens.imaging.fingerprint import (
    DEFAULT_MAX_DISTANCE,
    FRAME_MAX_DISTANCE,
    Fingerprint,
    connected_groups,
    distance,
)

# A run of neighbouring numbers is cut where the pictures change most, at these lengths.
_RUN_SHORTEST = 12
_RUN_LONGEST = 36
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def group_records(
    records: Sequence[Record],
    cache: FingerprintCache | None = None,
    *,
    max_distance: int = DEFAULT_MAX_DISTANCE,
) -> list[Record]:
    """Return the records in the same order, each with its group and its file's SHA-256.

    A scan of a public source gets its view too, where its manifest does not state it (see `views`).

    Bound together, across sources and through chains: near-duplicates (heads within
    ``max_distance`` of 256 bits in the best of eight poses, or whole pictures within
    `FRAME_MAX_DISTANCE`), slices of one patient of one source, records that already share a group
    in their manifest, and in a source whose numbers run from person to person
    (`SourceInfo.patient_runs`) runs of neighbouring numbers.

    Args:
        records: of any number of sources; all that a split is to hold.
        cache: fingerprints already made; the default cache when None.
        max_distance: see `tumorlens.imaging.fingerprint.DEFAULT_MAX_DISTANCE`.

    Raises:
        InputError: a file cannot be read.
        ManifestError: one key stands twice, or a file is not the one its manifest describes.
    """
    check_unique(records)
    prints = fingerprint_records(records, cache)
    digests = _digests(records, prints)
    groups = connected_groups(
        len(records),
        [
            *_near_duplicates(prints, max_distance),
            *_same_person_or_group(records),
            *_neighbouring_numbers(records, prints),
        ],
    )
    return [
        replace(record, group=int(group), sha256=digest, view=record.view or known_view(digest))
        for record, group, digest in zip(records, groups, digests, strict=True)
    ]


def _near_duplicates(
    prints: Sequence[Fingerprint | None], max_distance: int
) -> Iterator[tuple[int, int]]:
    at = [i for i, found in enumerate(prints) if found is not None]
    known = [found for found in prints if found is not None]
    if not known:
        return
    heads = np.stack([found.bits for found in known])
    frames = np.stack([f.bits if f.frame_bits is None else f.frame_bits for f in known])
    closest = min(max_distance, FRAME_MAX_DISTANCE)
    for pairs in (find_pairs(heads, max_distance), find_pairs(frames, closest)):
        for i, j, _ in pairs.tolist():
            yield at[i], at[j]


def _same_person_or_group(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str, str], int] = {}
    for index, record in enumerate(records):
        bonds = (("patient", record.patient), ("group", record.group))
        for kind, name in bonds:
            if name is not None:
                yield index, first.setdefault((record.source, kind, str(name)), index)


def _neighbouring_numbers(
    records: Sequence[Record], prints: Sequence[Fingerprint | None]
) -> Iterator[tuple[int, int]]:
    """Bind runs of 12 to 36 neighbouring numbers, cut where the pictures change most.

    The person is not named in these sources, but neighbours are mostly the same person: a cut
    now and then splits one person's slices, where binding nothing would split nearly all.
    """
    numbered: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, (record, found) in enumerate(zip(records, prints, strict=True)):
        number = _LAST_NUMBER.search(record.path.stem)
        if source_info(record.source).patient_runs and number and found is not None:
            numbered[record.source].append((int(number.group(1)), index))
    for pairs in numbered.values():
        order = [index for _, index in sorted(pairs)]
        known = [found for i in order if (found := prints[i]) is not None]
        for start, end in pairwise(run_limits(known)):
            for index in order[start + 1 : end]:
                yield order[start], index


def run_limits(prints: Sequence[Fingerprint]) -> list[int]:
    """Cut a sequence into runs of 12 to 36; return where runs start, and the sequence's end."""
    limits = [0]
    while len(prints) - limits[-1] > _RUN_LONGEST:
        start = limits[-1]
        joints = range(start + _RUN_SHORTEST, start + _RUN_LONGEST + 1)
        limits.append(max(joints, key=lambda at: _step(prints, at)))
    return [*limits, len(prints)] if prints else [0]


def _step(prints: Sequence[Fingerprint], at: int) -> int:
    """How much the picture changes at a joint: the nearest of two before to two after it."""
    before, after = prints[max(0, at - 2) : at], prints[at : at + 2]
    return int(np.min([distance(a, b) for a in before for b in after]))


def _digests(records: Sequence[Record], prints: Sequence[Fingerprint | None]) -> list[str]:
    """SHA-256 of each record's file; a digest that the manifest states must agree."""
    of_volume: dict[Path, str] = {}
    digests = []
    for record, found in zip(records, prints, strict=True):
        if found is not None:
            digest = found.sha256
        else:
            if record.file not in of_volume:
                of_volume[record.file] = hashlib.sha256(read_bytes(record.file)).hexdigest()
            digest = of_volume[record.file]
        if record.sha256 not in (None, digest):
            raise ManifestError(
                f"{record.path}: is not the file its manifest describes (SHA-256 differs); "
                "fetch it again, or write a new manifest"
            )
        digests.append(digest)
    return digests
