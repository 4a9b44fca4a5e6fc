"""Stratified sampling of scans, and downscaled working copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tumorlens.data.manifest import Record
from tumorlens.evaluation.sampling import draw_by_group, working_copy


def test_a_sample_is_stratified_and_spread_over_groups() -> None:
    # 60 of one source in 6 groups of ten, 30 of another each for itself, 10 tumours of a third.
    kinds = [("a", 0, i // 10) for i in range(60)]
    kinds += [("b", 0, 100 + i) for i in range(30)] + [("c", 1, 200) for _ in range(10)]
    all_of_them = [
        Record(key=str(i), path=Path("x"), source=s, label=label, group=g)
        for i, (s, label, g) in enumerate(kinds)
    ]
    drawn = draw_by_group(all_of_them, 20, seed=1)
    assert [sum(r.source == s for r in drawn) for s in "abc"] == [12, 6, 2]
    groups = [r.group for r in drawn if r.source == "a"]
    assert {group: groups.count(group) for group in groups} == dict.fromkeys(range(6), 2)
    assert [int(r.key) for r in drawn] == sorted(int(r.key) for r in drawn)
    assert draw_by_group(all_of_them, 20, seed=1) == drawn
    assert draw_by_group(all_of_them, 20, seed=2) != drawn
    assert draw_by_group(all_of_them, None, seed=1) == all_of_them
    assert draw_by_group(all_of_them, 500, seed=1) == all_of_them


def test_large_images_are_downscaled() -> None:
    pixels = np.zeros((400, 800, 3), dtype=np.uint8)
    pixels[:, 400:] = 255
    small = working_copy(pixels)
    assert small.shape == (128, 256)
    assert (small[0, 0], small[0, -1]) == (0, 255)
    same = np.zeros((90, 256), dtype=np.uint8)
    assert working_copy(same) is same
