"""Small data sets of drawn heads, for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.imaging.phantom import draw_phantom


def draw_set(root: Path, tumours: int, healthy: int, *, first_seed: int = 0) -> Path:
    """Write ``yes/`` and ``no/`` with drawn heads below ``root``."""
    for folder, count, lesion in (("yes", tumours, True), ("no", healthy, False)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed = first_seed + number + (0 if lesion else 500)
            picture = draw_phantom(seed, lesion=lesion, size=96).image
            save(root / folder / f"{number:02}.png", picture)
    return root


def save(path: Path, picture: np.ndarray) -> None:  # type: ignore[type-arg]
    assert cv2.imwrite(str(path), picture), path


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
