from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.drawn_sets import grouped_records
from tumorlens.data.manifest import Record
from tumorlens.data.splits import (
    GROUPING_VERSION,
    PARTS,
    Split,
    check_groups,
    data_digest,
    grouped_folds,
    grouped_split,
    grouping_note,
    random_split,
    read_split,
    write_split,
)
from tumorlens.errors import LeakageError, SplitError


def two_sources() -> list[Record]:
    """300 + 100 records, a third of each tumours, groups of one to four, none across sources."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 5, 400)).tolist()
    first = grouped_records(groups[:300], source="a", tumours=100)
    second = grouped_records([1000 + g for g in groups[300:400]], source="b", tumours=33)
    return first + second


def test_parts_are_stratified_by_source_and_label() -> None:
    records = two_sources()
    split = grouped_split(records, seed=3)
    assert sorted(key for part in split.parts().values() for key in part) == sorted(
        record.key for record in records
    )
    for part, share in (("train", 0.7), ("validation", 0.1), ("calibration", 0.1), ("test", 0.1)):
        held = Counter((r.source, r.label) for r in split.records(part, records))
        for stratum, total in {("a", 1): 100, ("a", 0): 200, ("b", 1): 33, ("b", 0): 67}.items():
            assert held[stratum] == pytest.approx(share * total, abs=3), (part, stratum)


def test_the_split_depends_on_the_seed_and_not_on_order_or_group_numbers() -> None:
    records = two_sources()
    renumbered = [replace(r, group=7 + 3 * (r.group or 0)) for r in reversed(records)]
    assert grouped_split(records, seed=0) == grouped_split(renumbered, seed=0)
    assert grouped_split(records, seed=0) != grouped_split(records, seed=1)


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=4, max_size=60),
    tumours=st.integers(0, 60),
    seed=st.integers(0, 2**31),
)
def test_no_group_is_in_two_parts(groups: list[int], tumours: int, seed: int) -> None:
    records = grouped_records(groups, tumours=tumours)
    split = grouped_split(records, seed=seed)
    group_of = {record.key: record.group for record in records}
    held = [{group_of[key] for key in keys} for keys in split.parts().values()]
    assert sum(len(groups_of_part) for groups_of_part in held) == len(set(groups))
    assert sum(len(keys) for keys in split.parts().values()) == len(records)


def test_a_held_out_source_is_the_test_part_without_near_duplicates() -> None:
    inner = grouped_records([1, 1, 2, 3, 4, 5], source="inner")
    outer = grouped_records([1, 9, 9], source="outer")
    fractions = {"train": 0.5, "validation": 0.5}
    split = grouped_split([*inner, *outer], fractions=fractions, seed=0, held_out=["outer"])
    assert split.test == ("outer:0000.png", "outer:0001.png", "outer:0002.png")
    rest = {*split.train, *split.validation}
    assert rest == {f"inner:000{i}.png" for i in (2, 3, 4, 5)}
    with pytest.raises(SplitError, match="held-out source elsewhere"):
        grouped_split(inner, seed=0, held_out=["elsewhere"])


@pytest.mark.parametrize(
    ("fractions", "complaint"),
    [
        ({"train": 0.7, "test": 0.2}, "sum to 1"),
        ({"train": 1.2, "test": -0.2}, "sum to 1"),
        ({"train": 0.8, "exam": 0.2}, "no part exam"),
    ],
)
def test_wrong_fractions_are_refused(fractions: dict[str, float], complaint: str) -> None:
    with pytest.raises(SplitError, match=complaint):
        grouped_split(grouped_records([1, 2, 3]), fractions=fractions, seed=0)


def test_records_without_groups_are_refused() -> None:
    bare = [replace(r, group=None) for r in grouped_records([1, 2, 3])]
    for make in (lambda: grouped_split(bare, seed=0), lambda: data_digest(bare)):
        with pytest.raises(SplitError, match="group_records"):
            make()


def test_folds_test_each_record_once_per_repeat() -> None:
    records = two_sources()
    folds = grouped_folds(records, n_folds=5, repeats=2, seed=1, validation=0.1, calibration=0.1)
    assert [fold.name for fold in folds[:2]] == ["grouped-5-fold/r0/f0", "grouped-5-fold/r0/f1"]
    for repeat in (folds[:5], folds[5:]):
        tested = Counter(key for fold in repeat for key in fold.test)
        assert tested == Counter(record.key for record in records)
    assert {fold.test for fold in folds[:5]}.isdisjoint(fold.test for fold in folds[5:])
    for fold in folds:
        check_groups(fold, records)
        assert sum(len(keys) for keys in fold.parts().values()) == len(records)
        assert len(fold.validation) == pytest.approx(32, abs=4)
    with pytest.raises(SplitError, match="5 folds of 3 groups"):
        grouped_folds(grouped_records([1, 2, 3]), n_folds=5, seed=0)


def test_the_random_split_is_the_notebooks() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    records = grouped_records(list(range(253)))
    for seed in (0, 42):
        train, test = selection.train_test_split(
            [r.key for r in records], test_size=0.2, random_state=seed
        )
        split = random_split(records, seed=seed)
        assert split.name == "random-leaky"
        assert split.test == tuple(sorted(test))
        assert split.train == tuple(sorted(train))
    with pytest.raises(SplitError, match="nothing left"):
        random_split(records[:1], seed=0)


def hand_made(**parts: tuple[str, ...]) -> Split:
    empty: dict[str, tuple[str, ...]] = dict.fromkeys(PARTS, ())
    return Split("by hand", 0, **{**empty, **parts}, data_sha256="0")


def slices(volume: str, group: int, indices: range) -> list[Record]:
    """Records of a volume's axial slices."""
    return [
        Record(f"v:{volume}#axial:{at}", Path(f"{volume}#axial:{at}"), "v", label=0, group=group,
               sha256=volume)
        for at in indices
    ]  # fmt: skip


def test_scans_of_an_earlier_test_and_calibration_stay_there() -> None:
    records = two_sources()
    earlier = grouped_split(records, seed=3)
    more = grouped_records(list(range(5000, 5200)), source="c", tumours=100)
    split = grouped_split([*records, *more], seed=8, earlier=earlier)
    for part in ("test", "calibration"):
        assert set(getattr(earlier, part)) <= set(getattr(split, part))
        assert any(key.startswith("c:") for key in getattr(split, part))
    assert set(split.train) & set(earlier.validation)
    other = grouped_split([*records, *more], seed=8)
    assert not set(earlier.test) <= set(other.test)
    # The earlier parts count towards the shares: nothing else of their sources is added to them.
    assert len(split.test) == pytest.approx(0.1 * len([*records, *more]), rel=0.25)


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        (("train", "test"), "test"),
        (("calibration", "test"), "test"),
        (("test", "calibration"), "test"),
        (("validation", "calibration"), "calibration"),
    ],
)
def test_a_group_that_bridges_earlier_parts_goes_to_the_one_that_stays_unseen(
    parts: tuple[str, str], wanted: str
) -> None:
    records = grouped_records([*range(40), 77, 77, 77], tumours=20)
    one, other, new = (record.key for record in records[-3:])
    placed: dict[str, tuple[str, ...]] = dict.fromkeys(PARTS, ())
    earlier = Split(
        "grouped", 0, **{**placed, parts[0]: (one,), parts[1]: (other,)}, data_sha256=""
    )
    split = grouped_split(records, seed=0, earlier=earlier)
    assert {one, other, new} <= set(getattr(split, wanted))


def test_other_slices_of_an_earlier_test_volume_stay_in_the_test() -> None:
    others = [each for at in range(12) for each in slices(f"{at}.nii.gz", at, range(5))]
    earlier = hand_made(test=("v:a.nii.gz#axial:3",), train=("v:b.nii.gz#axial:3",))
    now = [*others, *slices("a.nii.gz", 50, range(10, 16)), *slices("b.nii.gz", 51, range(10, 16))]
    for seed in range(5):
        split = grouped_split(now, seed=seed, earlier=earlier)
        kept = {key for key in split.test if key.startswith("v:a.")}
        assert kept == {f"v:a.nii.gz#axial:{at}" for at in range(10, 16)}


def test_findings_are_spread_over_the_parts() -> None:
    records = [
        replace(record, finding="clear") if at % 4 == 0 else record
        for at, record in enumerate(grouped_records(list(range(400))))
    ]
    split = grouped_split(records, seed=2)
    finding = {record.key: record.finding for record in records}
    for part, share in (("train", 0.7), ("test", 0.1)):
        clear = sum(finding[key] == "clear" for key in getattr(split, part))
        assert clear == pytest.approx(100 * share, abs=2)


def test_volumes_of_many_sources_share_their_strata() -> None:
    records = [
        replace(each, key=f"s{at}:{each.key}", source=f"s{at}", label=at % 2)
        for at in range(40)
        for each in slices(f"{at}.nii.gz", at, range(3))
    ]
    labels = {record.key: record.label for record in records}
    split = grouped_split(records, seed=0)
    for part, volumes in (("train", 28), ("validation", 4), ("calibration", 4), ("test", 4)):
        keys = getattr(split, part)
        assert len(keys) == 3 * volumes
        assert sum(labels[key] or 0 for key in keys) == len(keys) / 2


def test_a_leak_is_refused_and_its_groups_are_listed() -> None:
    records = grouped_records([5, 5, 6, 6, 8])
    keys = [record.key for record in records]
    check_groups(hand_made(train=(keys[0], keys[1]), test=(keys[2], keys[3])), records)
    with pytest.raises(LeakageError) as refused:
        check_groups(
            hand_made(train=(keys[0], keys[2], keys[4]), validation=(keys[3],), test=(keys[1],)),
            records,
        )
    assert "2 groups" in str(refused.value)
    assert "group 5 — train: s:0000.png; test: s:0001.png" in str(refused.value)
    assert "group 6 — train: s:0002.png; validation: s:0003.png" in str(refused.value)
    assert "group 8" not in str(refused.value)
    with pytest.raises(LeakageError, match=r"s:0000.png is in train and in test"):
        check_groups(hand_made(train=(keys[0],), test=(keys[0],)), records)
    with pytest.raises(SplitError, match="1 keys of 'test' are not in the data, first other"):
        check_groups(hand_made(test=("other",)), records)


def test_a_split_is_not_overwritten_and_verified_when_read(tmp_path: Path) -> None:
    records = two_sources()
    split = grouped_split(records, seed=0)
    path = tmp_path / "splits" / "grouped.json"
    write_split(split, path)
    write_split(split, path)
    assert read_split(path, records) == split
    assert path.stat().st_mode & 0o222 == 0
    with pytest.raises(SplitError, match="contains another split"):
        write_split(grouped_split(records, seed=1), path)
    assert [p.name for p in path.parent.iterdir()] == ["grouped.json"]


def test_a_changed_or_damaged_file_is_refused(tmp_path: Path) -> None:
    records = two_sources()
    path = tmp_path / "s.json"
    write_split(grouped_split(records, seed=0), path)
    body = json.loads(path.read_text())
    moved = {**body["parts"], "train": body["parts"]["train"][1:]}
    newer = {**body, "format": 99}
    later = {**body, "grouping": GROUPING_VERSION + 1}
    for text, complaint in [
        (json.dumps({**body, "parts": moved}), "was changed"),
        (json.dumps({**body, "seed": 5}), "was changed"),
        (json.dumps(newer), "format 99"),
        (json.dumps(later), f"grouping version {GROUPING_VERSION + 1}"),
        (json.dumps({**body, "grouping": 1}), "was changed"),
        (path.read_text()[:-40], "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
    ]:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(SplitError, match=complaint):
            read_split(tmp_path / "bad.json")
    with pytest.raises(SplitError, match="make it first"):
        read_split(tmp_path / "absent.json")


def test_a_split_of_other_data_is_refused(tmp_path: Path) -> None:
    records = two_sources()
    path = tmp_path / "s.json"
    write_split(grouped_split(records, seed=0), path)
    altered = {
        "a file": [replace(records[0], sha256="new"), *records[1:]],
        "a label": [replace(records[0], label=0), *records[1:]],
        "a group": [replace(records[0], group=99_999), *records[1:]],
        "one more": [*records, replace(records[0], key="a:new.png")],
        "one less": records[1:],
    }
    for what, data in altered.items():
        with pytest.raises(SplitError, match="was made for other data"):
            read_split(path, data)
        assert what
    assert read_split(path, list(reversed(records))).seed == 0


def older(split: Split) -> Split:
    """The split as a file of format 1 states it, which names no grouping version."""
    return replace(split, grouping=1)


def test_the_packaged_split_is_of_this_grouping_and_an_older_one_has_a_note() -> None:
    packaged = read_split(Path(str(files("tumorlens.weights").joinpath("split.json"))))
    assert (packaged.grouping, len(packaged.test)) == (GROUPING_VERSION, 3350)
    assert grouping_note(packaged) is None
    assert "was made with grouping version 1" in (grouping_note(older(packaged)) or "")


def test_a_split_of_grouping_2_is_read_with_a_note(tmp_path: Path) -> None:
    split = replace(grouped_split(two_sources(), seed=0), grouping=2)
    write_split(split, tmp_path / "two.json")
    assert json.loads((tmp_path / "two.json").read_text())["grouping"] == 2
    again = read_split(tmp_path / "two.json", two_sources())
    assert again == split
    assert f"grouping version 2 (now {GROUPING_VERSION})" in (grouping_note(again) or "")


def test_a_split_of_an_older_grouping_stays_usable_and_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = two_sources()
    split = older(grouped_split(records, seed=0))
    write_split(split, tmp_path / "old.json")
    body = json.loads((tmp_path / "old.json").read_text())
    assert body["format"] == 1
    assert "grouping" not in body
    joined = {split.train[0]: 999, split.test[0]: 999}
    regrouped = [replace(r, group=joined.get(r.key, r.group)) for r in records]
    with caplog.at_level(logging.WARNING):
        assert read_split(tmp_path / "old.json", regrouped) == split
    assert "may have near-duplicates in it" in caplog.text
    assert split.sha256 != replace(split, grouping=GROUPING_VERSION).sha256
    with pytest.raises(LeakageError, match="1 groups"):
        check_groups(replace(split, grouping=GROUPING_VERSION), regrouped)
    with pytest.raises(LeakageError, match="is in train and in test"):
        check_groups(replace(split, test=split.train[:1]), records)


def test_a_leaky_split_can_be_read_without_its_data_only(tmp_path: Path) -> None:
    records = grouped_records([1] * 10)
    write_split(random_split(records, seed=0), tmp_path / "leaky.json")
    assert read_split(tmp_path / "leaky.json").name == "random-leaky"
    with pytest.raises(LeakageError, match="random-leaky"):
        read_split(tmp_path / "leaky.json", records)
