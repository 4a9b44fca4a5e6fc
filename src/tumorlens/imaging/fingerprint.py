"""Fingerprints that survive resizing, recompression, contrast, flips and quarter turns.

Public collections of scans hold the same slice many times: recompressed, rescaled, mirrored,
turned upside down, brightened. A fingerprint says which images are the same slice, so that no
split puts one copy into training and another into the test.

The hash is a difference hash (dHash) of 16×16 bits, taken of the head's box instead of the
picture's, so that a wider border does not change it. All eight flips and quarter turns of an
image are hashed, and two images are compared in the pose that fits best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.decode import to_grey
from tumorlens.imaging.image import Image

BITS = 256
POSES = 8
DEFAULT_MAX_DISTANCE = 32
"""Copies of one slice differ in at most about 25 of 256 bits, strangers in 40 or more."""

_SIDE = 16
_WORK_SIDE = 160  # longest side at which the head is looked for, so that resizing changes little
_SAMPLE_SIDE = 64
_BOX_DEVIATIONS = 1.8  # half the box, in standard deviations of the head's outline; 2 = an ellipse
_FLAT = 0.02  # a step below this part of the range is noise, and hashes as "not brighter"
_CHUNK = 1024


@dataclass(frozen=True)
class Fingerprint:
    """What identifies one image.

    Attributes:
        sha256: hex digest of the file's bytes (of the pixels where no bytes are known).
        bits: ``uint64 [8, 4]``, 256 bits for each of eight poses; row 0 is the image as it is.
    """

    sha256: str
    bits: NDArray[np.uint64]


def fingerprint(image: Image | NDArray[np.generic], raw: bytes | None = None) -> Fingerprint:
    """Fingerprint one image.

    Args:
        image: a decoded image, or pixels ``[H, W]`` or ``[H, W, 3]`` RGB of any numeric dtype and
            range. A blank image gives all-zero bits.
        raw: the file's bytes, for an exact hash that other tools can check.
    """
    pixels = image.pixels if isinstance(image, Image) else np.asarray(image)
    digest = hashlib.sha256(raw) if raw is not None else _pixel_digest(pixels)
    sample = head_sample(pixels)
    bits = np.stack([_difference_hash(pose) for pose in poses(sample)])
    return Fingerprint(digest.hexdigest(), bits)


def distance(a: Fingerprint, b: Fingerprint) -> int:
    """Return in how many of 256 bits two images differ, in the pose that fits best (0..256).

    Either image is turned to fit the other and the better of both counts: a turned image is
    hashed along its other axis, so the two directions may differ by a few bits.
    """
    differing = np.concatenate([a.bits[0] ^ b.bits, b.bits[0] ^ a.bits])
    counts = np.unpackbits(differing.view(np.uint8), axis=1).sum(axis=1)
    return int(counts.min())


def near_duplicate_groups(
    fingerprints: Sequence[Fingerprint], max_distance: int = DEFAULT_MAX_DISTANCE
) -> NDArray[np.int64]:
    """Give every image the number of its group of near-duplicates.

    Two images within ``max_distance`` (or with equal bytes) share a group, and so do two images
    that a chain of such pairs connects.

    Returns:
        ``int64 [N]``; a group is named by the smallest index in it.
    """
    links = [(int(i), int(j)) for i, j, _ in near_pairs(fingerprints, max_distance)]
    return connected_groups(len(fingerprints), links)


def near_pairs(
    fingerprints: Sequence[Fingerprint], max_distance: int = DEFAULT_MAX_DISTANCE
) -> NDArray[np.int64]:
    """Find all pairs within ``max_distance`` by comparing each image with each other.

    Exact, and quick enough for some ten thousand images (6,000 take a few seconds).

    Returns:
        ``int64 [P, 3]``, rows ``(i, j, distance)`` with ``i < j``, sorted.
    """
    if len(fingerprints) < 2:
        return np.empty((0, 3), np.int64)
    signs = _signs(np.stack([f.bits for f in fingerprints]))
    found = list(_pairs_by_chunk(signs, max_distance))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def connected_groups(count: int, links: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Name the connected component of each of ``count`` items by its smallest index."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for left, right in links:
        a, b = root(left), root(right)
        parent[max(a, b)] = min(a, b)
    return np.array([root(item) for item in range(count)], np.int64)


def poses(picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the eight flips and quarter turns of ``[S, S]``, the picture itself first."""
    both = (picture, picture.T)
    return [
        np.ascontiguousarray(p)
        for base in both
        for p in (base, base[::-1], base[:, ::-1], base[::-1, ::-1])
    ]


def head_sample(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Cut out the head's box and sample it to ``float32 [64, 64]`` in 0..255.

    The box comes from the moments of the head's convex outline, not from its extremes: they move
    little when a margin is cut off or when JPEG noise adds a speck.
    """
    small = _working_copy(pixels)
    outline = _outline(small)
    left, top, right, bottom = _moment_box(outline)
    step_x = max(right - left, 4.0) / _SAMPLE_SIDE
    step_y = max(bottom - top, 4.0) / _SAMPLE_SIDE
    to_source = np.array(
        [[step_x, 0, left + step_x / 2], [0, step_y, top + step_y / 2]], np.float32
    )
    sample: NDArray[np.float32] = cv2.warpAffine(
        small.astype(np.float32),
        to_source,
        (_SAMPLE_SIDE, _SAMPLE_SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    return sample


def _working_copy(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey ``uint8``, longest side 160, slightly blurred, darkest 0 and brightest 255."""
    grey = to_grey(pixels.astype(np.float32))
    grey = np.nan_to_num(grey, nan=0.0, posinf=0.0, neginf=0.0)
    height, width = grey.shape
    scale = _WORK_SIDE / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.GaussianBlur(cv2.resize(grey, size, interpolation=shrink), (0, 0), 1.5)
    low, high = float(small.min()), float(small.max())
    # A range this small beside the level is rounding of a blank image, not a picture.
    if high - low <= 1e-5 * max(abs(low), abs(high), 1e-30):
        return np.zeros(small.shape, np.uint8)
    return np.asarray((small - low) * (255.0 / (high - low)) + 0.5).astype(np.uint8)


def _outline(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mask of the convex hull around everything of some size that stands out of the background."""
    level, _ = cv2.threshold(small, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    floor = float(np.percentile(small, 1))
    mask = (small > floor + 0.7 * (level - floor)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.ones(small.shape, np.uint8)
    areas = [cv2.contourArea(c) for c in contours]
    # A scale bar or a letter in the corner is small beside the head.
    kept = [c for c, area in zip(contours, areas, strict=True) if area >= 0.1 * max(areas)]
    hull = np.zeros(small.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(kept)), [1])
    return hull


def _moment_box(mask: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    left, right = _span(mask.sum(axis=0, dtype=np.float64))
    top, bottom = _span(mask.sum(axis=1, dtype=np.float64))
    return left, top, right, bottom


def _span(mass: NDArray[np.float64]) -> tuple[float, float]:
    share = mass / mass.sum()
    at = np.arange(len(share))
    centre = float((share * at).sum())
    half = _BOX_DEVIATIONS * float(np.sqrt((share * (at - centre) ** 2).sum()))
    return centre - half, centre + half


def _difference_hash(sample: NDArray[np.float32]) -> NDArray[np.uint64]:
    """256 bits, ``uint64 [4]``: is the cell to the right brighter than this one?"""
    cells = cv2.resize(sample, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    dark, bright = np.percentile(cells, (5, 95))
    brighter = cells[:, 1:] > cells[:, :-1] + _FLAT * (bright - dark)
    return np.packbits(brighter.ravel()).view(np.uint64)


def _pixel_digest(pixels: NDArray[np.generic]) -> hashlib._Hash:
    digest = hashlib.sha256(f"{pixels.dtype.str}{pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest


def _signs(bits: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Bits ``uint64 [N, 8, 4]`` as ±1 ``float32 [N, 8, 256]``, so that BLAS counts them."""
    unpacked = np.unpackbits(bits.view(np.uint8), axis=-1)
    return unpacked.astype(np.float32) * 2 - 1


def _pairs_by_chunk(signs: NDArray[np.float32], max_distance: int) -> Iterator[NDArray[np.int64]]:
    """Distance = (256 - dot product of the signs) / 2; small integers are exact in float32."""
    count = len(signs)
    for row in range(0, count, _CHUNK):
        upright = signs[row : row + _CHUNK, 0]
        for column in range(row, count, _CHUNK):
            block = signs[column : column + _CHUNK]
            best = upright @ block[:, 0].T
            for pose in range(1, POSES):
                np.maximum(best, upright @ block[:, pose].T, out=best)
                np.maximum(best, signs[row : row + _CHUNK, pose] @ block[:, 0].T, out=best)
            apart = ((BITS - best) / 2).astype(np.int64)
            i, j = np.nonzero(apart <= max_distance)
            ordered = i + row < j + column
            i, j = i[ordered], j[ordered]
            yield np.stack([i + row, j + column, apart[i, j]], axis=1)
