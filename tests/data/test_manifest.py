from __future__ import annotations

from pathlib import Path

import pytest

from tumorlens.data.manifest import Record, person_of, read_manifest
from tumorlens.errors import ManifestError


def manifest(folder: Path, *lines: str) -> Path:
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_become_records_and_empty_cells_none(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "path,source,label,tumour_type,view,patient,group,boxes,polygons",
        'a.png,site,tumor,glioma,axial,p1,7,"[[0.1, 0.2, 0.5, 1.02]]","[[[0, 0], [1, 0], [1, 1]]]"',
        "b.png,,,,,,,[],[]",
    )
    first, second = read_manifest(path)
    assert first == Record(
        key="site:a.png",
        path=tmp_path / "a.png",
        source="site",
        label=1,
        tumour_type="glioma",
        view="axial",
        boxes=((0.1, 0.2, 0.5, 1.0),),
        polygons=(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),),
        finding="tumor",
        patient="p1",
        group=7,
    )
    assert second == Record(f"{tmp_path.name}:b.png", tmp_path / "b.png", tmp_path.name)


@pytest.mark.parametrize(
    ("finding", "label"),
    [("tumor", 1), ("healthy", 0), ("clear", 0), ("other_lesion", 0), ("not_mri", None)],
)
def test_a_finding_has_its_label(tmp_path: Path, finding: str, label: int | None) -> None:
    (record,) = read_manifest(manifest(tmp_path, "path,label", f"a.png,{finding}"))
    assert (record.finding, record.shows, record.label) == (finding, finding, label)


def test_without_a_finding_the_label_says_what_an_image_shows() -> None:
    shown = {label: Record("k", Path("a.png"), "s", label=label).shows for label in (1, 0, None)}
    assert shown == {1: "tumor", 0: "healthy", None: None}


def test_sequence_person_and_skull_are_read_and_vague_names_are_unknown(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "path,label,sequence,view,person,skull_stripped",
        "a.png,clear,T1C,axial,sub:01,1",
        "b.png,clear,T1 or T2,axial (some coronal),brainchop:1,0",
    )
    first, second = read_manifest(path)
    assert (first.sequence, first.view, first.skull_stripped) == ("T1C", "axial", True)
    assert first.person == "sub-01"
    assert (second.sequence, second.view, second.skull_stripped) == (None, None, False)
    assert second.person == "chris", "one person, listed under two names"
    assert person_of(None) is None


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["path,label"], "no rows"),
        (["file,label", "a.png,tumor"], "no column path"),
        (["path,label", ",tumor"], "line 2: the path is empty"),
        (["path,label", "a.png,tumor", "b.png,sick"], "line 3: label 'sick'"),
        (["path,label", "../a.png,tumor"], "is outside the manifest's folder"),
        (["path,label", "a.png,tumor", "a.png,tumor"], "duplicate record"),
        (["path,label", "a.png,tumor", "c.png,tumor"], "1 of its files are missing"),
        (["path,label,skull_stripped", "a.png,tumor,yes"], "skull_stripped 'yes' is not 0, 1"),
        (["path,label,group", "a.png,tumor,x"], "group 'x' is not an integer"),
        (["path,label,boxes", "a.png,tumor,[[0.1"], "boxes: not a JSON list"),
        (["path,label,boxes", 'a.png,tumor,"[[1, 2, 30, 40]]"'], "2 is not a fraction"),
        (["path,label,boxes", 'a.png,tumor,"[[0.5, 0, 0.1, 1]]"'], "a box is four fractions"),
        (["path,label,boxes", 'a.png,tumor,"[[0.5, 0.1]]"'], "a box is four fractions"),
        (["path,label,boxes", 'a.png,tumor,"[0.5, 0.1]"'], "list of lists"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_line(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    with pytest.raises(ManifestError) as refused:
        read_manifest(manifest(tmp_path, *lines))
    assert complaint in str(refused.value)


def test_an_image_named_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ManifestError, match="cannot be read as a CSV table"):
        read_manifest(tmp_path / "manifest.csv")


def test_a_slice_knows_its_file() -> None:
    record = Record("v:x", Path("d#1/h_01.nii.gz#axial:45"), "v")
    assert record.is_slice
    assert record.file == Path("d#1/h_01.nii.gz")
    plain = Record("v:x", Path("d#1/a.png"), "v")
    assert not plain.is_slice
    assert plain.file == plain.path
