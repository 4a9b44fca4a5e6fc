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


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file of two nodes that opens, answers and explains; see models_for_tests."""
    # Imported here: tests that need no model should not pay for onnx.
    from tests.models_for_tests import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")
