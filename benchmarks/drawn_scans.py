"""Folders of drawn scans for benchmarks: many files, few drawings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from tumorlens.imaging.phantom import draw_phantom

_IN_A_FOLDER = 10_000


def contents(distinct: int, size: int) -> list[bytes]:
    """Return ``distinct`` drawn heads of ``size`` pixels as JPEG, every second with a lesion."""
    drawn = (draw_phantom(seed, lesion=seed % 2 == 0, size=size).image for seed in range(distinct))
    return [cv2.imencode(".jpg", each)[1].tobytes() for each in drawn]


def scan_names(count: int) -> Iterator[str]:
    """Yield the names of ``count`` scans, 10,000 in a folder."""
    for number in range(count):
        yield f"{number // _IN_A_FOLDER:05}/{number:09}.jpg"


def write_scans(root: Path, count: int, *, distinct: int = 256, size: int = 96) -> None:
    """Write ``count`` files below ``root`` that repeat ``distinct`` drawings; once is enough."""
    done = root / f"{count}-{distinct}-{size}.done"
    if done.exists():
        return
    drawings = contents(distinct, size)
    for number, name in enumerate(scan_names(count)):
        path = root / "scans" / name
        if number % _IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawings[number % distinct])
    done.touch()
