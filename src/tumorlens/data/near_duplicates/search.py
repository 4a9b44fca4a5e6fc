"""Search for all pairs of similar fingerprints, from a few images to a million.

- **Exact**: each query against each entry, with faiss's flat binary index if installed, else with
  NumPy (about twenty times slower, same pairs). Quadratic; practical up to about 20,000 images.
- **Windows**: locality-sensitive hashing (Indyk and Motwani, STOC 1998). The 256 bits are divided
  into ten windows of 24; two fingerprints are candidates if one window differs in at most one bit,
  and are then compared on all 256. Pairs within 19 bits are always found (ten windows cannot all
  have two of 19 differences); at 24 bits 98 %, at 32 bits 86 %. Nearly linear: one sort and 25
  merges per window.

Only similar pairs are kept in memory.
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
"""Number of images up to which ``auto`` is exact (some seconds with faiss)."""

HEAD_PROPOSAL_DISTANCE = 48
WHOLE_PROPOSAL_DISTANCE = 32
"""Distances of heads and of whole images up to which a pair is compared on pixels."""

WHOLE_PROPOSAL_DICE = 0.28
"""Largest Dice distance of whole images: the differing bits over the set bits of both.

The air sets no bits, so two small or featureless heads, as near the vertex, have few set bits and
differ in few by chance: of 10,642 images it leaves 109,000 of 1,452,000 pairs within 32 bits.
"""

_WINDOW_BYTES = 3
_WINDOWS = 10
# Neighbouring bits of a difference hash are correlated; permuted, the windows are independent.
_PERMUTATION_SEED = 20_260_101
_CHUNK = 1 << 18
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)


class Proposal(NamedTuple):
    """Two images and the bits of 256 in which the hashes of heads and of whole images differ.

    A distance beyond the search limit is 256.
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
    """Find the pairs of images whose fingerprints differ in at most ``max_distance`` of 256 bits.

    Args:
        bits: ``uint64 [N, P, 4]``, each image in ``P`` orientations.
        max_distance: for the best orientation (and query).
        queries: ``uint64 [N, Q, 4]``, the query hashes of each image; None: orientation 0.
        method: ``auto`` is exact up to `EXACT_UP_TO` images.

    Returns:
        ``int64 [M, 3]``, rows ``(i, j, distance)`` with ``i < j``, sorted, without duplicates.
    """
    if len(bits) < 2:
        return np.empty((0, 3), np.int64)
    queries = bits[:, :1] if queries is None else queries
    if method == "windows" or (method == "auto" and len(bits) > EXACT_UP_TO):
        return _by_windows(bits, queries, max_distance)
    if find_spec("faiss") is not None:
        return _exact_with_faiss(bits, queries, max_distance)
    return close_pairs(bits, queries, max_distance)


def propose_pairs(
    heads: Bits, wholes: Bits, *, whole_queries: Bits | None = None
) -> list[Proposal]:
    """Propose pairs of images to compare on pixels: those close by one of two hashes.

    Args:
        heads: ``uint64 [N, P, 4]``, fingerprints of the head's box.
        wholes: the same of the whole image.
        whole_queries: ``uint64 [N, Q, 4]``, queries of ``wholes``; None: orientation 0.

    Returns:
        Pairs with ``first < second``, sorted, each once.
    """
    close_wholes = find_pairs(wholes, WHOLE_PROPOSAL_DISTANCE, queries=whole_queries)
    close_wholes = close_wholes[_dice_distances(wholes, close_wholes) <= WHOLE_PROPOSAL_DICE]
    distances: dict[tuple[int, int], list[int]] = {}
    for column, pairs in enumerate((find_pairs(heads, HEAD_PROPOSAL_DISTANCE), close_wholes)):
        for i, j, distance in pairs.tolist():
            distances.setdefault((i, j), [BITS, BITS])[column] = distance
    return [Proposal(i, j, *both) for (i, j), both in sorted(distances.items())]


def _dice_distances(bits: Bits, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Dice distance of each row ``(i, j, distance)``; 0 for two hashes of no set bit.

    Set bits are the mean of an image's orientations, as the distance is of the best one.
    """
    ones = (
        _ONES[np.ascontiguousarray(bits).view(np.uint16)].sum(axis=-1, dtype=np.int64).mean(axis=-1)
    )
    return np.asarray(pairs[:, 2] / np.maximum(ones[pairs[:, 0]] + ones[pairs[:, 1]], 1.0))


def _exact_with_faiss(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    import faiss

    index = faiss.IndexBinaryFlat(BITS)
    index.add(_as_bytes(bits))
    # The radius of faiss is exclusive.
    limits, distances, entries = index.range_search(_as_bytes(queries), max_distance + 1)
    starts = np.asarray(limits, np.int64)
    counts = starts[1:] - starts[:-1]
    query = np.repeat(np.arange(len(counts)), counts)
    rows = [query // queries.shape[1], entries // bits.shape[1], distances.astype(np.int64)]
    return _ordered(np.stack(rows, axis=1))


def _by_windows(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    order = np.random.default_rng(_PERMUTATION_SEED).permutation(BITS)
    codes, query_codes = _permuted(_as_bytes(bits), order), _permuted(_as_bytes(queries), order)
    rows = []
    for window in range(_WINDOWS):
        for query, entry in _candidates(_key(query_codes, window), _key(codes, window)):
            distance = _hamming(query_codes[query], codes[entry])
            near = distance <= max_distance
            images = query[near] // queries.shape[1], entry[near] // bits.shape[1]
            rows.append(np.stack([*images, distance[near]], axis=1))
    return _ordered(np.concatenate(rows))


def _key(codes: NDArray[np.uint8], window: int) -> NDArray[np.uint32]:
    """Return the bits of one window of each code as a number."""
    key: NDArray[np.uint32] = np.zeros(len(codes), np.uint32)
    for column in range(window * _WINDOW_BYTES, (window + 1) * _WINDOW_BYTES):
        key = (key << np.uint32(8)) | codes[:, column]
    return key


def _candidates(
    queries: NDArray[np.uint32], entries: NDArray[np.uint32]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield index pairs of equal keys, for the query keys and with each single bit flipped."""
    # Key and index in one number: sorting numbers is much faster than sorting indices by key.
    keyed = entries.astype(np.uint64) << np.uint64(32) | np.arange(len(entries), dtype=np.uint64)
    keyed.sort()
    keys = (keyed >> np.uint64(32)).astype(np.uint32)
    index = (keyed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    # Sorted queries access the keys in order, which is faster.
    by_key = np.argsort(queries, kind="stable")
    in_order = queries[by_key]
    flips = [0, *(1 << bit for bit in range(8 * _WINDOW_BYTES))]
    for mask in flips:
        wanted = in_order ^ np.uint32(mask)
        first = np.searchsorted(keys, wanted, "left")
        hit = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == wanted)
        first, count = first[hit], np.searchsorted(keys, wanted[hit], "right") - first[hit]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield np.repeat(by_key[hit], count), index[np.repeat(first, count) + within]


def _hamming(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of differing bits for each row of ``[M, 32]``."""
    return np.asarray(_ONES[(one ^ other).view(np.uint16)].sum(axis=1, dtype=np.int64))


def _ordered(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each pair of images once, smaller index first, with its least distance, sorted."""
    rows = rows[rows[:, 0] != rows[:, 1]]
    low, high = np.minimum(rows[:, 0], rows[:, 1]), np.maximum(rows[:, 0], rows[:, 1])
    order = np.lexsort((rows[:, 2], high, low))
    pairs = np.stack([low, high, rows[:, 2]], axis=1)[order]
    first = np.ones(len(pairs), bool)
    first[1:] = (pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)
    return pairs[first]


def _as_bytes(bits: Bits) -> NDArray[np.uint8]:
    return np.ascontiguousarray(bits).reshape(-1, 4).view(np.uint8)


def _permuted(codes: NDArray[np.uint8], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Permute the bits of each code, in chunks to limit memory."""
    permuted = np.empty_like(codes)
    for start in range(0, len(codes), _CHUNK):
        part = np.unpackbits(codes[start : start + _CHUNK], axis=1)
        # np.take is ten times as fast as part[:, order].
        permuted[start : start + _CHUNK] = np.packbits(np.take(part, order, axis=1), axis=1)
    return permuted
