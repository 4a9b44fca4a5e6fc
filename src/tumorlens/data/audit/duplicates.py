"""Near-duplicates in an audited set: proposed by two hashes, confirmed by local contrast.

One hash is of the head's box, independent of the border. The other is of the whole image, and is
also searched with the image's central parts, to find versions with cropped margins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tumorlens.data.audit.image_summary import ImageSummary
from tumorlens.data.near_duplicates.confirmation import confirm
from tumorlens.data.near_duplicates.contrast import ContrastMatcher
from tumorlens.data.near_duplicates.search import propose_pairs
from tumorlens.imaging.fingerprint import connected_groups

MOST_COPIES = 30
"""Copies of one file up to which every pair of them is told."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two images of the same slice.

    Attributes:
        first: index of one image.
        second: index of the other; larger.
        exact: whether the files are identical.
        distance: Hamming distance of the 256-bit hashes, in the best orientation.
        agreement: correlation of local contrast in the best orientation, up to 1.
    """

    first: int
    second: int
    exact: bool
    distance: int
    agreement: float


def find_near_duplicates(images: Sequence[ImageSummary]) -> list[NearDuplicate]:
    """Find all pairs of near-duplicates among the images, sorted by index.

    Of a file with more than `MOST_COPIES` copies the first stands for all: each copy makes a pair
    with it, and only it is compared with other files. All pairs of 10,000 copies would be
    50 million.
    """
    if not images:
        return []
    contrast = ContrastMatcher(lambda i: (images[i].head, images[i].whole))
    exact, copies = _equal_files(images)
    duplicates = [NearDuplicate(i, j, exact=True, distance=0, agreement=1.0) for i, j in exact]
    asked = [index for index in range(len(images)) if index not in copies]
    proposed = propose_pairs(
        np.stack([images[index].head_bits for index in asked]),
        np.stack([images[index].whole_bits for index in asked]),
        whole_queries=np.stack([images[index].zoom_bits for index in asked]),
    )
    for found in proposed:
        i, j = asked[found.first], asked[found.second]
        if (i, j) not in exact:
            pair = found._replace(first=i, second=j)
            agreement = confirm(contrast, pair, images[i].record, images[j].record)
            if agreement is not None:
                duplicates.append(NearDuplicate(i, j, False, pair.distance, agreement))
    return sorted(duplicates, key=lambda pair: (pair.first, pair.second))


def duplicate_groups(count: int, pairs: Sequence[NearDuplicate]) -> NDArray[np.int64]:
    """Return the groups of images connected by near-duplicates; ``int64 [count]``."""
    return connected_groups(count, [(pair.first, pair.second) for pair in pairs])


def _equal_files(images: Sequence[ImageSummary]) -> tuple[set[tuple[int, int]], set[int]]:
    """Return the pairs of identical files, and the copies that a first one stands for."""
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_digest[image.sha256].append(index)
    pairs: set[tuple[int, int]] = set()
    copies: set[int] = set()
    for same in by_digest.values():
        if len(same) <= MOST_COPIES + 1:
            pairs.update(combinations(same, 2))
        else:
            pairs.update((same[0], copy) for copy in same[1:])
            copies.update(same[1:])
    return pairs, copies
