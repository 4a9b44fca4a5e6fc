"""Leaky splits, marked by name: only for comparison with splits by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.data.splits.grouped import grouped_folds
from tumorlens.data.splits.split_file import Split, make_split
from tumorlens.errors import SplitError

RANDOM_LEAKY = "random-leaky"
"""Prefix of the name of a split that ignores groups."""

_COPY_SUFFIX = "~copy"


def random_split(
    records: Sequence[Record], *, seed: int, test_fraction: float = 0.2, validation: float = 0.0
) -> Split:
    """Split at random, ignoring groups, as the notebook does: for comparison only.

    The test part equals that of scikit-learn's ``train_test_split(test_size=0.2,
    random_state=seed)``. Near-duplicates are in both parts, and `check_groups` refuses the split.

    Args:
        records: with groups (so that the leak can be detected).
        seed: of the permutation.
        test_fraction: rounded up to whole records.
        validation: fraction of the rest for validation, also at random.

    Raises:
        SplitError: a fraction leaves nothing to train on.
    """
    n_test = math.ceil(test_fraction * len(records))
    n_validation = math.ceil(validation * (len(records) - n_test))
    if n_test + n_validation >= len(records) or min(test_fraction, validation) < 0:
        raise SplitError(f"{len(records)} records, {n_test} for the test: nothing left to train on")
    # The legacy generator, as in scikit-learn, for the same test part.
    order = np.random.RandomState(seed).permutation(len(records))
    keys = [records[i].key for i in order]
    parts = {
        "test": keys[:n_test],
        "validation": keys[n_test : n_test + n_validation],
        "train": keys[n_test + n_validation :],
    }
    return make_split(RANDOM_LEAKY, seed, parts, records)


def random_folds(
    records: Sequence[Record],
    *,
    n_folds: int = 5,
    repeats: int = 1,
    seed: int,
    validation: float = 0.0,
    calibration: float = 0.0,
) -> list[Split]:
    """Draw folds like `grouped_folds`, but with each record as its own group.

    Near-duplicates and slices of one patient are in both training and test; number, size and
    stratification are those of the grouped folds.

    Args:
        records: with groups (so that the leak can be detected).
        n_folds, repeats, seed, validation, calibration: as for `grouped_folds`.

    Returns:
        Splits named ``random-leaky-5-fold/r0/f0`` and so on; `check_groups` refuses them.

    Raises:
        SplitError: records without groups, or fewer records than folds.
    """
    folds = grouped_folds(
        [replace(record, group=index) for index, record in enumerate(records)],
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
        for split in folds
    ]


def with_copies(records: Sequence[Record], copies: int) -> list[Record]:
    """Return the records, followed by ``copies`` copies of all, which differ only in their key.

    The caller augments the copies.
    """
    return [
        record if number == 0 else replace(record, key=f"{record.key}{_COPY_SUFFIX}{number}")
        for number in range(copies + 1)
        for record in records
    ]
