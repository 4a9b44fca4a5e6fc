"""All pairs of fingerprints that are close, for a handful of images or for a million.

Two ways, one answer format:

- **Exact**: each query against each entry. With faiss installed this is its flat binary index,
  else NumPy; both give the same pairs. Quadratic, and fine up to some ten thousand images.
- **Windows**: locality-sensitive hashing with faiss's hash index. The 256 bits are cut into ten
  windows of 24; two fingerprints meet if one window agrees but for one bit, and are then compared
  on all 256. Two within 19 bits always meet (ten windows cannot all hold two of 19 differences);
  at 24 bits 98 % do, at 32 bits 86 %. Grows little more than linearly.

A billion pairs are never held: what is returned is only the close ones.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import MissingExtraError
from tumorlens.imaging.fingerprint import BITS, close_pairs

Bits = NDArray[np.uint64]
Method = Literal["auto", "exact", "windows"]

EXACT_UP_TO = 20_000
"""Images up to which ``auto`` compares all with all (some seconds with faiss)."""

_WINDOW_BYTES = 3
_WINDOWS = 10
_FLIPS = 1
# Neighbouring bits of a difference hash say much the same; mixed, the windows are independent.
_MIXING_SEED = 20_260_101
_ADD_AT_ONCE = 1 << 18


def find_pairs(
    bits: Bits, max_distance: int, *, queries: Bits | None = None, method: Method = "auto"
) -> NDArray[np.int64]:
    """Find the images whose fingerprints differ in at most ``max_distance`` of 256 bits.

    Args:
        bits: ``uint64 [N, P, 4]``, each image in ``P`` poses.
        max_distance: in the pose (and query) that fits best.
        queries: ``uint64 [N, Q, 4]``, what each image is looked up by; its pose 0 when None.
        method: ``auto`` compares all with all up to `EXACT_UP_TO` images, or where faiss is
            not installed.

    Returns:
        ``int64 [M, 3]``, rows ``(i, j, distance)`` with ``i < j``, sorted, each pair once.

    Raises:
        MissingExtraError: ``windows`` without faiss.
    """
    have_faiss = find_spec("faiss") is not None
    if method == "windows" and not have_faiss:
        raise MissingExtraError("the search by windows", "audit")
    if len(bits) < 2:
        return np.empty((0, 3), np.int64)
    looked_up = bits[:, :1] if queries is None else queries
    if method == "windows" or (method == "auto" and have_faiss and len(bits) > EXACT_UP_TO):
        return _by_windows(bits, looked_up, max_distance)
    if have_faiss:
        return _exact_with_faiss(bits, looked_up, max_distance)
    return close_pairs(bits, looked_up, max_distance)


def _exact_with_faiss(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    import faiss

    index = faiss.IndexBinaryFlat(BITS)
    index.add(_as_bytes(bits))
    return _ordered(_search(index, _as_bytes(queries), len(bits), max_distance))


def _by_windows(bits: Bits, queries: Bits, max_distance: int) -> NDArray[np.int64]:
    import faiss

    order = np.random.default_rng(_MIXING_SEED).permutation(BITS)
    entries, asked = _mixed(_as_bytes(bits), order), _mixed(_as_bytes(queries), order)
    found = []
    # One window at a time: ten tables at once would take ten times the memory.
    for window in range(_WINDOWS):
        index = faiss.IndexBinaryMultiHash(BITS, 1, 8 * _WINDOW_BYTES)
        index.nflip = _FLIPS
        # The index hashes a code's first bits, so the codes are turned to put the window there.
        turn = -window * _WINDOW_BYTES
        index.add(np.roll(entries, turn, axis=1))
        found.append(_search(index, np.roll(asked, turn, axis=1), len(bits), max_distance))
    return _ordered(np.concatenate(found))


def _search(
    index: Any, queries: NDArray[np.uint8], n_images: int, max_distance: int
) -> NDArray[np.int64]:
    """Rows ``(query image, entry image, distance)``, both ways round and with repeats."""
    # faiss returns what is nearer than its radius, hence one more.
    limits, distances, entries = index.range_search(queries, max_distance + 1)
    asked = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    per_query, per_entry = len(queries) // n_images, index.ntotal // n_images
    rows = np.stack([asked // per_query, entries // per_entry, distances.astype(np.int64)], axis=1)
    return np.asarray(rows[rows[:, 0] != rows[:, 1]])


def _ordered(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each pair once, smaller index first, at its least distance, sorted."""
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
    for start in range(0, len(codes), _ADD_AT_ONCE):
        part = np.unpackbits(codes[start : start + _ADD_AT_ONCE], axis=1)
        # take is ten times as fast as part[:, order] here.
        mixed[start : start + _ADD_AT_ONCE] = np.packbits(np.take(part, order, axis=1), axis=1)
    return mixed
