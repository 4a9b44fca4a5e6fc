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
    """Find all pairs of near-duplicates among the images, sorted by index."""
    if not images:
        return []
    contrast = ContrastMatcher(lambda i: (images[i].head, images[i].whole))
    exact = _equal_files(images)
    duplicates = [NearDuplicate(i, j, exact=True, distance=0, agreement=1.0) for i, j in exact]
    proposed = propose_pairs(
        np.stack([image.head_bits for image in images]),
        np.stack([image.whole_bits for image in images]),
        whole_queries=np.stack([image.zoom_bits for image in images]),
    )
    for pair in proposed:
        i, j = pair.first, pair.second
        if (i, j) not in exact:
            agreement = confirm(contrast, pair, images[i].record, images[j].record)
            if agreement is not None:
                duplicates.append(NearDuplicate(i, j, False, pair.distance, agreement))
    return sorted(duplicates, key=lambda pair: (pair.first, pair.second))


def duplicate_groups(count: int, pairs: Sequence[NearDuplicate]) -> NDArray[np.int64]:
    """Return the groups of images connected by near-duplicates; ``int64 [count]``."""
    return connected_groups(count, [(pair.first, pair.second) for pair in pairs])


def _equal_files(images: Sequence[ImageSummary]) -> set[tuple[int, int]]:
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_digest[image.sha256].append(index)
    return {pair for same in by_digest.values() for pair in combinations(same, 2)}
