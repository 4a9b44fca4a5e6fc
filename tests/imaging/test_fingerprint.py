from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tumorlens.imaging.decode import decode
from tumorlens.imaging.fingerprint import (
    DEFAULT_MAX_DISTANCE,
    Fingerprint,
    close_pairs,
    connected_groups,
    distance,
    fingerprint,
)

Grey = NDArray[np.uint8]


def head(seed: int) -> Grey:
    """A grey ellipse with a bright rim and blobs that differ by seed, on a dark ground."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((200, 180), np.uint8)
    cv2.ellipse(picture, (90, 100), (68, 84), 0, 0, 360, 230, -1)
    cv2.ellipse(picture, (90, 100), (60, 76), 0, 0, 360, 110, -1)
    for _ in range(14):
        at = (int(rng.integers(50, 130)), int(rng.integers(50, 150)))
        axes = (int(rng.integers(5, 18)), int(rng.integers(5, 18)))
        cv2.ellipse(picture, at, axes, 30, 0, 360, int(rng.integers(40, 220)), -1)
    return picture


def jpeg(picture: Grey, quality: int) -> Grey:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


COPIES: dict[str, Callable[[Grey], NDArray[np.generic]]] = {
    "mirrored": lambda p: p[:, ::-1],
    "upside down": lambda p: p[::-1],
    "quarter turn": lambda p: np.rot90(p),
    "mirrored quarter turn": lambda p: np.rot90(p[:, ::-1]),
    "half size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "double size": lambda p: cv2.resize(p, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "jpeg 40": lambda p: jpeg(p, 40),
    "wide border": lambda p: cv2.copyMakeBorder(p, 5, 60, 40, 0, cv2.BORDER_CONSTANT),
    "margin cut": lambda p: p[8:-8, 8:-8],
    "darker": lambda p: (p * 0.8).astype(np.uint8),
    "16 bit": lambda p: p.astype(np.uint16) * 200,
    "float with offset": lambda p: p.astype(np.float32) / 7 - 3,
    "colour": lambda p: np.dstack([p, p, p]),
    "a letter in the corner": lambda p: cv2.putText(p.copy(), "R", (3, 16), 0, 0.5, 255, 1),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_near_duplicates_are_close_and_other_images_far(
    seed: int, copy: Callable[[Grey], NDArray[np.generic]]
) -> None:
    original = fingerprint(head(seed))
    altered = fingerprint(np.ascontiguousarray(copy(head(seed))))
    stranger = fingerprint(np.ascontiguousarray(copy(head(seed + 100))))
    assert distance(original, altered) <= 12
    assert distance(original, stranger) > DEFAULT_MAX_DISTANCE


def test_distance_does_not_depend_on_the_order() -> None:
    prints = [fingerprint(head(seed)) for seed in range(4)]
    for a in prints:
        assert distance(a, a) == 0
        for b in prints:
            assert distance(a, b) == distance(b, a)


def test_a_fingerprint_holds_the_hash_of_its_file() -> None:
    assert fingerprint(head(0), "ab").sha256 == "ab"


@pytest.mark.parametrize(
    "blank", [np.zeros((64, 64), np.uint8), np.full((9, 300), 7.5, np.float32)], ids=["0", "7.5"]
)
def test_a_blank_image_hashes_to_zero(blank: NDArray[np.generic]) -> None:
    assert not fingerprint(blank).bits.any()


def of_bits(*rows: int) -> list[Fingerprint]:
    """Fingerprints whose eight poses all hold the lowest ``row`` bits set."""
    made = []
    for ones in rows:
        bits = np.zeros(256, np.uint8)
        bits[:ones] = 1
        poses = np.repeat(np.packbits(bits).view(np.uint64)[None], 8, axis=0)
        made.append(Fingerprint(str(ones), poses, poses))
    return made


def near_pairs(prints: list[Fingerprint], max_distance: int) -> NDArray[np.int64]:
    bits = np.stack([each.bits for each in prints])
    return close_pairs(bits, bits[:, :1], max_distance)


def near_groups(prints: list[Fingerprint], max_distance: int) -> NDArray[np.int64]:
    links = [(i, j) for i, j, _ in near_pairs(prints, max_distance).tolist()]
    return connected_groups(len(prints), links)


def test_groups_are_transitive_and_named_by_the_smallest_index() -> None:
    prints = of_bits(200, 0, 30, 60, 100, 195)
    assert near_groups(prints, 32).tolist() == [0, 1, 1, 1, 4, 0]
    assert near_groups(prints, 29).tolist() == [0, 1, 2, 3, 4, 0]
    assert near_groups(prints, 40).tolist() == [0, 1, 1, 1, 1, 0]
    assert near_groups(of_bits(3), 32).tolist() == [0]
    assert connected_groups(0, []).tolist() == []


def test_pairs_are_complete_across_chunks() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 257, 1500)
    pairs = near_pairs(of_bits(*lengths.tolist()), 1)
    apart = np.abs(lengths[:, None] - lengths[None])
    i, j = np.nonzero(np.triu(apart <= 1, 1))
    assert pairs[:, :2].tolist() == np.stack([i, j], 1).tolist()
    assert pairs[:, 2].tolist() == apart[i, j].tolist()


def test_connected_groups() -> None:
    assert connected_groups(6, [(4, 5), (3, 1), (5, 3)]).tolist() == [0, 1, 2, 1, 1, 1]


@pytest.mark.real
def test_near_duplicates_of_the_public_set_are_separated_by_a_gap(data_root: Path) -> None:
    folder = data_root / "brain_tumor_dataset"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    prints = [fingerprint(decode(p), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    assert len(prints) == 253

    exact = sum(prints[i].sha256 == prints[j].sha256 for i in range(253) for j in range(i + 1, 253))
    assert exact == 29
    wide = near_pairs(prints, 39)
    assert (wide[:, 2] <= 10).sum() == 78
    assert len(wide) == 78, "no pair between the copies and the strangers"
    groups = near_groups(prints, DEFAULT_MAX_DISTANCE)
    assert len(np.unique(groups)) == 199
    assert np.bincount(groups).max() <= 5
