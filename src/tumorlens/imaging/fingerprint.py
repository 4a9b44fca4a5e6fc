"""Perceptual hashes, robust to resizing, recompression, contrast, flips and quarter turns.

Public data sets contain the same slice many times: recompressed, resized, flipped, rotated,
brightened. Fingerprints find these near-duplicates, so that no split puts one into training and
another into the test part.

The hash is a difference hash (dHash) of 16×16 bits, taken twice: of the head's box, so that a wider
border does not change it, and of the whole image, so that noise or a lighter background, which
moves the box, does not either. All eight flips and quarter turns of an image are hashed, and two
images are compared in the best-matching orientation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.image import Image
from tumorlens.imaging.thumbnails import poses, thumbnails

BITS = 256
POSES = 8
DEFAULT_MAX_DISTANCE = 32
"""Near-duplicates differ in at most about 25 of 256 bits, unrelated images in 40 or more."""

WHOLE_MAX_DISTANCE = 12
"""The same for whole images, where the empty background makes unrelated images more similar."""

_SIDE = 16
# A step below this fraction of the range is noise, and hashes as "not brighter". Whole images
# show much air, whose noise must not set bits: at 0.02 uneven air of 40 grey levels of 255 moved
# every second copy beyond reach, at 0.08 one in nine.
_FLAT = 0.02
WHOLE_FLAT = 0.08
"""The same fraction for `difference_hash` of a whole image."""

_CHUNK = 1024


@dataclass(frozen=True)
class Fingerprint:
    """Hashes of one image.

    Attributes:
        sha256: hex digest of the file's bytes; empty if there is no file.
        bits: ``uint64 [8, 4]``, 256 bits of the head's box in each of eight orientations; row 0
            is the unchanged image.
        whole_bits: the same for the whole image, independent of locating the head.
    """

    sha256: str
    bits: NDArray[np.uint64]
    whole_bits: NDArray[np.uint64]


def fingerprint(image: Image | NDArray[np.generic], sha256: str = "") -> Fingerprint:
    """Fingerprint one image.

    Args:
        image: a decoded image, or pixels ``[H, W]`` or ``[H, W, 3]`` RGB of any numeric dtype and
            range. A blank image gives all-zero bits.
        sha256: hex digest of the file's bytes, if there is a file.
    """
    pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    head, whole = thumbnails(pixels, zooms=(1.0,))
    return Fingerprint(sha256, pose_bits(head), pose_bits(whole[0], WHOLE_FLAT))


def distance(a: Fingerprint, b: Fingerprint) -> int:
    """Return the Hamming distance of two images in the best-matching orientation (0..256).

    The smaller of both directions: a rotated image is hashed along its other axis, so that the
    directions may differ by a few bits.
    """
    differing = np.concatenate([a.bits[0] ^ b.bits, b.bits[0] ^ a.bits])
    counts = np.unpackbits(differing.view(np.uint8), axis=1).sum(axis=1)
    return int(counts.min())


def close_pairs(
    bits: NDArray[np.uint64], queries: NDArray[np.uint64], max_distance: int
) -> NDArray[np.int64]:
    """Compare every query with every entry (exhaustive; practical up to about 10,000 images).

    Args:
        bits: ``uint64 [N, P, 4]``, each image in ``P`` orientations.
        queries: ``uint64 [N, Q, 4]``, ``Q`` query hashes of each image.
        max_distance: for the best query and orientation, in either direction.

    Returns:
        ``int64 [M, 3]``, rows ``(i, j, distance)`` with ``i < j``, sorted.
    """
    pairs = np.concatenate(list(_pairs_by_chunk(_signs(queries), _signs(bits), max_distance)))
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


class Components:
    """Connected components of items that are joined one pair at a time (union–find).

    Instead of scipy.sparse.csgraph, which is not in the base installation.
    """

    def __init__(self, parents: Iterable[int]) -> None:
        """Start with each item's parent: itself, or an earlier item of its component."""
        self._parents = list(parents)

    def root(self, item: int) -> int:
        """Return the smallest index of the item's component."""
        parents = self._parents
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def join(self, one: int, other: int) -> None:
        """Make the components of two items one."""
        a, b = self.root(one), self.root(other)
        self._parents[max(a, b)] = min(a, b)

    def labels(self) -> NDArray[np.int64]:
        """Return each item's `root`; ``int64 [N]``."""
        return np.array([self.root(item) for item in range(len(self._parents))], np.int64)


def connected_groups(count: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Return for each of ``count`` items the smallest index of its connected component."""
    components = Components(range(count))
    for left, right in links:
        components.join(left, right)
    return components.labels()


def pose_bits(thumbnail: NDArray[np.float32], flat: float = _FLAT) -> NDArray[np.uint64]:
    """Hash a thumbnail ``[64, 64]`` in its eight poses: ``uint64 [8, 4]``, row 0 as it is."""
    return np.stack([difference_hash(pose, flat) for pose in poses(thumbnail)])


def difference_hash(thumbnail: NDArray[np.float32], flat: float = _FLAT) -> NDArray[np.uint64]:
    """256 bits, ``uint64 [4]``: is the cell to the right brighter than this one?

    ``flat``: the largest step that is noise, as a fraction of the range of 5 to 95 % of the cells.
    """
    cells = cv2.resize(thumbnail, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    dark, bright = np.percentile(cells, (5, 95))
    brighter = cells[:, 1:] > cells[:, :-1] + flat * (bright - dark)
    return np.packbits(brighter.ravel()).view(np.uint64)


def _signs(bits: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Bits ``uint64 [N, 8, 4]`` as ±1 ``float32 [N, 8, 256]``, so that BLAS counts them."""
    unpacked = np.unpackbits(bits.view(np.uint8), axis=-1)
    return unpacked.astype(np.float32) * 2 - 1


def _pairs_by_chunk(
    queries: NDArray[np.float32], entries: NDArray[np.float32], max_distance: int
) -> Iterator[NDArray[np.int64]]:
    """Distance = (256 - dot product of the signs) / 2; small integers are exact in float32."""
    for row in range(0, len(entries), _CHUNK):
        rows = slice(row, row + _CHUNK)
        for column in range(row, len(entries), _CHUNK):
            columns = slice(column, column + _CHUNK)
            best = _best_product(queries[rows], entries[columns])
            np.maximum(best, _best_product(queries[columns], entries[rows]).T, out=best)
            distances = ((BITS - best) / 2).astype(np.int64)
            i, j = np.nonzero(distances <= max_distance)
            ordered = i + row < j + column
            i, j = i[ordered], j[ordered]
            yield np.stack([i + row, j + column, distances[i, j]], axis=1)


def _best_product(
    queries: NDArray[np.float32], entries: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the largest dot products ``[R, C]`` of ``[R, Q, 256]`` and ``[C, P, 256]``."""
    best = np.full((len(queries), len(entries)), -np.inf, np.float32)
    for query in range(queries.shape[1]):
        for pose in range(entries.shape[1]):
            np.maximum(best, queries[:, query] @ entries[:, pose].T, out=best)
    return best
