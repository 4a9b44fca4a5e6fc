from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.data.near_duplicates import search
from tumorlens.data.near_duplicates.search import find_pairs

Bits = NDArray[np.uint64]


def random_bits(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Bits ``[count, 8, 256]`` of images that have nothing in common."""
    return np.random.default_rng(seed).integers(0, 2, (count, 8, 256)).astype(np.uint8)


def packed(bits: NDArray[np.uint8]) -> Bits:
    return np.packbits(bits, axis=-1).view(np.uint64)


def with_copies(count: int, distances: list[int], seed: int = 0) -> Bits:
    """Image ``count + k`` is image ``k`` with ``distances[k]`` bits flipped, in another pose."""
    bits = random_bits(count, seed)
    rng = np.random.default_rng(seed + 1)
    copies = bits[: len(distances)].copy()
    for copy, flips in zip(copies, distances, strict=True):
        copy[:, rng.choice(256, flips, replace=False)] ^= 1
    return packed(np.concatenate([bits, copies[:, rng.permutation(8)]]))


def test_planted_near_duplicates_are_found_at_their_distance() -> None:
    bits = with_copies(50, [0, 7, 32, 33])
    for method in ("auto", "exact"):
        pairs = find_pairs(bits, 32, method=method)
        assert pairs.tolist() == [[0, 50, 0], [1, 51, 7], [2, 52, 32]]


def test_faiss_and_numpy_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    bits = with_copies(300, list(range(40)))
    queries = np.concatenate([bits[:, :1], packed(random_bits(340, seed=9))[:, :2]], axis=1)
    with_faiss = [find_pairs(bits, 100), find_pairs(bits, 104, queries=queries)]
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    without = [find_pairs(bits, 100), find_pairs(bits, 104, queries=queries)]
    for a, b in zip(with_faiss, without, strict=True):
        assert len(a) > 250
        assert np.array_equal(a, b)


def test_windows_find_exactly_the_close_pairs() -> None:
    bits = with_copies(2000, [k % 33 for k in range(660)])
    exact = find_pairs(bits, 32, method="exact")
    windows = find_pairs(bits, 32, method="windows")
    found, truth = {tuple(row) for row in windows}, {tuple(row) for row in exact}
    assert len(truth) == 660
    assert found <= truth
    assert {row for row in truth if row[2] <= 19} <= found
    assert len(found) >= 0.95 * len(truth)


def test_large_sets_use_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "EXACT_UP_TO", 100)
    asked: list[int] = []
    monkeypatch.setattr(
        search, "_by_windows", lambda bits, *_: asked.append(len(bits)) or np.empty((0, 3))
    )
    find_pairs(with_copies(100, []), 32)
    find_pairs(with_copies(101, []), 32)
    assert asked == [101]


def test_additional_queries_find_more_pairs() -> None:
    bits = packed(random_bits(3))
    queries = np.stack([bits[:, 0], bits[[0, 0, 2], 0]], axis=1)
    assert find_pairs(bits, 10).tolist() == []
    assert find_pairs(bits, 10, queries=queries).tolist() == [[0, 1, 0]]


def test_few_images_have_no_pairs() -> None:
    assert find_pairs(packed(random_bits(1)), 32).shape == (0, 3)
    assert find_pairs(np.empty((0, 8, 4), np.uint64), 32).shape == (0, 3)
