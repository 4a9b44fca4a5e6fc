"""How folds are drawn: by group unless the name says otherwise, copies made before the split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.drawn_data import draw_heads, tiny_config
from tumorlens.data.pixels import LESION
from tumorlens.data.splits import check_groups
from tumorlens.errors import ConfigError, LeakageError
from tumorlens.runs.records import load_records
from tumorlens.workflows.folds import GROUPED, FoldPlan, augmented

RANDOM = FoldPlan("random-leaky")
COPIED = FoldPlan("augment-before-split-leaky", 3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_heads(tmp_path_factory.mktemp("data"), each=8)


def test_grouped_folds_are_the_ordinary_ones_and_leave_no_trace_in_the_plan(
    root: Path, tmp_path: Path
) -> None:
    config = tiny_config(root, tmp_path)
    records = GROUPED.records(load_records(config.data))
    assert GROUPED.settings() == {}
    for split in GROUPED.splits(config, records, 2, 1):
        assert split.name.startswith("grouped-2-fold")
        check_groups(split, records)


def test_copies_stand_on_both_sides_of_a_split_that_says_so(root: Path, tmp_path: Path) -> None:
    config = tiny_config(root, tmp_path)
    records = COPIED.records(load_records(config.data))
    assert len(records) == 16 * 4
    assert COPIED.settings() == {"protocol": "augment-before-split-leaky", "copies": 3}
    splits = COPIED.splits(config, records, 2, 1)
    assert sorted(key for split in splits for key in split.test) == sorted(r.key for r in records)
    with pytest.raises(LeakageError, match="random-leaky"):
        check_groups(splits[0], records)


def test_the_pixels_of_originals_stay_and_those_of_copies_change(
    root: Path, tmp_path: Path
) -> None:
    config = tiny_config(root, tmp_path)
    records = load_records(config.data)
    plain, _ = RANDOM.decoded(config, RANDOM.records(records))
    inputs, lesions = COPIED.decoded(config, COPIED.records(records))
    assert inputs.shape == (64, *plain.shape[1:])
    assert lesions.shape == (64, *plain.shape[2:])
    assert np.array_equal(inputs[:16], plain)
    copies = inputs.reshape(4, 16, *plain.shape[1:])
    for first, second in ((0, 1), (1, 2), (2, 3)):
        changed = np.abs(copies[first] - copies[second]).mean(axis=(1, 2, 3))
        assert (changed > 0.005).all()
    # Still the same head: closer to its original than to the next one.
    for at in range(15):
        own = np.corrcoef(copies[1, at].ravel(), plain[at].ravel())[0, 1]
        assert own > 0.5
    again, _ = COPIED.decoded(config, COPIED.records(records))
    assert np.array_equal(again, inputs)


def test_a_lesion_s_place_moves_with_its_copy() -> None:
    inputs = np.zeros((6, 1, 32, 32), np.float32)
    inputs[:, :, 6:12, 20:28] = 0.9
    lesions = np.where(inputs[:, 0] > 0, LESION, 0).astype(np.uint8)
    images, pictures = augmented(inputs, lesions, torch.Generator().manual_seed(0))
    assert not np.array_equal(pictures, lesions)
    assert ((images[:, 0] > 0.1) == (pictures > 0)).mean() > 0.97


def test_fewer_than_no_copies_are_refused() -> None:
    with pytest.raises(ConfigError, match="copies is -1"):
        FoldPlan("x", -1)
