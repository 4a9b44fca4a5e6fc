"""The slices a run takes from volumes, and those used for training only."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.data.sources import volume_records
from tumorlens.errors import ConfigError, SourceNotFoundError
from tumorlens.runs.data_config import DataConfig

TILT = 20
"""Largest tilt about each of two axes, in degrees; set in advance, not tuned."""


def slices_of(data: DataConfig) -> tuple[list[Record], list[Record]]:
    """Return the volumes' slices for all parts of a split, and those for training only.

    Raises `SourceNotFoundError` for a missing folder, `ConfigError` for an invalid count.
    """
    if data.volumes is None:
        return [], []
    folder = data.root / data.volumes
    if not folder.is_dir():
        raise SourceNotFoundError(f"{folder}: no such folder of volumes (data.volumes)")
    volumes = list(volume_records(folder))
    kept = thin_slices(volumes, data.slices_per_plane)
    tilted = tilt_slices(volumes, data.tilted_slices_per_plane or 0)
    if data.learnt_slices_per_plane is None:
        return kept, tilted
    known = {record.key for record in kept}
    learnt = thin_slices(volumes, data.learnt_slices_per_plane)
    finer = [each for each in learnt if each.key not in known]
    return kept, [*finer, *tilted]


def thin_slices(records: Sequence[Record], per_plane: int) -> list[Record]:
    """Keep ``per_plane`` evenly spaced slices of each volume and plane.

    Neighbouring slices of one person are nearly the same image.
    """
    if per_plane < 1:
        raise ConfigError(f"data.slices_per_plane is {per_plane}; it must be at least 1")
    kept = []
    for stack in _stacks(records):
        chosen = np.linspace(0, len(stack) - 1, min(per_plane, len(stack))).round().astype(int)
        kept += [stack[index] for index in sorted(set(chosen.tolist()))]
    return kept


def tilt_slices(records: Sequence[Record], per_plane: int) -> list[Record]:
    """Make up to ``per_plane`` tilted slices of each volume and plane, seeded by its name.

    Each lies at one of the given slices, rotated by up to `TILT` degrees about both in-plane
    axes (`tumorlens.volumes.slices.take_slice`); duplicates are dropped.
    """
    if per_plane < 0:
        raise ConfigError(f"data.tilted_slices_per_plane is {per_plane}; it must not be negative")
    tilted = []
    for stack in _stacks(records):
        name = f"{stack[0].file.name}#{stack[0].view}"
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        for record in rng.choice(np.array(stack, dtype=object), per_plane):
            angles = ":".join(str(each) for each in rng.integers(-TILT, TILT + 1, 2))
            path = record.path.with_name(f"{record.path.name}:{angles}")
            tilted.append(replace(record, key=f"{record.key}:{angles}", path=path))
    return list({record.key: record for record in tilted}.values())


def _stacks(records: Sequence[Record]) -> list[list[Record]]:
    """Return the records of each volume and plane."""
    stacks: dict[tuple[Path, str | None], list[Record]] = {}
    for record in records:
        stacks.setdefault((record.file, record.view), []).append(record)
    return list(stacks.values())
