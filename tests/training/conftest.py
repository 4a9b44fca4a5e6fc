"""Fixtures that several tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.drawn_data import draw_heads


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``heads/yes`` and ``heads/no``, ten drawn heads each."""
    return draw_heads(tmp_path_factory.mktemp("drawn"), each=10)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that no other test, and nobody's work, has anything in."""
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "cache"))
