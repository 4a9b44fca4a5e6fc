from __future__ import annotations

import csv
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from tests.data.drawn_sets import draw_set, write_manifest
from tumorlens.data.catalogue import KNOWN_SOURCES, source_info
from tumorlens.data.heads import source_of
from tumorlens.data.manifest import read_manifest
from tumorlens.data.sources import load_source
from tumorlens.errors import SourceNotFoundError


@pytest.mark.parametrize(
    ("path", "label", "tumour_type"),
    [
        ("yes/a.jpg", 1, None),
        ("no/a.JPG", 0, None),
        ("Tumor/a.png", 1, None),
        ("healthy/a.tif", 0, None),
        ("Training/glioma_tumor/a.jpg", 1, "glioma"),
        ("Training/no_tumor/a.jpg", 0, None),
        ("Testing/notumor/a.jpg", 0, None),
        ("Testing/pituitary/scans/a.jpg", 1, "pituitary"),
        ("other/a.jpg", None, None),
        ("a.jpg", None, None),
        ("unknown/not/a.jpg", None, None),
    ],
)
def test_folder_names_give_labels_else_none(
    tmp_path: Path, path: str, label: int | None, tumour_type: str | None
) -> None:
    file = tmp_path / "set" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    (file.parent / "notes.txt").write_text("not an image")
    (file.parent / ".hidden.jpg").write_bytes(b"x")
    (record,) = load_source(tmp_path / "set")
    assert (record.key, record.path) == (f"set:{path}", file)
    assert (record.label, record.tumour_type, record.boxes) == (label, tumour_type, None)


def test_a_class_folder_can_be_the_root(tmp_path: Path) -> None:
    draw_set(tmp_path, 2, 3)
    assert [r.label for r in load_source(tmp_path / "no")] == [0, 0, 0]
    assert [r.label for r in load_source(tmp_path / "yes")] == [1, 1]


def test_a_manifest_takes_precedence_over_folder_names(tmp_path: Path) -> None:
    draw_set(tmp_path, 1, 1)
    records = [replace(r, finding="tumor") for r in load_source(tmp_path) if r.label == 1]
    write_manifest(records, tmp_path / "manifest.csv")
    assert load_source(tmp_path) == load_source(tmp_path / "manifest.csv") == records


def test_a_name_selects_its_rows_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = load_source(draw_set(tmp_path, 2, 2))
    write_manifest(records, tmp_path / "manifest.csv")
    monkeypatch.setenv("TUMORLENS_DATA", str(tmp_path))
    assert len(load_source(tmp_path.name)) == 4
    with pytest.raises(SourceNotFoundError, match="br35h, cheng2017, navoneel"):
        load_source("nowhere")


@pytest.mark.parametrize("named", ["", "empty"])
def test_nothing_to_read_is_an_error(tmp_path: Path, named: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceNotFoundError, match="contains no images"):
        load_source(tmp_path / named)


def test_only_one_source_has_an_open_licence() -> None:
    assert [n for n, i in KNOWN_SOURCES.items() if i.licence == "CC-BY-4.0"] == ["cheng2017"]
    assert "1512427 v5" in source_info("cheng2017").citation
    for info in KNOWN_SOURCES.values():
        assert info.citation
        assert info.name == "cheng2017" or info.licence.startswith("unclear")
    assert source_info("elsewhere").licence == "unknown"


def test_the_real_data_folder_is_a_known_source(tmp_path: Path) -> None:
    draw_set(tmp_path / "brain_tumor_dataset", 1, 0)
    (record,) = load_source(tmp_path / "brain_tumor_dataset")
    assert (record.source, record.key) == ("navoneel", "navoneel:yes/00.png")


def test_the_sources_of_the_wide_tables_are_in_the_catalogue() -> None:
    assert source_info("brisc_healthy").licence == "CC-BY-4.0"
    assert source_info("openneuro_ds002748_heads").licence == "CC0-1.0 (ds002748)"
    assert source_info("rsna_t1c").licence.startswith("unclear")
    with files("tumorlens.data").joinpath("further_sources.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    assert not set(names) & set(KNOWN_SOURCES)
    for row in rows:
        assert row["licence"], row
        assert row["citation"], row
        assert not row["url"] or row["url"].startswith("https://"), row


@pytest.mark.real
def test_no_source_of_the_wide_tables_is_left_out(more_root: Path) -> None:
    listed = {record.source for record in read_manifest(more_root / "images.csv")}
    with (more_root / "heads.csv").open(encoding="utf-8") as table:
        listed |= {source_of(row["source"]) for row in csv.DictReader(table)}
    assert {name for name in listed if source_info(name).licence == "unknown"} == set()
