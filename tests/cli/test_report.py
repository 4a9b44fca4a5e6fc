"""``tumorlens report`` on series: one page each, named by its file; runs are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dicom.studies import write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tumorlens.cli.app import run
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import encode_png

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    monkeypatch.setenv("TUMORLENS_MODEL", str(path))


def test_each_series_gets_a_page(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "scans"
    write_study(folder / "dicom")
    save(folder / "b.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    (folder / "broken.nii.gz").write_bytes(b"x")
    out = tmp_path / "new" / "out"
    assert run(["report", str(folder), "--output", str(out)]) == 3
    printed = capsys.readouterr()
    pages = ["b.nii.gz.report.html", "dicom.report.html"]
    assert sorted(each.name for each in out.iterdir()) == pages
    assert sorted(printed.out.split()) == [str(out / name) for name in pages]
    assert "broken.nii.gz" in printed.err
    text = (out / "dicom.report.html").read_text("utf-8")
    assert "Tumour suspected" in text
    assert "CANARY" not in text + printed.out + printed.err


def test_identifiers_are_shown_when_asked_for(tmp_path: Path, capsys: Capture) -> None:
    study = write_study(tmp_path / "study")
    arguments = ["report", str(study), "-o", str(tmp_path), "--with-identifiers"]
    assert run([*arguments, "--plane", "sagittal"]) == 0
    assert "CANARY-NAME" not in "".join(capsys.readouterr())
    text = (tmp_path / "study.report.html").read_text("utf-8")
    assert "CANARY-NAME^JANE" in text
    assert "sagittal slice" in text


def test_a_picture_alone_has_no_report(tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(encode_png(draw_phantom(1, lesion=False).image))
    out = tmp_path / "out"
    assert run(["report", str(picture), "-o", str(out)]) == 3
    assert "no series, only single pictures" in capsys.readouterr().err
    assert not out.exists()
