"""The scans a run reads, and how they are split."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from tumorlens.data.catalogue import source_info
from tumorlens.data.grouping import group_records
from tumorlens.data.heads import head_records
from tumorlens.data.label_issues import (
    count_label_issues,
    drop_misplaced_annotations,
    exclude_label_issues,
)
from tumorlens.data.manifest import MANIFEST_NAME, Record, read_manifest
from tumorlens.data.sources import load_source
from tumorlens.data.splits import (
    RANDOM_LEAKY,
    Split,
    grouped_split,
    random_split,
    read_split,
)
from tumorlens.data.splits import make_split as split_of
from tumorlens.errors import SourceNotFoundError
from tumorlens.modelfile import DataSource
from tumorlens.runs.data_config import DataConfig
from tumorlens.runs.slices import slices_of

PACKAGED_SPLIT = Path(__file__).parents[1] / "weights" / "split.json"
"""The split of the packaged model."""

log = structlog.get_logger(__name__)


def load_records(data: DataConfig) -> list[Record]:
    """Return the grouped, labelled records of all sources and volumes of the ``data`` group.

    Images that are no brain MRI have no label and are in no part of a split; they are kept for the
    out-of-distribution detector.
    """
    records = read_records(data)
    labelled = [record for record in records if record.shows is not None]
    if len(labelled) < len(records):
        log.warning("unlabelled images left out", images=len(records) - len(labelled))
    grouped = group_records(labelled)
    return drop_misplaced_annotations(grouped) if excludes_label_issues(data) else grouped


def excludes_label_issues(data: DataConfig) -> bool:
    """Tell whether scans with a label issue (`tumorlens.data.label_issues`) are excluded."""
    return data.label_issues == "exclude"


def read_records(data: DataConfig) -> list[Record]:
    """Return all records of the ``data`` group, ungrouped, their files unread.

    Raises `SourceNotFoundError` for a source, table or folder that is not there.
    """
    _check_tables(data)
    records = [record for name in data.sources for record in _source(data.root, name)]
    records += [record for table in data.manifests for record in read_manifest(table)]
    for table in data.heads:
        records += head_records(table, every_mm=data.heads_every_mm)
    return [*records, *(record for part in slices_of(data) for record in part)]


def _check_tables(data: DataConfig) -> None:
    absent = [str(table) for table in (*data.manifests, *data.heads) if not table.is_file()]
    if absent:
        raise SourceNotFoundError(
            f"{' and '.join(absent)}: no such table (data.manifests, data.heads); set "
            "TUMORLENS_MORE to the folder that holds images.csv and heads.csv, or train without "
            "them (data=all_sources)"
        )


def _source(root: Path, name: str) -> list[Record]:
    """Read one source: by its folder, its rows in the root's manifest, or a path of its own."""
    manifest = root / MANIFEST_NAME
    if manifest.is_file():
        folder = (root / name).resolve()
        rows = read_manifest(manifest)
        found = [r for r in rows if r.source == name or folder in r.path.resolve().parents]
        if found:
            return found
    return load_source(root / name if (root / name).is_dir() else name)


def make_split(data: DataConfig, records: Sequence[Record]) -> Split:
    """Read the configured split file, or make the configured kind of split.

    With ``data.label_issues=exclude`` scans with a label issue are in its test part alone.
    """
    records = [record for record in records if record.label is not None]
    split = _whole_split(data, records)
    if not excludes_label_issues(data):
        return split
    log.info(
        "scans with label issues excluded from all parts but the test",
        **count_label_issues(records),
    )
    return exclude_label_issues(split, records)


def _whole_split(data: DataConfig, records: Sequence[Record]) -> Split:
    settings = data.split
    if settings.path is not None:
        return _with_validation(data, read_split(settings.path, records))
    if settings.kind == RANDOM_LEAKY:
        log.warning(
            "random split: near-duplicates cross it, so its test metrics are optimistically biased"
        )
        share = settings.validation / (1 - settings.test)
        split = random_split(
            records, seed=settings.seed, test_fraction=settings.test, validation=share
        )
        return _with_validation(data, split)
    finer = data.learnt_slices_per_plane or data.tilted_slices_per_plane
    learnt = {record.key for record in slices_of(data)[1]} if finer else set()
    measured = [record for record in records if record.key not in learnt]
    split = grouped_split(
        measured,
        fractions=settings.fractions(),
        seed=settings.seed,
        held_out=settings.held_out,
        earlier=_earlier_split(settings.earlier),
    )
    split = _with_validation(data, split)
    return _with_learnt(split, records, learnt) if learnt else split


def _earlier_split(path: Path | None) -> Split | None:
    if path is None:
        return None
    return read_split(PACKAGED_SPLIT if str(path) == "packaged" else path)


def _with_validation(data: DataConfig, split: Split) -> Split:
    """Return the split with its validation part in train, where the run is to learn from it."""
    if not data.split.learn_validation or not split.validation:
        return split
    return replace(split, train=tuple(sorted([*split.train, *split.validation])), validation=())


def _with_learnt(split: Split, records: Sequence[Record], learnt: Collection[str]) -> Split:
    """Return the split with those of the ``learnt`` slices in train whose volume is there."""
    train = set(split.train)
    volumes = {record.file for record in records if record.is_slice and record.key in train}
    more = [r.key for r in records if r.key in learnt and r.file in volumes]
    parts = {**split.parts(), "train": [*split.train, *more]}
    return split_of(split.name, split.seed, parts, records)


def data_sources(records: Sequence[Record]) -> tuple[DataSource, ...]:
    """Return a card's entries on the training data: n, hash, licence and citation by source."""
    by_source: dict[str, list[Record]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    sources = []
    for name, members in sorted(by_source.items()):
        digest = hashlib.sha256()
        for record in sorted(members, key=lambda member: member.key):
            digest.update(f"{record.key} {record.sha256} {record.label}\n".encode())
        info = source_info(name)
        sources.append(
            DataSource(
                source=name,
                n=len(members),
                sha256=digest.hexdigest(),
                licence=info.licence,
                citation=info.citation,
            )
        )
    return tuple(sources)
