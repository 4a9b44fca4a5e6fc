"""Whole heads become labelled slices: what each shows, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.drawn_volumes import HEALTHY, TUMOUR, block, draw_volume, save_volume, write_table
from tumorlens.data.heads import head_records, planes_of, sequence_of, source_of
from tumorlens.data.manifest import Record
from tumorlens.data.pixels import read_pixels
from tumorlens.errors import ManifestError, UnsupportedFormatError
from tumorlens.volumes.volume import Volume

SLAB = (40, 40, 24)
SLAB_MM = (1.0, 1.0, 6.0)
CUBES = (48, 48, 48)
CUBES_MM = (1.0, 1.0, 1.0)
SQUARE = ((14, 23), (14, 23))  # 100 mm² of a slice with pixels of 1 mm


def heads_of(
    folder: Path,
    data: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    row: dict[str, str],
    mask: NDArray[np.uint8] | None = None,
    *,
    name: str = "one.nii.gz",
    every_mm: float = 0,
) -> list[Record]:
    """The records of one volume."""
    save_volume(folder / "heads" / name, data, spacing)
    if mask is not None:
        save_volume(folder / "heads" / "one_seg.nii.gz", mask, spacing)
        row = {**row, "mask_file": "one_seg.nii.gz"}
    return head_records(write_table(folder / "heads.csv", [{"file": name, **row}]),
                        every_mm=every_mm)  # fmt: skip


def index_of(record: Record) -> int:
    return int(record.path.name.rpartition(":")[2])


def found(records: Iterable[Record], finding: str, plane: str = "axial") -> set[int]:
    return {index_of(r) for r in records if (r.finding, r.view) == (finding, plane)}


def test_a_healthy_head_is_cut_in_its_plane_of_acquisition(tmp_path: Path) -> None:
    records = heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, HEALTHY)
    assert {record.view for record in records} == {"axial"}
    assert len(records) == 24 - 2 * (records[0].path.name == "one.nii.gz#axial:1")
    first = records[0]
    assert first.key == f"some_site_x1_heads:{first.path.name}"
    assert first.path == tmp_path / "heads" / f"one.nii.gz#axial:{index_of(first)}"
    assert (first.source, first.person) == ("some_site_x1_heads", "p-1")
    assert (first.label, first.finding, first.sequence) == (0, "healthy", "T1")
    assert (first.skull_stripped, first.enough_brain, first.polygons) == (False, None, None)


def test_slices_are_taken_at_a_distance_in_all_planes_of_cubes(tmp_path: Path) -> None:
    records = heads_of(tmp_path, draw_volume(CUBES), CUBES_MM, HEALTHY, every_mm=4)
    for plane in ("axial", "coronal", "sagittal"):
        taken = sorted(found(records, "healthy", plane))
        assert set(np.diff(taken).tolist()) == {4}
        assert 24 in taken
        assert len(taken) in (11, 12)


@pytest.mark.parametrize(
    ("spacing", "planes"),
    [
        ((1, 1, 1), ("axial", "sagittal", "coronal")),
        ((1, 1, 1.7), ("axial", "sagittal", "coronal")),
        ((1, 1.5, 1), ("coronal", "axial", "sagittal")),
        ((1, 1, 6), ("axial",)),
        ((4.8, 1, 1), ("sagittal",)),
        ((1, 4, 1), ("coronal",)),
    ],
)
def test_planes(spacing: tuple[float, float, float], planes: tuple[str, ...]) -> None:
    volume = Volume.aligned(np.zeros((4, 4, 4), np.uint8), spacing, "v")
    cut = planes_of(volume)
    assert cut[0] == planes[0]
    assert set(cut) == set(planes)


def test_thick_slices_of_a_tumour_are_clear_from_the_third_on(tmp_path: Path) -> None:
    lesion = block(SLAB, *SQUARE, (10, 12))
    data = draw_volume(SLAB, lesion=lesion)
    records = heads_of(tmp_path, data, SLAB_MM, TUMOUR, lesion.astype(np.uint8))
    assert found(records, "tumor") == {10, 11, 12}
    clear = found(records, "clear")
    # Three slices, though 8 mm are less than two.
    assert {7, 15} <= clear
    assert not clear & {8, 9, 13, 14}
    assert max(found(records, "clear")) > 20
    assert {record.label for record in records if record.finding == "clear"} == {0}
    assert {record.label for record in records if record.finding == "tumor"} == {1}


def test_thin_slices_of_a_tumour_are_clear_from_8_mm_on(tmp_path: Path) -> None:
    lesion = block(CUBES, (18, 27), (18, 27), (20, 25))
    data = draw_volume(CUBES, lesion=lesion)
    records = heads_of(tmp_path, data, CUBES_MM, TUMOUR, lesion.astype(np.uint8))
    clear = found(records, "clear")
    assert found(records, "tumor") == set(range(20, 26))
    assert {12, 33} <= clear
    assert not clear & set(range(13, 33))
    # In the coronal plane a slice of it has 10 mm by 6 mm: just enough.
    assert found(records, "tumor", "coronal") == set(range(18, 28))


def test_a_small_part_of_a_tumour_is_neither_tumour_nor_clear(tmp_path: Path) -> None:
    mask = block(SLAB, *SQUARE, (10, 12)) | block(SLAB, (18, 20), (18, 20), (13, 13))
    records = heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, TUMOUR, mask.astype(np.uint8))
    assert found(records, "tumor") == {10, 11, 12}
    assert min(index for index in found(records, "clear") if index > 12) == 16


@pytest.mark.parametrize(
    ("sequence", "contrast", "tumour"),
    [
        ("FLAIR", "no", range(6, 16)),
        ("T2", "no", range(6, 16)),
        ("T1", "no", range(10, 13)),
        ("T1c", "yes", range(10, 13)),
    ],
)
def test_oedema_counts_where_it_shows(
    tmp_path: Path, sequence: str, contrast: str, tumour: range
) -> None:
    mask = 2 * block(SLAB, *SQUARE, (6, 15)).astype(np.uint8)
    mask[block(SLAB, *SQUARE, (10, 12))] = 1
    row = {**TUMOUR, "sequence": sequence, "contrast": contrast}
    records = heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, row, mask)
    assert found(records, "tumor") == set(tumour)
    # Oedema is never clear of the tumour, whether it shows or not.
    assert not found(records, "clear") & set(range(4, 18))


def test_a_mask_of_label_2_alone_is_the_tumour(tmp_path: Path) -> None:
    mask = 2 * block(SLAB, *SQUARE, (10, 12)).astype(np.uint8)
    records = heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, TUMOUR, mask)
    assert found(records, "tumor") == {10, 11, 12}


@pytest.mark.parametrize("spacing", [CUBES_MM, (1.0, 1.4, 1.2)])
def test_outlines_lie_on_the_tumour_of_each_plane(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    lesion = block(CUBES, (28, 39), (12, 23), (22, 33))  # right, behind, in the middle
    data = draw_volume(CUBES, lesion=lesion)
    records = heads_of(tmp_path, data, spacing, TUMOUR, lesion.astype(np.uint8))
    tumours = [record for record in records if record.finding == "tumor"]
    assert {record.view for record in tumours} == {"axial", "coronal", "sagittal"}
    for record in tumours:
        assert record.polygons is not None
        (outline,) = record.polygons
        pixels = read_pixels(record)
        rows, columns = np.nonzero(pixels > 200)
        height, width = pixels.shape
        x, y = np.array(outline).T * np.array([[width], [height]])
        shown = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
        np.testing.assert_allclose([x.min(), x.max(), y.min(), y.max()], shown, atol=1.6)


def test_a_stripped_slice_shows_enough_brain_by_its_share_of_the_largest(tmp_path: Path) -> None:
    data = np.zeros(SLAB, np.uint8)
    # Voxels above zero of each slice; 1600 is a whole one, below 16 a slice shows nothing.
    counts = {2: 10, 3: 20, 5: 90, 6: 110, 8: 230, 9: 250, 12: 1600, 14: 800}
    for index, count in counts.items():
        data.reshape(1600, 24)[:count, index] = 100
    row = {**HEALTHY, "stripped_defaced_whole": "stripped"}
    records = heads_of(tmp_path, data, SLAB_MM, row)
    assert {index_of(record): record.enough_brain for record in records} == {
        3: False, 5: False, 6: None, 8: None, 9: True, 12: True, 14: True,
    }  # fmt: skip
    assert all(record.skull_stripped for record in records)


def test_a_tumour_without_a_mask_is_known_where_it_was_read_by_eye(tmp_path: Path) -> None:
    shape = (40, 40, 22)
    row = {**TUMOUR, "stripped_defaced_whole": "whole", "sequence": "FLAIR 6 mm axial"}
    listed = heads_of(tmp_path, np.full(shape, 90, np.uint8), SLAB_MM, row,
                      name="brainix_FLAIR.nii.gz")  # fmt: skip
    assert found(listed, "tumor") == set(range(7, 18))
    assert found(listed, "clear") == {0, 1, 2, 3}
    assert {record.polygons for record in listed} == {None}
    unlisted = heads_of(tmp_path, np.full(shape, 90, np.uint8), SLAB_MM, row)
    assert unlisted == []


def test_other_lesions_are_no_tumours(tmp_path: Path) -> None:
    records = heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, {**HEALTHY, "status": "other_lesion"},
                       block(SLAB, *SQUARE, (10, 12)).astype(np.uint8))  # fmt: skip
    assert {(record.label, record.finding) for record in records} == {(0, "other_lesion")}
    assert {record.polygons for record in records} == {None}


@pytest.mark.parametrize(
    ("text", "contrast", "sequence"),
    [
        ("T1 MPRAGE 1 mm axial", "no", "T1"),
        ("T1 MPRAGE 1 mm axial", "yes", "T1C"),
        ("T1c", "yes", "T1C"),
        ("T2 3 mm axial", "", "T2"),
        ("FLAIR-like T2 5.5 mm axial", "no", "FLAIR"),
        ("T1 (FreeSurfer)", "no", "T1"),
        ("PD 2.4 mm", "no", "PD"),
        ("DWI", "no", "DWI"),
        ("CT", "no", None),
        ("", "yes", None),
    ],
)
def test_sequences(text: str, contrast: str, sequence: str | None) -> None:
    assert sequence_of(text, contrast) == sequence


def test_a_source_has_a_name_of_its_own_for_its_heads() -> None:
    assert source_of("OpenNeuro ds002748") == "openneuro_ds002748_heads"
    assert source_of("Eve (JHU-MNI-SS)") == "eve_jhu_mni_ss_heads"


def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path) -> None:
    heads_of(tmp_path, draw_volume(SLAB), SLAB_MM, HEALTHY)
    row = {"file": "one.nii.gz", **HEALTHY}
    table = tmp_path / "heads.csv"
    for rows, complaint in (
        ([row, {**row, "file": "two.nii.gz"}], r"line 3: .*two\.nii\.gz is missing"),
        ([{**row, "status": "sick"}], "line 2: status 'sick' is not healthy, tumour, other_lesion"),
        ([{"file": "one.nii.gz"}], "no column source, person, sequence, status"),
    ):
        with pytest.raises(ManifestError, match=complaint):
            head_records(write_table(table, rows))
    (tmp_path / "heads" / "one.nii.gz").write_bytes(b"no volume")
    with pytest.raises(UnsupportedFormatError, match=r"one\.nii\.gz"):
        head_records(write_table(table, [row]))
    with pytest.raises(ManifestError, match="cannot be read as a CSV table"):
        head_records(tmp_path / "absent.csv")
