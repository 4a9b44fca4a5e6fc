from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.data.drawn_sets import draw_set
from tumorlens.data import grouping
from tumorlens.data.audit import image_summary
from tumorlens.data.audit.image_summary import ImageSummary, summarize
from tumorlens.data.grouping import group_records
from tumorlens.data.near_duplicates.fingerprint_cache import FingerprintCache
from tumorlens.data.sources import load_source
from tumorlens.data.views import DIGITS, known_view

TABLE = files("tumorlens.data").joinpath("views.csv")


def test_the_table_has_sorted_hashes_and_planes_only() -> None:
    lines = TABLE.read_text("ascii").splitlines()
    assert lines[0] == "sha256,view"
    row = re.compile(rf"[0-9a-f]{{{DIGITS}}},(axial|coronal|sagittal)")
    assert [line for line in lines[1:] if not row.fullmatch(line)] == []
    hashes = [line[:DIGITS] for line in lines[1:]]
    assert hashes == sorted(set(hashes))
    assert len(TABLE.read_bytes()) < 200_000


def test_only_files_in_the_table_have_a_view() -> None:
    first = TABLE.read_text("ascii").splitlines()[1]
    digest, view = first.split(",")
    assert known_view(digest + 48 * "0") == view
    changed = ("1" if digest[0] == "0" else "0") + digest[1:]
    assert known_view(changed + 48 * "0") is None
    assert known_view(hashlib.sha256(b"").hexdigest()) is None


def test_records_get_the_view_of_their_file_unless_they_state_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = load_source(draw_set(tmp_path / "one", 2, 1))
    digest = hashlib.sha256(records[0].path.read_bytes()).hexdigest()
    for room in (grouping, image_summary):
        monkeypatch.setattr(room, "known_view", {digest: "coronal"}.get)
    stated = [records[0], replace(records[1], view="axial"), records[2]]
    cache = FingerprintCache(tmp_path / "cache.npz")
    assert [r.view for r in group_records(stated, cache)] == ["coronal", "axial", None]
    contrary = replace(records[0], view="sagittal")
    assert [r.view for r in group_records([contrary], cache)] == ["sagittal"]
    seen = [summarize(record) for record in stated]
    assert [s.record.view for s in seen if isinstance(s, ImageSummary)] == [
        "coronal",
        "axial",
        None,
    ]


@pytest.mark.real
def test_every_real_image_has_a_view(data_root: Path) -> None:
    counts: dict[str, Counter[str | None]] = {}
    for record in load_source(data_root):
        digest = hashlib.sha256(record.path.read_bytes()).hexdigest()
        counts.setdefault(record.source, Counter())[known_view(digest)] += 1
    assert {source: dict(found) for source, found in counts.items()} == {
        "navoneel": {"axial": 248, "coronal": 5},
        "br35h": {"axial": 2194, "coronal": 7},
        "cheng2017": {"axial": 993, "coronal": 1046, "sagittal": 1025},
        "sartaj_extra": {"axial": 192, "coronal": 97, "sagittal": 116},
    }
