from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.data.drawn_sets import draw_set
from tumorlens.data.near_duplicates import fingerprint_cache
from tumorlens.data.near_duplicates.fingerprint_cache import (
    FingerprintCache,
    cache_dir,
    fingerprint_records,
)
from tumorlens.data.sources import load_source
from tumorlens.errors import DecodeError, UnreadableFileError


def test_cached_files_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = load_source(draw_set(tmp_path / "set", 2, 2))
    store = tmp_path / "deep" / "cache.npz"
    first = fingerprint_records(records, FingerprintCache(store))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(fingerprint_cache, "decode", refuse)
    again = fingerprint_records(records, FingerprintCache(store))
    for a, b in zip(first, again, strict=True):
        assert a is not None
        assert b is not None
        assert a.sha256 == b.sha256
        assert np.array_equal(a.bits, b.bits)
    assert [p.name for p in store.parent.iterdir()] == ["cache.npz"]


def test_concurrent_runs_merge_their_entries(tmp_path: Path) -> None:
    one = load_source(draw_set(tmp_path / "one", 1, 1))
    two = load_source(draw_set(tmp_path / "two", 1, 1, first_seed=40))
    early, late = FingerprintCache(tmp_path / "c.npz"), FingerprintCache(tmp_path / "c.npz")
    fingerprint_records(one, early)
    fingerprint_records(two, late)
    assert len(FingerprintCache(tmp_path / "c.npz")) == 4


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x93NUMPY nonsense"])
def test_a_damaged_cache_is_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    records = load_source(draw_set(tmp_path / "set", 1, 0))
    (tmp_path / "c.npz").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        fingerprint_records(records, FingerprintCache(tmp_path / "c.npz"))
    assert "computed again" in caplog.text
    assert len(FingerprintCache(tmp_path / "c.npz")) == 1


def test_an_unwritable_cache_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = load_source(draw_set(tmp_path / "set", 1, 0))
    (tmp_path / "file").write_bytes(b"")
    cache = FingerprintCache(tmp_path / "file" / "c.npz")
    assert len(fingerprint_records(records, cache)) == 1
    assert "not cached" in caplog.text


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUMORLENS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "tumorlens"
    monkeypatch.setenv("TUMORLENS_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    assert FingerprintCache().path.parent == tmp_path / "own"


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    records = load_source(draw_set(tmp_path / "set", 1, 1))
    cache = FingerprintCache(tmp_path / "c.npz")
    records[0].path.write_bytes(records[0].path.read_bytes()[:200])
    with pytest.raises(DecodeError, match=r"00\.png"):
        fingerprint_records(records[:1], cache)
    records[1].path.unlink()
    with pytest.raises(UnreadableFileError, match=r"00\.png"):
        fingerprint_records(records[1:], cache)
