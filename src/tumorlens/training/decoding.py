"""Configuration → records → split → decoded parts, with leakage refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.label_issues import label_issue_of
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import load_inputs
from tumorlens.data.splits import (
    PARTS,
    RANDOM_LEAKY,
    Split,
    check_groups,
)
from tumorlens.errors import DataError
from tumorlens.runs.config import RunConfig
from tumorlens.runs.records import load_records, log, make_split
from tumorlens.training.datamodule import Mode, ScanDataset


@dataclass(frozen=True)
class Parts:
    """A split's parts: records, network inputs ``[N, C, S, S]`` and datasets by name.

    ``not_mri`` holds inputs of scans that were excluded because they are not MRI, and that have no
    near-duplicates in a held-out part; an out-of-distribution detector is trained on them. None
    without a detector.
    """

    split: Split
    records: dict[str, list[Record]]
    inputs: dict[str, NDArray[np.float32]]
    datasets: dict[Mode, ScanDataset]
    not_mri: NDArray[np.float32] | None = None


def load_parts(config: RunConfig) -> Parts:
    """Load, group, split and decode what the ``data`` group names.

    Raises:
        SourceNotFoundError: A source is not below ``data.root``.
        SplitError: The given split file is damaged or does not fit the records.
        LeakageError: A group crosses the split and the split is not the notebook's.
        DataError: The training part is empty or holds one class only.
    """
    records = load_records(config.data)
    split = make_split(config.data, records)
    if split.name != RANDOM_LEAKY:
        check_groups(split, records)
    return decode_parts(config, split, records)


def decode_parts(
    config: RunConfig,
    split: Split,
    records: Sequence[Record],
    decoded: tuple[NDArray[np.float32], NDArray[np.uint8]] | None = None,
) -> Parts:
    """Decode a split's parts, or select them from decoded images.

    Args:
        config: The run's configuration.
        split: A split of the records.
        records: Grouped records, at least those of the split.
        decoded: The result of `load_inputs` for all ``records``, in their order.

    Raises:
        DataError: The training part is empty or holds one class only.
    """
    by_key = {record.key: record for record in records}
    chosen = {name: [by_key[key] for key in getattr(split, name)] for name in PARTS}
    chosen = {name: members for name, members in chosen.items() if members}
    _check_trainable(chosen.get("train", []))
    by_source = _BySource(records, config)
    inputs, datasets = {}, {}
    at = {record.key: index for index, record in enumerate(records)}
    for name, members in chosen.items():
        if decoded is None:
            inputs[name], lesions = by_source(members)
        else:
            rows = [at[record.key] for record in members]
            inputs[name], lesions = decoded[0][rows], decoded[1][rows]
        if name in ("train", "validation", "test"):
            mode: Mode = name  # type: ignore[assignment]
            datasets[mode] = ScanDataset(members, inputs[name], lesions, mode)
        log.info("decoded", part=name, images=len(members))
    not_mri = None
    if config.ood_detector and (excluded := _excluded_non_mri(split, records)):
        not_mri, _ = load_inputs(excluded, config.model.preprocess, cache_dir=config.data.cache_dir)
    return Parts(split, chosen, inputs, datasets, not_mri)


class _BySource:
    """Decodes records. With a cache every source is decoded once, for whatever split follows."""

    def __init__(self, records: Sequence[Record], config: RunConfig) -> None:
        self._spec, self._cache = config.model.preprocess, config.data.cache_dir
        self._records: dict[str, list[Record]] = {}
        for record in sorted(records, key=lambda each: each.key):
            if record.label is not None:
                self._records.setdefault(record.source, []).append(record)

    def __call__(self, members: Sequence[Record]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return inputs ``[N, C, S, S]`` and lesion masks ``[N, S, S]`` of records, in order."""
        if self._cache is None:
            return load_inputs(members, self._spec)
        size = self._spec.size
        inputs = np.empty((len(members), self._spec.channels, size, size), dtype=np.float32)
        lesions = np.empty((len(members), size, size), dtype=np.uint8)
        for source in sorted({record.source for record in members}):
            whole = self._records[source]
            at = {record.key: row for row, record in enumerate(whole)}
            images, masks = load_inputs(whole, self._spec, cache_dir=self._cache)
            rows = [row for row, record in enumerate(members) if record.source == source]
            own = [at[members[row].key] for row in rows]
            inputs[rows], lesions[rows] = images[own], masks[own]
        return inputs, lesions


def _excluded_non_mri(split: Split, records: Sequence[Record]) -> list[Record]:
    """Return the scans outside the split that are not MRI, without the groups of held-out scans."""
    parts = split.parts()
    used = {key for keys in parts.values() for key in keys}
    held_out = used - set(parts["train"])
    groups = {record.group for record in records if record.key in held_out}
    return [
        record
        for record in records
        if record.key not in used
        and record.group not in groups
        and (record.shows == "not_mri" or label_issue_of(record) == "not_mri")
    ]


def _check_trainable(records: Sequence[Record]) -> None:
    labels = {record.label for record in records}
    if labels != {0, 1}:
        raise DataError(
            f"the training part has {len(records)} images with labels {sorted(map(str, labels))}; "
            "both tumour and healthy images are needed"
        )
