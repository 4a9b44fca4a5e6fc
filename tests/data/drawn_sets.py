"""Small data sets of drawn heads, for the tests of this room."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.manifest import Record


def draw_set(root: Path, tumours: int, healthy: int, *, first_seed: int = 0) -> Path:
    """Write ``yes/`` and ``no/`` with drawn heads below ``root``."""
    for folder, count, lesion in (("yes", tumours, True), ("no", healthy, False)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed = first_seed + number + (0 if lesion else 500)
            save(root / folder / f"{number:02}.png", draw_head(seed, lesion=lesion, size=96))
    return root


def draw_head(seed: int, *, lesion: bool = False, size: int = 200) -> NDArray[np.uint8]:
    """A head that no other seed's resembles: a bright rim, and blobs and folds at random."""
    rng = np.random.default_rng(seed)
    height, width = size, round(0.9 * size)
    folds = rng.integers(40, 200, (14, 12)).astype(np.uint8)
    picture = cv2.resize(folds, (width, height), interpolation=cv2.INTER_CUBIC)
    inside = np.zeros((height, width), np.uint8)
    centre, axes = (width // 2, height // 2), (round(0.36 * size), round(0.42 * size))
    cv2.ellipse(inside, centre, axes, 0, 0, 360, [1], -1)
    picture *= inside
    cv2.ellipse(picture, centre, axes, 0, 0, 360, [235], max(2, size // 25))
    if lesion:
        at = (round(width * rng.uniform(0.35, 0.65)), round(height * rng.uniform(0.35, 0.65)))
        cv2.circle(picture, at, size // 12, [250], -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size / 150), np.uint8)


def save(path: Path, picture: NDArray[np.generic]) -> None:
    assert cv2.imwrite(str(path), picture), path


def write_manifest(records: Sequence[Record], path: Path) -> None:
    """Write records to a manifest in a folder that holds their files."""
    labels = {1: "tumor", 0: "healthy", None: ""}
    with path.open("w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table)
        rows.writerow(
            [
                "path",
                "source",
                "label",
                "tumour_type",
                "view",
                "group",
                "sha256",
                "boxes",
                "polygons",
            ]
        )
        for r in records:
            relative = r.path.resolve().relative_to(path.parent.resolve()).as_posix()
            shapes = (json.dumps(r.boxes or []), json.dumps(r.polygons or []))
            rows.writerow([relative, r.source, labels[r.label], r.tumour_type, r.view, r.group,
                           r.sha256, *shapes])  # fmt: skip


def grouped_records(groups: list[int], *, source: str = "s", tumours: int = 0) -> list[Record]:
    """Records without files: one a group number, the first ``tumours`` of them tumours."""
    return [
        Record(
            key=f"{source}:{i:04}.png",
            path=Path(f"{i:04}.png"),
            source=source,
            label=int(i < tumours),
            group=group,
            sha256=f"{source}{i}",
        )
        for i, group in enumerate(groups)
    ]
