"""Fixtures that every package's tests share."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.requirements import (
    further_images,
    pytest_collection_modifyitems,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    real_images,
)

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_make_collect_report",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
]


# Hydra closes all log handlers, and that of absl (TensorBoard's) closes its stream, unless this is
# the process's own: it would be pytest's capture of stderr, and no later test could be set up.
with suppress(ImportError):
    import absl.logging

    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real images; a test that asks for it is skipped where there is none."""
    root = real_images()
    assert root is not None
    return root


@pytest.fixture(scope="session")
def more_root() -> Path:
    """The folder of the wide data's tables; a test that asks for it is skipped where none is."""
    root = further_images()
    assert root is not None
    return root


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model file of two nodes that opens, answers and explains; see models_for_tests."""
    # Imported here: tests that need no model should not pay for onnx.
    from tests.models_for_tests import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``heads/yes`` and ``heads/no``, ten drawn heads each."""
    # Imported here: it brings torch.
    from tests.drawn_data import draw_heads

    return draw_heads(tmp_path_factory.mktemp("drawn"), each=10)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the cache at an empty folder, which no other test shares."""
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
