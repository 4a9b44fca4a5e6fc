"""Ways to split that leak, kept under names that say so: for comparison with honest ones only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tumorlens.data.manifest import Record
from tumorlens.data.splitfile import Split, check_groups, make_split
from tumorlens.data.splits import RANDOM_LEAKY, grouped_folds

_COPY_MARK = "~copy"


def random_folds(
    records: Sequence[Record],
    *,
    n_folds: int = 5,
    repeats: int = 1,
    seed: int,
    validation: float = 0.0,
    calibration: float = 0.0,
) -> list[Split]:
    """Folds drawn as `grouped_folds` draws them, but with each record a group of its own.

    So near-duplicates and slices of one person land on both sides, and nothing else differs from
    the grouped folds: they are as many, as large, and stratified the same.

    Args:
        records: with groups (so that the leak can be told).
        n_folds, repeats, seed, validation, calibration: as for `grouped_folds`.

    Returns:
        Splits named ``random-leaky-5-fold/r0/f0`` and so on; `check_groups` refuses them.

    Raises:
        SplitError: records without groups, or fewer records than folds.
    """
    alone = [replace(record, group=index) for index, record in enumerate(records)]
    blind = grouped_folds(
        alone,
        n_folds=n_folds,
        repeats=repeats,
        seed=seed,
        validation=validation,
        calibration=calibration,
    )
    return [
        make_split(
            split.name.replace("grouped", RANDOM_LEAKY, 1), split.seed, split.parts(), records
        )
        for split in blind
    ]


def check_fold(split: Split, records: Sequence[Record]) -> None:
    """As `check_groups`, but a split that says in its name that it leaks may.

    Raises:
        LeakageError: a group crosses, and the split's name does not begin with `RANDOM_LEAKY`.
    """
    if not split.name.startswith(RANDOM_LEAKY):
        check_groups(split, records)


def with_copies(records: Sequence[Record], copies: int) -> list[Record]:
    """Return the records, then ``copies`` times each: same file, label and group, another key.

    First all originals in their order, then all first copies, and so on. What is done to the
    pixels of a copy is up to the caller.
    """
    return [
        record if number == 0 else replace(record, key=f"{record.key}{_COPY_MARK}{number}")
        for number in range(copies + 1)
        for record in records
    ]
