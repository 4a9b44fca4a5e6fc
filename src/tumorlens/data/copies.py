"""Which images are copies of each other: proposed by hashes, confirmed on pixels.

Two hashes propose: one of the head's box, which ignores the border, and one of the whole picture,
looked up also by its middle parts, which finds copies with a margin cut off. A proposal counts when
the heads, in the pose that fits best, agree in their local contrast, which is blind to brightness,
gamma and windowing. Where the head's box was found differently in the two, nearly equal pictures
(`FRAME_MAX_DISTANCE`) are compared as they are, and with each other's middle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.data.looks import ZOOMS, Look
from tumorlens.data.neighbours import Method, find_pairs
from tumorlens.imaging.fingerprint import BITS, FRAME_MAX_DISTANCE, connected_groups
from tumorlens.imaging.headbox import poses

Samples = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Of one image: the head's box and the whole picture, each ``[64, 64]``."""

HEAD_MAX_DISTANCE = 48
MIDDLE_MAX_DISTANCE = 32
# Of pairs 33 to 48 bits apart, looked at one by one: copies correlate by 0.80 and more as they lie,
# cut copies by 0.93 and more after an affine fit; strangers stay below 0.75 and 0.90.
CORRELATION = 0.80
FITTED_CORRELATION = 0.93
_NEIGHBOURHOOD = 5.0  # deviation of the Gaussian that local contrast is measured in, in pixels
_NOISE = 4.0  # grey levels of 255; keeps flat ground flat
_FIT_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
_FIT_BLUR = 5  # size of the Gaussian before the gradients, in pixels
_WORTH_FITTING = 0.3  # cut copies correlate by more than this as they lie
_LARGEST_FIT = 0.25  # a fit that stretches or shears more than this is no copy


@dataclass(frozen=True)
class Copy:
    """Two images that show one slice.

    Attributes:
        first: index of the one.
        second: index of the other; larger.
        exact: whether the files are equal byte by byte.
        distance: bits of 256 in which the hashes differ, at best.
        agreement: correlation of local contrast in the best pose, up to 1.
    """

    first: int
    second: int
    exact: bool
    distance: int
    agreement: float


def find_copies(looks: Sequence[Look], *, method: Method = "auto") -> list[Copy]:
    """Find all pairs of copies, sorted by index.

    Args:
        looks: the images; their records' order is the order of the indices.
        method: how hashes are searched, see `neighbours.find_pairs`.
    """
    contrast = ContrastOf(lambda i: (looks[i].head, looks[i].frame))
    copies = [
        Copy(i, j, exact=True, distance=0, agreement=1.0) for i, j in sorted(_equal_files(looks))
    ]
    known = {(copy.first, copy.second) for copy in copies}
    for (i, j), distance in sorted(_proposed(looks, method).items()):
        if (i, j) not in known:
            agreement = contrast.agreement(i, j, whole=distance <= FRAME_MAX_DISTANCE)
            if agreement is not None:
                copies.append(Copy(i, j, False, distance, agreement))
    return sorted(copies, key=lambda copy: (copy.first, copy.second))


def copy_groups(count: int, copies: Sequence[Copy]) -> NDArray[np.int64]:
    """Number the groups of images that chains of copies connect; ``int64 [count]``."""
    return connected_groups(count, [(copy.first, copy.second) for copy in copies])


def _equal_files(looks: Sequence[Look]) -> set[tuple[int, int]]:
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        by_digest[look.sha256].append(index)
    return {pair for same in by_digest.values() for pair in combinations(same, 2)}


def _proposed(looks: Sequence[Look], method: Method) -> dict[tuple[int, int], int]:
    """Pairs that one of the hashes calls close, with the smaller distance."""
    if not looks:
        return {}
    head = np.stack([look.head_bits for look in looks])
    frame = np.stack([look.frame_bits for look in looks])
    zooms = np.stack([look.zoom_bits for look in looks])
    nearest: dict[tuple[int, int], int] = {}
    for pairs in (
        find_pairs(head, HEAD_MAX_DISTANCE, method=method),
        find_pairs(frame, MIDDLE_MAX_DISTANCE, queries=zooms, method=method),
    ):
        for i, j, distance in pairs.tolist():
            nearest[i, j] = min(distance, nearest.get((i, j), BITS))
    return nearest


class ContrastOf:
    """Local contrast of images, made when first needed and kept for the next pair."""

    def __init__(self, samples: Callable[[int], Samples]) -> None:
        """Compare images whose samples, by index, ``samples`` returns."""
        self._head = lru_cache(maxsize=4096)(lambda i: local_contrast(samples(i)[0]))
        self._middles = lru_cache(maxsize=1024)(
            lambda i: [local_contrast(middle(samples(i)[1], zoom)) for zoom in ZOOMS]
        )

    def agreement(self, i: int, j: int, *, whole: bool) -> float | None:
        """Correlation of two images if they are copies, else None.

        ``whole``: the pictures may be compared as they are when the heads do not agree.
        """
        plain, fitted = _correlate(self._head(i), self._head(j))
        if whole and plain < CORRELATION:
            plain = max(plain, self._of_pictures(i, j))
        if plain >= CORRELATION or fitted >= FITTED_CORRELATION:
            return round(max(plain, fitted), 4)
        return None

    def _of_pictures(self, i: int, j: int) -> float:
        """Correlation of one picture with the other, or with the other's middle."""
        one, other = self._middles(i), self._middles(j)
        middles = [(part, other[0]) for part in one] + [(part, one[0]) for part in other[1:]]
        return max(_best_pose(part, whole)[0] for part, whole in middles)


def middle(frame: NDArray[np.uint8], zoom: float) -> NDArray[np.uint8]:
    """Stretch the middle of a picture's sample, ``zoom`` of its side, to the whole sample."""
    side = frame.shape[0]
    edge = (1 - zoom) / 2 * side + zoom / 2 - 0.5
    to_source = np.array([[zoom, 0, edge], [0, zoom, edge]], np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    stretched = cv2.warpAffine(
        frame, to_source, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(stretched, np.uint8)


def local_contrast(sample: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Each pixel's step from its neighbourhood's mean, in the neighbourhood's deviations.

    Returns ``float32 [64, 64]`` of mean 0 and length 1, so that a dot product is a correlation.
    """
    grey = sample.astype(np.float32)
    step = grey - cv2.GaussianBlur(grey, (0, 0), _NEIGHBOURHOOD)
    deviation = np.sqrt(cv2.GaussianBlur(step * step, (0, 0), _NEIGHBOURHOOD))
    contrast = step / (deviation + _NOISE)
    contrast -= contrast.mean()
    return np.asarray(contrast / max(float(np.linalg.norm(contrast)), 1e-6), np.float32)


def _correlate(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Correlation in the best pose as the pictures lie, and after an affine fit (0: no fit)."""
    plain, turned = _best_pose(one, other)
    if _WORTH_FITTING <= plain < CORRELATION:
        return plain, _fitted(one, turned)
    return plain, 0.0


def _best_pose(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    turned = poses(other)
    plain = [float(np.vdot(one, pose)) for pose in turned]
    best = int(np.argmax(plain))
    return plain[best], turned[best]


def _fitted(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation after Evangelidis and Psarakis's ECC alignment (PAMI 2008)."""
    warp = np.eye(2, 3, dtype=np.float32)
    try:
        # The arguments after the steps: no mask, and a 5-pixel Gaussian before the gradients.
        everywhere = np.full(one.shape, 255, np.uint8)
        value, fit = cv2.findTransformECC(
            one, other, warp, cv2.MOTION_AFFINE, _FIT_STEPS, everywhere, _FIT_BLUR
        )
    except cv2.error:  # the alignment did not converge: nothing alike to hold on to
        return 0.0
    stretched = np.abs(np.asarray(fit)[:, :2] - np.eye(2)).max()
    return float(value) if stretched <= _LARGEST_FIT else 0.0
