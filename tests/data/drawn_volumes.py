"""Small drawn volumes with lesion masks, as NIfTI files, and tables that list them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Spacing = tuple[float, float, float]


def draw_volume(
    shape: tuple[int, int, int], seed: int = 0, *, lesion: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """A grey ellipsoid with folds of its own in black air, uint8; the lesion is white."""
    grid = np.indices(shape, dtype=np.float64)
    middle = (np.array(shape, dtype=np.float64) - 1) / 2
    inside = sum(((grid[a] - middle[a]) / (0.48 * shape[a])) ** 2 for a in range(3)) < 1
    folds = np.random.default_rng(seed).uniform(60, 160, [-(-side // 4) for side in shape])
    grown = folds.repeat(4, 0).repeat(4, 1).repeat(4, 2)[: shape[0], : shape[1], : shape[2]]
    drawn = np.where(inside, grown, 0)
    if lesion is not None:
        drawn[lesion] = 250
    return drawn.astype(np.uint8)


def block(shape: tuple[int, int, int], *ranges: tuple[int, int]) -> NDArray[np.bool_]:
    """True from the first to the last index, inclusive, of each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, last + 1) for first, last in ranges)] = True
    return mask


def save_volume(path: Path, data: NDArray[np.uint8], spacing: Spacing) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([*spacing, 1.0])), path)


HEALTHY = {
    "source": "Some Site/x1", "person": "p:1", "sequence": "T1 1 mm", "contrast": "no",
    "status": "healthy", "stripped_defaced_whole": "whole", "mask_file": "",
}  # fmt: skip
TUMOUR = {**HEALTHY, "status": "tumour", "stripped_defaced_whole": "stripped (BraTS)"}


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path
