"""Configuration → records → split → decoded parts, with leakage refused."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from omegaconf import DictConfig

from tumorlens.data.doubts import (
    count_doubtful,
    known_doubt,
    without_doubtful,
    without_wrong_places,
)
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import MANIFEST_NAME, Record, read_manifest
from tumorlens.data.pixels import load_inputs
from tumorlens.data.sources import load_source, source_info
from tumorlens.data.splitfile import make_split as split_of
from tumorlens.data.splits import (
    PARTS,
    RANDOM_LEAKY,
    Split,
    check_groups,
    grouped_split,
    random_split,
    read_split,
)
from tumorlens.errors import ConfigError, DataError
from tumorlens.modelfile import DataSource
from tumorlens.training.config import preprocess_from
from tumorlens.training.datamodule import Mode, ScanDataset
from tumorlens.training.slices import slices_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """A split's parts: records, network inputs ``[N, C, S, S]`` and datasets by name.

    ``not_mri`` holds inputs of scans that were left out because they are no MRI, and that no
    other part has copies of: an in-domain guard learns from them. None without a guard.
    """

    split: Split
    records: dict[str, list[Record]]
    inputs: dict[str, NDArray[np.float32]]
    datasets: dict[Mode, ScanDataset]
    not_mri: NDArray[np.float32] | None = None


def load_parts(config: DictConfig) -> Parts:
    """Load, group, split and decode what the ``data`` group names.

    Raises:
        SourceNotFoundError: A source is not below ``data.root``.
        SplitError: The given split file is damaged or does not fit the records.
        LeakageError: A group crosses the split and the split is not the notebook's.
        DataError: The training part is empty or holds one class only.
    """
    records = load_records(config)
    split = make_split(config, records)
    if split.name != RANDOM_LEAKY:
        check_groups(split, records)
    return decode_parts(config, split, records)


def decode_parts(
    config: DictConfig,
    split: Split,
    records: Sequence[Record],
    decoded: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None,
) -> Parts:
    """Decode a split's parts, or pick them from what is decoded already.

    Args:
        config: The run's configuration.
        split: Of the records.
        records: Grouped records, at least those of the split.
        decoded: What `load_inputs` gives for all ``records``, in their order.

    Raises:
        DataError: The training part is empty or holds one class only.
    """
    by_key = {record.key: record for record in records}
    chosen = {name: [by_key[key] for key in getattr(split, name)] for name in PARTS}
    chosen = {name: members for name, members in chosen.items() if members}
    _check_trainable(chosen.get("train", []))
    spec = preprocess_from(config)
    cache = Path(config.data.cache_dir) if config.data.cache_dir else None
    inputs, datasets = {}, {}
    at = {record.key: index for index, record in enumerate(records)}
    for name, members in chosen.items():
        if decoded is None:
            inputs[name], lesions = load_inputs(members, spec, cache_dir=cache)
        else:
            rows = [at[record.key] for record in members]
            inputs[name], lesions = decoded[0][rows], decoded[1][rows]
        if name in ("train", "validation", "test"):
            mode: Mode = name  # type: ignore[assignment]
            datasets[mode] = ScanDataset(members, inputs[name], lesions, mode)
        log.info("decoded", part=name, images=len(members))
    others = None
    if config.get("guard") and (left_out := _left_out(split, records)):
        others, _ = load_inputs(left_out, spec, cache_dir=cache)
    return Parts(split, chosen, inputs, datasets, others)


def _left_out(split: Split, records: Sequence[Record]) -> list[Record]:
    """Return the scans of no part that are no MRI, without those akin to a held-out one."""
    parts = split.parts()
    used = {key for keys in parts.values() for key in keys}
    held = used - set(parts["train"])
    akin = {record.group for record in records if record.key in held}
    return [
        record
        for record in records
        if record.key not in used and record.group not in akin and known_doubt(record) == "not_mri"
    ]


def load_records(config: DictConfig) -> list[Record]:
    """Return the grouped, labelled records of all sources and volumes of the ``data`` group."""
    records = read_records(config)
    labelled = [record for record in records if record.label is not None]
    if len(labelled) < len(records):
        log.warning("unlabelled images left out", images=len(records) - len(labelled))
    grouped = group_records(labelled)
    return without_wrong_places(grouped) if leaves_out_doubtful(config) else grouped


def leaves_out_doubtful(config: DictConfig) -> bool:
    """Tell whether the run learns nothing from scans that `tumorlens.data.doubts` names.

    Raises `ConfigError` for a setting other than ``keep`` and ``leave_out``.
    """
    # Runs made before there was such a setting kept them.
    chosen = config.data.get("doubtful", "keep")
    if chosen not in ("keep", "leave_out"):
        raise ConfigError(f"data.doubtful is {chosen!r}; use keep or leave_out")
    return bool(chosen == "leave_out")


def read_records(config: DictConfig) -> list[Record]:
    """Return all records of the ``data`` group, ungrouped, their files unread."""
    root = Path(config.data.root)
    records = [record for name in config.data.sources for record in _source(root, str(name))]
    return [*records, *(record for part in slices_of(config) for record in part)]


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


def make_split(config: DictConfig, records: Sequence[Record]) -> Split:
    """Read the configured split file, or make the configured kind of split.

    With ``data.doubtful=leave_out`` doubtful scans stand in its test part alone.
    """
    split = _whole_split(config, records)
    if not leaves_out_doubtful(config):
        return split
    log.info("doubtful scans left out of all parts but the test", **count_doubtful(records))
    return without_doubtful(split, records)


def _whole_split(config: DictConfig, records: Sequence[Record]) -> Split:
    settings = config.data.split
    if settings.path is not None:
        return _with_validation(config, read_split(Path(settings.path), records), records)
    fractions = {name: float(settings[name]) for name in PARTS}
    if settings.kind == "grouped":
        finer = any(config.data.get(f"{kind}_slices_per_plane") for kind in ("learnt", "tilted"))
        learnt = {record.key for record in slices_of(config)[1]} if finer else set()
        measured = [record for record in records if record.key not in learnt]
        split = grouped_split(
            measured, fractions=fractions, seed=settings.seed, held_out=tuple(settings.held_out)
        )
        split = _with_validation(config, split, measured)
        return _with_learnt(split, records, learnt) if learnt else split
    if settings.kind == RANDOM_LEAKY:
        log.warning("random split: near-duplicates cross it, so its test score is flattered")
        share = fractions["validation"] / (1 - fractions["test"])
        split = random_split(
            records, seed=settings.seed, test_fraction=fractions["test"], validation=share
        )
        return _with_validation(config, split, records)
    raise ConfigError(f"data.split.kind is {settings.kind!r}; use grouped or {RANDOM_LEAKY}")


def _with_validation(config: DictConfig, split: Split, records: Sequence[Record]) -> Split:
    """Return the split with its validation part in train, where the run is to learn from it."""
    # Runs made before there was such a setting chose by it.
    if not config.data.split.get("learn_validation", False) or not split.validation:
        return split
    parts = {**split.parts(), "train": [*split.train, *split.validation], "validation": []}
    return split_of(split.name, split.seed, parts, records)


def _with_learnt(split: Split, records: Sequence[Record], learnt: Collection[str]) -> Split:
    """Return the split with those of the ``learnt`` slices in train whose volume is there."""
    train = set(split.train)
    volumes = {record.file for record in records if record.is_slice and record.key in train}
    more = [r.key for r in records if r.key in learnt and r.file in volumes]
    parts = {**split.parts(), "train": [*split.train, *more]}
    return split_of(split.name, split.seed, parts, records)


def _check_trainable(records: Sequence[Record]) -> None:
    labels = {record.label for record in records}
    if labels != {0, 1}:
        raise DataError(
            f"the training part has {len(records)} images with labels {sorted(map(str, labels))}; "
            "both tumour and healthy images are needed"
        )


def data_sources(records: Sequence[Record]) -> tuple[DataSource, ...]:
    """Return what a card says of the training data: n, hash, licence and citation by source."""
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
