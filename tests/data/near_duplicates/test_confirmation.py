"""Pairs that the hashes propose are bound by their pixels, strangers and lone look-alikes not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.drawn_sets import draw_head, draw_set, save
from tumorlens.data import grouping
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates.confirmation import confirmed_pairs
from tumorlens.data.near_duplicates.fingerprint_cache import FingerprintCache, fingerprint_records
from tumorlens.data.near_duplicates.search import Proposal, propose_pairs
from tumorlens.data.sources import load_source


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "cache.npz")


def sharpened(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    sharp = picture.astype(np.float32)
    sharp += 6 * (sharp - cv2.GaussianBlur(sharp, (0, 0), 3))
    return np.clip(sharp, 0, 255).astype(np.uint8)


def far(pair: Proposal) -> Proposal:
    """The same pair, too far apart by hash to be two versions of one image."""
    return pair._replace(head=max(pair.head, 40), whole=max(pair.whole, 20))


def proposed(records: list[Record], cache: FingerprintCache) -> list[Proposal]:
    prints = [found for found in fingerprint_records(records, cache) if found is not None]
    pairs = propose_pairs(
        np.stack([found.bits for found in prints]), np.stack([found.whole_bits for found in prints])
    )
    return [far(pair) for pair in pairs]


def groups_of(records: list[Record]) -> list[int | None]:
    return [record.group for record in records]


def test_a_sharpened_version_is_grouped_by_pixels(
    tmp_path: Path, cache: FingerprintCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_set(tmp_path / "set", 3, 3)
    for number, seed in enumerate((0, 1)):
        save(tmp_path / "set" / "yes" / f"{10 + number}.png", sharpened(draw_head(seed, size=96)))
    records = load_source(tmp_path / "set")
    names = [record.path.stem for record in records]
    assert names == ["00", "01", "02", "00", "01", "02", "10", "11"]
    found = group_records(records, cache)
    assert groups_of(found) == [0, 1, 2, 3, 4, 5, 3, 4]
    monkeypatch.setattr(grouping, "confirmed_pairs", lambda *_: [])
    without = group_records(records, cache)
    assert groups_of(without) == list(range(8))


@pytest.mark.parametrize(
    ("source", "copies", "bound"),
    [
        ("elsewhere", {31: 1}, 1),  # one copy is one copy
        ("cheng2017", {31: 1}, 0),  # two persons' slices may be as alike as one pair
        ("cheng2017", {31: 1, 32: 2}, 1),  # two scans of one person, slice by slice
        ("cheng2017", {31: 1, 33: 2}, 1),  # … whose slices are not cut alike
        ("cheng2017", {31: 1, 39: 2}, 0),  # out of step
        ("cheng2017", {31: 2, 32: 1}, 0),  # the other way round
    ],
)
def test_numbered_slices_need_parallel_pairs(
    tmp_path: Path, cache: FingerprintCache, source: str, copies: dict[int, int], bound: int
) -> None:
    folder = tmp_path / source / "glioma"
    folder.mkdir(parents=True)
    for number in (1, 2):
        save(folder / f"{number}.png", draw_head(number))
    for number, of in copies.items():
        save(folder / f"{number}.png", sharpened(draw_head(of)))
    records = load_source(tmp_path / source)
    people = np.array([int(record.path.stem) // 30 for record in records], np.int64)
    pairs = confirmed_pairs(records, proposed(records, cache), people)
    assert len(pairs) == bound
    for i, j in pairs:
        one, other = int(records[i].path.stem), int(records[j].path.stem)
        assert copies[max(one, other)] == min(one, other)


def test_pairs_within_a_group_are_not_read(tmp_path: Path, cache: FingerprintCache) -> None:
    records = load_source(draw_set(tmp_path / "set", 2, 2))
    pairs = proposed(records, cache)
    for record in records:
        record.path.unlink()
    assert confirmed_pairs(records, pairs, np.zeros(4, np.int64)) == []
    assert confirmed_pairs([], [], np.zeros(0, np.int64)) == []


@pytest.mark.real
def test_sharpened_versions_in_the_real_data_are_grouped(
    data_root: Path, cache: FingerprintCache
) -> None:
    wanted = {
        "navoneel:brain_tumor_dataset/no/5 no.jpg": "br35h:br35h/no/3274.jpg",
        "br35h:br35h/no/3824.jpg": "navoneel:brain_tumor_dataset/no/50 no.jpg",
        "br35h:br35h/yes/y315.jpg": "br35h:br35h/yes/y13.jpg",
    }
    keys = {*wanted, *wanted.values(), "br35h:br35h/yes/y91.jpg", "br35h:br35h/no/3604.jpg"}
    records = [record for record in load_source(data_root) if record.key in keys]
    bound = {r.key: r.group for r in group_records(records, cache)}
    assert [bound[one] == bound[other] for one, other in wanted.items()] == [True] * 3
    assert len(set(bound.values())) == 3
