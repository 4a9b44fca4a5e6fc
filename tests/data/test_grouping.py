from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.drawn_sets import draw_head, draw_set, save
from tumorlens.data.grouping import group_records
from tumorlens.data.manifest import Record
from tumorlens.data.near_duplicates.fingerprint_cache import FingerprintCache
from tumorlens.data.near_duplicates.numbering import run_limits
from tumorlens.data.sources import load_source
from tumorlens.data.splits import check_groups, grouped_folds, grouped_split, random_split
from tumorlens.errors import LeakageError, ManifestError
from tumorlens.imaging.fingerprint import Fingerprint


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "cache.npz")


def groups_of(records: list[Record]) -> list[int | None]:
    return [record.group for record in records]


def test_near_duplicates_are_grouped_across_sources(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    one = load_source(draw_set(tmp_path / "one", 2, 2))
    source = cv2.imread(str(one[0].path), cv2.IMREAD_GRAYSCALE)
    assert source is not None
    turned = cv2.resize(np.ascontiguousarray(source[::-1]), None, fx=2, fy=2)
    (tmp_path / "two" / "yes").mkdir(parents=True)
    save(tmp_path / "two" / "yes" / "copy.jpg", turned)
    records = group_records([*one, *load_source(tmp_path / "two")], cache)
    assert groups_of(records) == [0, 1, 2, 3, 0]
    assert all(record.sha256 and len(record.sha256) == 64 for record in records)


def test_patients_and_groups_of_a_manifest_apply_within_their_source(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    records = load_source(draw_set(tmp_path / "one", 3, 3))
    others = [replace(r, key=f"other:{i}", source="other") for i, r in enumerate(records[3:])]
    bound = [
        replace(records[0], patient="p"),
        replace(records[1], group=8),
        replace(records[2], patient="p", group=8),
        replace(others[0], patient="p"),
        replace(others[1], group=8),
        others[2],
    ]
    assert groups_of(group_records(bound, cache)) == [0, 0, 0, 3, 4, 5]


def test_images_of_one_person_are_grouped_across_sources(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    records = load_source(draw_set(tmp_path / "one", 3, 3))
    others = [replace(r, key=f"other:{i}", source="other") for i, r in enumerate(records[3:])]
    bound = [
        replace(records[0], person="p-1"),
        replace(records[1], person="p-2"),
        records[2],
        replace(others[0], person="p-1"),
        replace(others[1], person="p-3"),
        others[2],
    ]
    assert groups_of(group_records(bound, cache)) == [0, 1, 2, 0, 4, 5]


def test_images_of_two_persons_are_grouped_only_as_copies(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    picture = draw_head(0, size=96)
    # Near the first by hash and with a correlation of 0.93, but with another interior.
    alike = cv2.addWeighted(picture, 0.6, draw_head(7, size=96), 0.4, 0)
    copy = cv2.resize(picture, None, fx=2, fy=2)
    for name, drawn in (("a", picture), ("b", alike), ("c", copy)):
        (tmp_path / name / "no").mkdir(parents=True)
        save(tmp_path / name / "no" / "1.png", drawn)
    records = [record for name in "abc" for record in load_source(tmp_path / name)]
    assert groups_of(group_records(records, cache)) == [0, 0, 0]

    def with_persons(*names: str | None) -> list[int | None]:
        told = [replace(each, person=own) for each, own in zip(records, names, strict=True)]
        return groups_of(group_records(told, cache))

    assert with_persons("p", "q", "r") == [0, 1, 0]
    assert with_persons("p", "p", "r") == [0, 0, 0]
    # Of two sources of which one states its persons, they may be two as well.
    assert with_persons("p", None, "r") == [0, 1, 0]
    # Within a source, one whose person is not known may be any of the others.
    records[1] = replace(records[1], source="a")
    assert with_persons("p", None, "r") == [0, 0, 0]


def test_a_file_that_differs_from_the_manifest_is_refused(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    (record,) = load_source(draw_set(tmp_path, 1, 0))
    (known,) = group_records([record], cache)
    assert group_records([known], cache) == [known]
    with pytest.raises(ManifestError, match="SHA-256 differs from the manifest"):
        group_records([replace(record, sha256="0" * 64)], cache)
    with pytest.raises(ManifestError, match="duplicate record"):
        group_records([record, record], cache)


def print_of(ones: int) -> Fingerprint:
    bits = np.zeros(256, np.uint8)
    bits[:ones] = 1
    poses = np.repeat(np.packbits(bits).view(np.uint64)[None], 8, axis=0)
    return Fingerprint(str(ones), poses, poses)


def test_runs_are_cut_where_the_images_change_most() -> None:
    people = [(0, 20), (120, 15), (60, 30), (200, 9)]
    prints = [print_of(ones + i % 3) for ones, count in people for i in range(count)]
    assert run_limits(prints) == [0, 20, 35, 65, 74]
    assert run_limits(prints[:36]) == [0, 36]
    assert run_limits([]) == [0]


def test_numbered_slices_without_patient_ids_are_grouped_in_runs(
    tmp_path: Path, cache: FingerprintCache
) -> None:
    (tmp_path / "cheng2017" / "glioma").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 41):
        cells = rng.integers(0, 255, (20, 20)).astype(np.uint8)
        picture = cv2.resize(cells, (96, 96), interpolation=cv2.INTER_NEAREST)
        save(tmp_path / "cheng2017" / "glioma" / f"{number}.png", picture)
    sizes = Counter(groups_of(group_records(load_source(tmp_path / "cheng2017"), cache)))
    assert sum(sizes.values()) == 40
    assert len(sizes) == 2
    assert min(sizes.values()) >= 4


@pytest.fixture(scope="module")
def shared(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    store = FingerprintCache(tmp_path_factory.mktemp("cache") / "fingerprints.npz")
    volumes = load_source(data_root / "volumes") if (data_root / "volumes").is_dir() else []
    return group_records([*load_source(data_root), *volumes], store)


@pytest.mark.real
@pytest.mark.slow
def test_no_group_of_the_real_data_is_in_two_parts(shared: list[Record]) -> None:
    group_of = {record.key: record.group for record in shared}
    splits = [
        grouped_split(shared, seed=0),
        grouped_split(shared, seed=1, held_out=["navoneel"]),
        *grouped_folds(shared, n_folds=5, repeats=2, seed=0, validation=0.1, calibration=0.1),
    ]
    for split in splits:
        held = [{group_of[key] for key in keys} for keys in split.parts().values()]
        assert len(set().union(*held)) == sum(map(len, held)), split.name
    external = splits[1]
    assert {key for key in external.test if key.startswith("navoneel:")} == {
        key for key in group_of if key.startswith("navoneel:")
    }


@pytest.mark.real
@pytest.mark.slow
def test_the_notebooks_random_split_of_the_real_data_is_refused(shared: list[Record]) -> None:
    navoneel = [record for record in shared if record.source == "navoneel"]
    with pytest.raises(LeakageError, match="groups of near-duplicates or patients"):
        check_groups(random_split(navoneel, seed=42), navoneel)


@pytest.mark.real
@pytest.mark.slow
def test_groups_of_the_real_data_stay_small(shared: list[Record]) -> None:
    images = [record for record in shared if not record.is_slice]
    sizes = Counter(groups_of(images))
    assert max(sizes.values()) <= 200
    assert len(sizes) >= 540
    people = {record.patient: record.group for record in shared if record.is_slice}
    # Twelve names: healthy_09 and healthy_10 are one person.
    assert len(set(people.values())) == len(people) == 11
