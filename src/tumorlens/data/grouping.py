"""Groups: records that must stay on one side of every split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tumorlens.data.manifest import Record, check_unique
from tumorlens.data.near_duplicates.confirmation import confirmed_pairs
from tumorlens.data.near_duplicates.fingerprint_cache import (
    FingerprintCache,
    fingerprint_records,
    read_bytes,
)
from tumorlens.data.near_duplicates.numbering import neighbouring_numbers
from tumorlens.data.near_duplicates.search import Proposal, propose_pairs
from tumorlens.data.views import known_view
from tumorlens.errors import ManifestError
from tumorlens.imaging.fingerprint import (
    DEFAULT_MAX_DISTANCE,
    WHOLE_MAX_DISTANCE,
    Fingerprint,
    connected_groups,
)


def group_records(records: Sequence[Record], cache: FingerprintCache | None = None) -> list[Record]:
    """Return the records in the same order, each with its group and its file's SHA-256.

    A scan of a public source gets its view too, where its manifest does not state it (see `views`).

    Grouped together, across sources and transitively: near-duplicates by hash (heads within
    `DEFAULT_MAX_DISTANCE` of 256 bits in the best of eight poses, or whole images within
    `WHOLE_MAX_DISTANCE`), more distant pairs that are confirmed on pixels (see
    `confirmed_pairs`), slices of one patient of one source, records that already share a group in
    their manifest, and in a source whose numbers run from patient to patient
    (`SourceInfo.patient_runs`) runs of neighbouring numbers. `splits.GROUPING_VERSION` counts
    changes of this rule.

    Args:
        records: of any number of sources; all that a split is to hold.
        cache: of fingerprints; the default cache when None.

    Raises:
        InputError: a file cannot be read.
        ManifestError: two records have one key, or a file is not the one its manifest describes.
    """
    check_unique(records)
    prints = fingerprint_records(records, cache)
    digests = _digests(records, prints)
    proposed = _proposed(prints)
    links = [
        *((pair.first, pair.second) for pair in proposed if _is_near_duplicate(pair)),
        *_same_patient_or_group(records),
        *neighbouring_numbers(records, prints),
    ]
    links += confirmed_pairs(records, proposed, connected_groups(len(records), links))
    groups = connected_groups(len(records), links)
    return [
        replace(record, group=int(group), sha256=digest, view=record.view or known_view(digest))
        for record, group, digest in zip(records, groups, digests, strict=True)
    ]


def _proposed(prints: Sequence[Fingerprint | None]) -> list[Proposal]:
    at = [i for i, found in enumerate(prints) if found is not None]
    known = [found for found in prints if found is not None]
    if not known:
        return []
    heads = np.stack([found.bits for found in known])
    wholes = np.stack([found.whole_bits for found in known])
    return [
        pair._replace(first=at[pair.first], second=at[pair.second])
        for pair in propose_pairs(heads, wholes)
    ]


def _is_near_duplicate(pair: Proposal) -> bool:
    return pair.head <= DEFAULT_MAX_DISTANCE or pair.whole <= WHOLE_MAX_DISTANCE


def _same_patient_or_group(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str, str], int] = {}
    for index, record in enumerate(records):
        for kind, name in (("patient", record.patient), ("group", record.group)):
            if name is not None:
                yield index, first.setdefault((record.source, kind, str(name)), index)


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
