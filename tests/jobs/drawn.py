"""Drawn scans in folders, and jobs over them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2

from tumorlens.imaging.phantom import draw_phantom
from tumorlens.jobs.run import Job, make_settings


def picture(seed: int) -> bytes:
    """Return a small drawn head as PNG."""
    drawn = draw_phantom(seed, lesion=seed % 2 == 0, size=64).image
    return cv2.imencode(".png", drawn)[1].tobytes()


def draw(folder: Path, count: int) -> Path:
    """Write ``count`` heads into a folder: ``00.png`` …"""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        (folder / f"{seed:02}.png").write_bytes(picture(seed))
    return folder


def job(paths: Iterable[object], out: Path, model: Path, **changes: Any) -> Job:
    """Return a job of one worker that writes JSON Lines; ``changes`` are of it or its settings."""
    own = {
        name: changes.pop(name)
        for name in ("redo", "workers", "engine", "address")
        if name in changes
    }
    path, settings = make_settings(model, **({"output": "jsonl", "shard_size": 3} | changes))
    return Job(tuple(map(str, paths)), out, settings, path, **({"workers": 1} | own))
