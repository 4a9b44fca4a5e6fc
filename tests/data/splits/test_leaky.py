"""The ways to split that leak: they do, they say so, and nothing else about them differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tumorlens.data.manifest import Record
from tumorlens.data.splits import check_groups, grouped_folds, random_folds, with_copies
from tumorlens.errors import LeakageError, SplitError


def records(groups: int = 20, each: int = 3) -> list[Record]:
    """Groups of copies; tumours and healthy scans by turns."""
    return [
        Record(f"s:{group}-{copy}.png", Path(f"{group}-{copy}.png"), "s", label=group % 2,
               group=group, sha256=f"{group}{copy}")
        for group in range(groups)
        for copy in range(each)
    ]  # fmt: skip


def test_random_folds_test_each_record_once_and_are_marked_leaky() -> None:
    scans = records()
    folds = random_folds(scans, n_folds=5, seed=3)
    assert [fold.name for fold in folds] == [f"random-leaky-5-fold/r0/f{k}" for k in range(5)]
    assert Counter(key for fold in folds for key in fold.test) == {scan.key: 1 for scan in scans}
    for fold in folds:
        assert set(fold.train) == {scan.key for scan in scans} - set(fold.test)
        with pytest.raises(LeakageError, match="random-leaky-5-fold"):
            check_groups(fold, scans)


def test_random_folds_equal_grouped_folds_except_for_groups() -> None:
    scans = records()
    blind = random_folds(scans, n_folds=4, repeats=2, seed=3, validation=0.1, calibration=0.1)
    bound = grouped_folds(scans, n_folds=4, repeats=2, seed=3, validation=0.1, calibration=0.1)
    assert [fold.seed for fold in blind] == [fold.seed for fold in bound]
    assert {fold.data_sha256 for fold in blind} == {bound[0].data_sha256}
    tumours = {scan.key for scan in scans if scan.label == 1}
    for fold in blind:
        assert len(fold.test) == pytest.approx(15, abs=1)
        assert len(tumours & set(fold.test)) == pytest.approx(7.5, abs=1)
        assert len(fold.validation) == pytest.approx(4.5, abs=1.5)


def test_singleton_groups_give_the_same_folds() -> None:
    scans = records(groups=30, each=1)
    blind, bound = (make(scans, n_folds=3, seed=1) for make in (random_folds, grouped_folds))
    assert [fold.parts() for fold in blind] == [fold.parts() for fold in bound]
    check_groups(blind[0], scans)


def test_copies_follow_the_originals_with_new_keys() -> None:
    scans = records(groups=2, each=1)
    copied = with_copies(scans, 2)
    assert copied[:2] == scans
    assert [scan.key for scan in copied[2:]] == [
        *("s:0-0.png~copy1", "s:1-0.png~copy1", "s:0-0.png~copy2", "s:1-0.png~copy2"),
    ]
    assert [(scan.path, scan.label, scan.group) for scan in copied[2:4]] == [
        (scan.path, scan.label, scan.group) for scan in scans
    ]
    assert with_copies(scans, 0) == scans


def test_more_folds_than_records_are_refused() -> None:
    with pytest.raises(SplitError, match="folds"):
        random_folds(records(groups=2, each=1), n_folds=3, seed=0)
