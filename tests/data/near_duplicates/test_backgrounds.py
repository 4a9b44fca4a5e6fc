"""Copies on another background, whose head is located elsewhere: the whole image tells."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.drawn_sets import save
from tumorlens.data import grouping
from tumorlens.data.audit.audit import audit
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates import search
from tumorlens.data.near_duplicates.fingerprint_cache import FingerprintCache
from tumorlens.data.near_duplicates.search import Bits, Proposal, propose_pairs
from tumorlens.imaging.fingerprint import BITS, distance, fingerprint
from tumorlens.imaging.phantom import draw_phantom

Grey = NDArray[np.uint8]
Plane = Literal["axial", "coronal", "sagittal"]
# Axial phantoms differ too little from each other to stand for different persons.
PLANES: tuple[Plane, ...] = ("coronal", "sagittal")


def noisy(picture: Grey, top: int) -> Grey:
    """Air of uniform noise from 0 to ``top``, of its own for each picture."""
    rng = np.random.default_rng(int(picture.sum()))
    return np.asarray(np.maximum(picture, rng.integers(0, top + 1, picture.shape)), np.uint8)


def lighter(picture: Grey) -> Grey:
    return np.asarray(np.maximum(picture, 60), np.uint8)


def jpeg_noisy(picture: Grey) -> Grey:
    """Blocks and ringing of a hard JPEG compression around noise."""
    done, data = cv2.imencode(".jpg", noisy(picture, 100), [cv2.IMWRITE_JPEG_QUALITY, 20])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def rising(picture: Grey) -> Grey:
    """Air that rises from black to a quarter of white, as beside a surface coil."""
    return np.asarray(np.maximum(picture, np.linspace(0, 60, picture.shape[1])), np.uint8)


def barred(picture: Grey) -> Grey:
    """A colour scale at the right edge."""
    with_bar = picture.copy()
    with_bar[50:200, 244:] = 220
    return with_bar


# Seeds and planes whose head's box moves beyond the reach of the head's hash.
MOVED: dict[str, tuple[Callable[[Grey], Grey], int, Plane]] = {
    "noise": (lambda p: noisy(p, 125), 1, "coronal"),
    "noise, then JPEG": (jpeg_noisy, 1, "coronal"),
    "lighter": (lighter, 0, "coronal"),
    "rising": (rising, 2, "axial"),
    "bar": (barred, 0, "sagittal"),
}


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "cache.npz")


def drawn(root: Path, name: str, picture: Grey, source: str) -> Record:
    (root / source).mkdir(parents=True, exist_ok=True)
    save(root / source / f"{name}.png", picture)
    return Record(f"{source}:{name}", root / source / f"{name}.png", source)


def head(seed: int, plane: Plane) -> Grey:
    return draw_phantom(seed, lesion=seed % 2 == 0, plane=plane).image


def by_heads_alone(heads: Bits, wholes: Bits) -> list[Proposal]:
    return [
        pair._replace(whole=BITS)
        for pair in propose_pairs(heads, wholes)
        if pair.head <= search.HEAD_PROPOSAL_DISTANCE
    ]


@pytest.mark.parametrize(("alter", "seed", "plane"), MOVED.values(), ids=MOVED.keys())
def test_a_copy_on_another_background_is_grouped(
    tmp_path: Path,
    cache: FingerprintCache,
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[Grey], Grey],
    seed: int,
    plane: Plane,
) -> None:
    clean = head(seed, plane)
    away = distance(fingerprint(clean), fingerprint(alter(clean)))
    assert away > search.HEAD_PROPOSAL_DISTANCE
    records = [drawn(tmp_path, f"{n}", head(seed + n, plane), "clean") for n in range(3)]
    records.append(drawn(tmp_path, "copy", np.fliplr(alter(clean)), "altered"))
    assert [record.group for record in group_records(records, cache)] == [0, 1, 2, 0]
    monkeypatch.setattr(grouping, "propose_pairs", by_heads_alone)
    assert [record.group for record in group_records(records, cache)] == [0, 1, 2, 3]


def test_faint_noise_in_the_air_changes_nothing(tmp_path: Path, cache: FingerprintCache) -> None:
    records = [
        drawn(tmp_path, f"{n}-{plane}", picture, source)
        for source, alter in (("clean", lambda p: p), ("noisy", lambda p: noisy(p, 20)))
        for n, plane in product(range(4), PLANES)
        for picture in [alter(head(n, plane))]
    ]
    groups = [record.group for record in group_records(records, cache)]
    assert groups == [*range(8), *range(8)]


@pytest.mark.parametrize("alter", [lighter, jpeg_noisy, rising, barred])
def test_different_heads_on_one_background_stay_apart(
    tmp_path: Path, cache: FingerprintCache, alter: Callable[[Grey], Grey]
) -> None:
    records = [
        drawn(tmp_path, f"{n}-{plane}", alter(head(n, plane)), f"s{n}")
        for n, plane in product(range(8), PLANES)
    ]
    groups = [record.group for record in group_records(records, cache)]
    assert groups == list(range(16))


def cap(seed: int, size: int = 128) -> Grey:
    """A slice near the vertex: a bright rim around next to nothing."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size, size), np.float32)
    centre, axes = (size // 2, size // 2), (28, 34)
    cv2.ellipse(picture, centre, axes, 0, 0, 360, [90.0], -1)
    inside = picture > 0
    cells = rng.normal(0, 1, (size // 8, size // 8)).astype(np.float32)
    picture += 8 * inside * cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)
    cv2.ellipse(picture, centre, axes, 0, 0, 360, [230.0], 2)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1), 0, 255).astype(np.uint8)


def test_slices_near_the_vertex_are_close_by_hash_and_stay_apart(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    prints = [fingerprint(cap(seed)) for seed in range(6)]
    proposed = propose_pairs(
        np.stack([found.bits for found in prints]), np.stack([found.whole_bits for found in prints])
    )
    assert sum(pair.head <= 48 and pair.whole <= 12 for pair in proposed) >= 10
    records = [drawn(tmp_path, f"{seed}", cap(seed), f"s{seed}") for seed in range(6)]
    records.append(drawn(tmp_path, "copy", noisy(cap(4), 20), "copy"))
    groups = [record.group for record in group_records(records, cache)]
    assert groups == [0, 1, 2, 3, 4, 5, 4]


def test_the_audit_against_another_set_finds_copies_on_another_background(tmp_path: Path) -> None:
    train, external = tmp_path / "train" / "yes", tmp_path / "external" / "yes"
    train.mkdir(parents=True)
    external.mkdir(parents=True)
    for number, (alter, seed, plane) in enumerate(MOVED.values()):
        save(train / f"{seed}-{plane}.png", head(seed, plane))
        save(external / f"{number}.png", alter(head(seed, plane)))
    save(external / "new.png", lighter(head(9, "axial")))
    found = audit(external.parent, [train.parent], shortcuts=False)
    (overlap,) = [finding for finding in found.findings if finding.kind == "overlap"]
    assert overlap.severity == "error"
    assert found.overlap["external", "train"] == len(MOVED)
    assert not any("new.png" in item for item in overlap.items)


def test_persons_of_one_source_are_bound_by_the_same_image_alone(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    """A registered brain of another person agrees by up to 0.916 of its interior."""
    one, other = head(0, "axial"), head(1, "axial")
    mixed = np.asarray(cv2.addWeighted(one, 0.3, other, 0.7, 0), np.uint8)
    records = [drawn(tmp_path, f"{n}", p, "s") for n, p in enumerate((one, mixed, lighter(one)))]
    assert [r.group for r in group_records(records, cache)] == [0, 0, 0]
    named = [Record(r.key, r.path, "s", patient=r.key) for r in records]
    assert [r.group for r in group_records(named, cache)] == [0, 1, 0]
    apart = [Record(r.key, r.path, r.key, patient=r.key) for r in records]
    assert [r.group for r in group_records(apart, cache)] == [0, 0, 0]
