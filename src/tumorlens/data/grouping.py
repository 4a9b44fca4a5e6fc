"""Grouping: records that must stay in one part of every split."""

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
from tumorlens.imaging.fingerprint import Fingerprint, connected_groups


def group_records(records: Sequence[Record], cache: FingerprintCache | None = None) -> list[Record]:
    """Return the records in the same order, each with its group and its file's SHA-256.

    A scan of a public source also gets its view, unless its manifest states it (see `views`).

    Grouped, across sources and transitively: identical files; near-duplicates, proposed by the hash
    of the head's box or of the whole image (`propose_pairs`) and confirmed on pixels
    (`confirmed_pairs`); slices of one patient of one source; images of one person; records with
    the same group in their manifest; and runs of neighbouring numbers in sources numbered patient
    by patient (`SourceInfo.patient_runs`). `splits.GROUPING_VERSION` is the version of this rule.

    Args:
        records: all records of a split, from any number of sources.
        cache: of fingerprints; by default the user's cache.

    Raises:
        InputError: a file cannot be read.
        ManifestError: duplicate keys, or a file's SHA-256 differs from the manifest's.
    """
    check_unique(records)
    prints = fingerprint_records(records, cache)
    digests = _digests(records, prints)
    proposed = _proposed(prints)
    links = [
        *_same_patient_or_group(records),
        *_same_file(digests),
        *neighbouring_numbers(records, prints),
    ]
    links += confirmed_pairs(records, proposed, connected_groups(len(records), links))
    groups = connected_groups(len(records), links)
    return [
        replace(record, group=int(group), sha256=digest, view=record.view or known_view(digest))
        for record, group, digest in zip(records, groups, digests, strict=True)
    ]


def _proposed(prints: Sequence[Fingerprint | None]) -> list[Proposal]:
    available = [(i, each) for i, each in enumerate(prints) if each is not None]
    if not available:
        return []
    heads = np.stack([each.bits for _, each in available])
    wholes = np.stack([each.whole_bits for _, each in available])
    return [
        pair._replace(first=available[pair.first][0], second=available[pair.second][0])
        for pair in propose_pairs(heads, wholes)
    ]


def _same_file(digests: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Link the copies of a file, and the slices of a volume's file."""
    first: dict[str, int] = {}
    for index, digest in enumerate(digests):
        yield index, first.setdefault(digest, index)


def _same_patient_or_group(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str, str], int] = {}
    for index, record in enumerate(records):
        for source, kind, name in (
            (record.source, "patient", record.patient),
            (record.source, "group", record.group),
            ("", "person", record.person),
        ):
            if name is not None:
                yield index, first.setdefault((source, kind, str(name)), index)


def _digests(records: Sequence[Record], prints: Sequence[Fingerprint | None]) -> list[str]:
    """Return the SHA-256 of each record's file, compared with the manifest's if it states one."""
    of_volume: dict[Path, str] = {}
    digests = []
    for record, print_ in zip(records, prints, strict=True):
        if print_ is not None:
            digest = print_.sha256
        else:
            if record.file not in of_volume:
                of_volume[record.file] = hashlib.sha256(read_bytes(record.file)).hexdigest()
            digest = of_volume[record.file]
        if record.sha256 not in (None, digest):
            raise ManifestError(
                f"{record.path}: the file's SHA-256 differs from the manifest's; "
                "download it again, or write a new manifest"
            )
        digests.append(digest)
    return digests
