"""Parts of a split: volumes are cut finer for the training than for what measures it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.drawn_data import draw_heads, tiny_config
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.data.splits import Split, check_groups, read_split, write_split
from tumorlens.errors import ConfigError, SourceNotFoundError
from tumorlens.runs.config import RunConfig
from tumorlens.runs.records import load_records, make_split
from tumorlens.training.decoding import load_parts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn heads, and two volumes each of eight persons: balls of noise of 40 voxels."""
    folder = draw_heads(tmp_path_factory.mktemp("data"))
    (folder / "cut").mkdir()
    rng = np.random.default_rng(0)
    at = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    for person in range(8):
        for sequence in ("T1", "FL"):
            voxels = np.where(at < 18, rng.uniform(50, 200, at.shape), 0).astype(np.float32)
            image = nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1]))
            nibabel.save(image, folder / "cut" / f"healthy_{person:02}_{sequence}.nii.gz")
    return folder


def split_of(root: Path, *overrides: str) -> tuple[RunConfig, list[Record], Split]:
    config = tiny_config(root, root / "run", "data.volumes=cut", "data.slices_per_plane=3",
                         "data.label_issues=keep", *overrides)  # fmt: skip
    records = load_records(config.data)
    return config, records, make_split(config.data, records)


def test_training_alone_gets_the_slices_between(root: Path) -> None:
    _, plain, before = split_of(root)
    _, records, after = split_of(root, "data.learnt_slices_per_plane=7")
    assert sum(record.is_slice for record in plain) == 8 * 2 * 3 * 3
    for part in ("validation", "calibration", "test"):
        assert after.parts()[part] == before.parts()[part]
    assert set(before.train) < set(after.train)
    check_groups(after, records)
    more = [r for r in records if r.key in set(after.train) - set(before.train)]
    assert all(record.is_slice for record in more)
    # Of 7 evenly spaced slices the first, middle and last are the 3 that were there.
    stacks = {(r.file, r.view) for r in plain if r.is_slice and r.key in set(before.train)}
    assert len(more) == 4 * len(stacks)
    assert {(record.file, record.view) for record in more} == stacks


@pytest.mark.parametrize("kind", ["grouped", "random-leaky"])
def test_a_last_leg_may_learn_from_validation(root: Path, kind: str) -> None:
    settings = (f"data.split.kind={kind}", "data.split.test=0.2", "data.split.train=0.6",
                "data.split.validation=0.1", "data.split.calibration=0.1")  # fmt: skip
    _, _, before = split_of(root, *settings)
    _, _, after = split_of(root, *settings, "data.split.learn_validation=true")
    assert before.validation
    assert not after.validation
    assert set(after.train) == {*before.train, *before.validation}
    assert (after.calibration, after.test) == (before.calibration, before.test)


def test_volumes_of_validation_are_cut_finer_where_they_are_learnt_from(
    root: Path, tmp_path: Path
) -> None:
    finer = "data.learnt_slices_per_plane=7"
    _, _, before = split_of(root, finer)
    config, records, after = split_of(root, finer, "data.split.learn_validation=true")
    files = {record.key: record.file for record in records if record.is_slice}
    joined = {files[key] for key in before.validation if key in files}
    assert joined
    assert sum(files.get(key) in joined for key in after.train) == len(joined) * 3 * 7
    write_split(after, tmp_path / "split.json")
    config = config.changed({"data": {"split": {"path": str(tmp_path / "split.json")}}})
    assert make_split(config.data, records) == after


def test_training_alone_gets_tilted_slices(root: Path) -> None:
    _, plain, before = split_of(root)
    config, records, after = split_of(root, "data.tilted_slices_per_plane=5")
    for part in ("validation", "calibration", "test"):
        assert after.parts()[part] == before.parts()[part]
    more = [r for r in records if r.key in set(after.train) - set(before.train)]
    stacks = {(r.file, r.view) for r in plain if r.is_slice and r.key in set(before.train)}
    assert {(record.file, record.view) for record in more} == stacks
    assert len(more) == 5 * len(stacks)  # no two alike here
    check_groups(after, records)
    assert load_records(config.data) == records  # ever the same
    cut = read_pixels(more[0])
    assert cut.shape == (40, 40)
    angles = [[int(angle) for angle in r.key.split(":")[-2:]] for r in more]
    assert -20 <= np.min(angles) < -10 < 10 < np.max(angles) <= 20


def test_no_negative_number_of_tilted_slices(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.tilted_slices_per_plane is -1"):
        split_of(root, "data.tilted_slices_per_plane=-1")


def test_such_a_split_can_be_read_back(root: Path, tmp_path: Path) -> None:
    config, records, split = split_of(
        root, "data.learnt_slices_per_plane=7", "data.tilted_slices_per_plane=2"
    )
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", records) == split
    config = config.changed({"data": {"split": {"path": str(tmp_path / "split.json")}}})
    assert make_split(config.data, records) == split


def test_parts_hold_what_the_split_says(root: Path) -> None:
    config, _, split = split_of(root, "data.learnt_slices_per_plane=7")
    parts = load_parts(config)
    assert parts.split == split
    assert len(parts.inputs["train"]) == len(parts.records["train"]) == len(split.train)
    assert any(record.is_slice for record in parts.records["train"])


def test_a_missing_folder_of_volumes_is_named(root: Path) -> None:
    config = tiny_config(root, root / "run", "data.volumes=none_such")
    with pytest.raises(SourceNotFoundError, match="none_such"):
        load_records(config.data)
