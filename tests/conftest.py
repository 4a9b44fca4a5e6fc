"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of real images, or skip; in CI a missing folder is a failure."""
    root = os.environ.get("TUMORLENS_DATA")
    if root and (Path(root) / "manifest.csv").is_file():
        return Path(root).resolve()
    reason = f"real images not found: TUMORLENS_DATA={root!r} has no manifest.csv"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
