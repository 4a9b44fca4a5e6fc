"""All pairs of fingerprints that are close, for a handful of images or for a million.

Two methods with the same result:

- **Exact**: each query against each entry. With faiss installed this is its flat binary index,
  else NumPy, some twenty times slower; both give the same pairs. Quadratic, and fine up to some
  ten thousand images.
- **Windows**: locality-sensitive hashing (Indyk and Motwani, STOC 1998). The 256 bits are cut into
  ten windows of 24; two fingerprints meet if one window agrees but for one bit, and are then
  compared on all 256. Two within 19 bits always meet (ten windows cannot all hold two of 19
  differences); at 24 bits 98 % do, at 32 bits 86 %. Grows little more than linearly: each window is
  one sort and 25 merges.

Only close pairs are held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.fingerprint import BITS, close_pairs

Bits = NDArray[np.uint64]
Method = Literal["auto", "exact", "windows"]

EXACT_UP_TO = 20_000
"""Images up to which ``auto`` compares all with all (some seconds with faiss)."""

HEAD_PROPOSAL_DISTANCE = 48
WHOLE_PROPOSAL_DISTANCE = 32
"""Distances of heads and of whole images up to which a pair is worth comparing on pixels."""

_WINDOW_BYTES = 3
_WINDOWS = 10
# Neighbouring bits of a difference hash are correlated; permuted, the windows are independent.
_MIXING_SEED = 20_260_101
_MIXED_AT_ONCE = 1 << 18
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


class Proposal(NamedTuple):
    """Two images and the bits of 256 in which the hashes of heads and of whole images differ.

    A distance beyond the search limit is given as 256.
    """

    first: int
    second: int
    head: int
    whole: int

    @property
    def distance(self) -> int:
        """The smaller of the two distances."""
        return min(self.head, self.whole)


def find_pairs(
    bits: Bits, max_distance: int, *, queries: Bits | None = None, method: Method = "auto"
) -> NDArray[np.int64]:
    """Find the images whose fingerprints differ in at most ``max_distance`` of 256 bits.

    Args:
        bits: ``uint64 [N, P, 4]``, each image in ``P`` poses.
        max_distance: in the pose (and query) that fits best.
        queries: ``uint64 [N, Q, 4]``, what each image is looked up by; its pose 0 when None.
        method: ``auto`` compares all with all up to `EXACT_UP_TO` images.

    Returns:
        ``int64 [M, 3]``, rows ``(i, j, distance)`` with ``i < j``, sorted, each pair once.

    """
    if len(bits) < 2:
        return np.empty((0, 3), np.int64)
    looked_up = bits[:, :1] if queries is None else queries
    if method == "windows" or (method == "auto" and len(bits) > EXACT_UP_TO):
        return _by_windows(bits, looked_up, max_distance)
    if find_spec("faiss") is not None:
        return _exact_with_faiss(bits, looked_up, max_distance)
    return close_pairs(bits, looked_up, max_distance)


def propose_pairs(
    heads: Bits, wholes: Bits, *, whole_queries: Bits | None = None
) -> list[Proposal]:
    """Propose pairs of images to compare on pixels: those that one of two hashes finds close.

    Args:
        heads: ``uint64 [N, P, 4]``, fingerprints of the head's box.
        wholes: the same of the whole image.
        whole_queries: ``uint64 [N, Q, 4]``, what ``wholes`` is searched for; its pose 0 when None.

    Returns:
        Pairs with ``first < second``, sorted, each once.
    """
    found: dict[tuple[int, int], list[int]] = {}
    for column, pairs in enumerate(
        (
            find_pairs(heads, HEAD_PROPOSAL_DISTANCE),
            find_pairs(wholes, WHOLE_PROPOSAL_DISTANCE, queries=whole_queries),
        )
    ):
        for i, j, distance in pairs.tolist():
            found.setdefault((i, j), [BITS, BITS])[column] = distance
    return [Proposal(i, j, *distances) for (i, j), distances in sorted(found.items())]


def _exact_with_faiss(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    import faiss

    index = faiss.IndexBinaryFlat(BITS)
    index.add(_as_bytes(bits))
    # faiss returns what is nearer than its radius, hence one more.
    limits, distances, entries = index.range_search(_as_bytes(queries), max_distance + 1)
    starts = np.asarray(limits, np.int64)
    counts = starts[1:] - starts[:-1]
    asked = np.repeat(np.arange(len(counts)), counts)
    rows = [asked // queries.shape[1], entries // bits.shape[1], distances.astype(np.int64)]
    return _ordered(np.stack(rows, axis=1))


def _by_windows(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    order = np.random.default_rng(_MIXING_SEED).permutation(BITS)
    entries, asked = _mixed(_as_bytes(bits), order), _mixed(_as_bytes(queries), order)
    found = []
    for window in range(_WINDOWS):
        for query, entry in _meetings(_key(asked, window), _key(entries, window)):
            distance = _differing(asked[query], entries[entry])
            near = distance <= max_distance
            images = query[near] // queries.shape[1], entry[near] // bits.shape[1]
            found.append(np.stack([*images, distance[near]], axis=1))
    return _ordered(np.concatenate(found))


def _key(codes: NDArray[np.uint8], window: int) -> NDArray[np.uint32]:
    """The bits of one window of each code as a number."""
    key: NDArray[np.uint32] = np.zeros(len(codes), np.uint32)
    for column in range(window * _WINDOW_BYTES, (window + 1) * _WINDOW_BYTES):
        key = (key << np.uint32(8)) | codes[:, column]
    return key


def _meetings(
    asked: NDArray[np.uint32], entries: NDArray[np.uint32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Index pairs of equal keys, for the keys as asked and with each one bit turned."""
    # Key and index in one number: sorting numbers is much faster than sorting indices by key.
    numbered = entries.astype(np.uint64) << np.uint64(32) | np.arange(len(entries), dtype=np.uint64)
    numbered.sort()
    keys = (numbered >> np.uint64(32)).astype(np.uint32)
    index = (numbered & np.uint64(0xFFFFFFFF)).astype(np.int64)
    # Sorted questions walk through the keys in order, which the cache likes.
    by_key = np.argsort(asked, kind="stable")
    in_order = asked[by_key]
    turned = [0, *(1 << bit for bit in range(8 * _WINDOW_BYTES))]
    for mask in turned:
        wanted = in_order ^ np.uint32(mask)
        first = np.searchsorted(keys, wanted, "left")
        hit = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == wanted)
        first, count = first[hit], np.searchsorted(keys, wanted[hit], "right") - first[hit]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield np.repeat(by_key[hit], count), index[np.repeat(first, count) + within]


def _differing(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many bits differ, row by row of ``[M, 32]``."""
    return np.asarray(_ONES[(one ^ other).view(np.uint16)].sum(axis=1, dtype=np.int64))


def _ordered(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each pair of two images once, smaller index first, at its least distance, sorted."""
    rows = rows[rows[:, 0] != rows[:, 1]]
    low, high = np.minimum(rows[:, 0], rows[:, 1]), np.maximum(rows[:, 0], rows[:, 1])
    order = np.lexsort((rows[:, 2], high, low))
    pairs = np.stack([low, high, rows[:, 2]], axis=1)[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)
    return pairs[first]


def _as_bytes(bits: Bits) -> NDArray[np.uint8]:
    return np.ascontiguousarray(bits).reshape(-1, 4).view(np.uint8)


def _mixed(codes: NDArray[np.uint8], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Permute the bits of each code, a part at a time: unpacked they are eight times as large."""
    mixed = np.empty_like(codes)
    for start in range(0, len(codes), _MIXED_AT_ONCE):
        part = np.unpackbits(codes[start : start + _MIXED_AT_ONCE], axis=1)
        # take is ten times as fast as part[:, order] here.
        mixed[start : start + _MIXED_AT_ONCE] = np.packbits(np.take(part, order, axis=1), axis=1)
    return mixed
