"""A model that answers drawn heads, one for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.series.drawn import write_bright_model


@pytest.fixture(scope="package")
def bright_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
