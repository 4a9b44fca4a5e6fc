"""``tumorlens predict --dicom-out``: results beside the answers, and what has none."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest

from tests.dicom.studies import STUDY, write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tumorlens.cli.app import run
from tumorlens.imaging.phantom import draw_phantom
from tumorlens.inference.overlay import encode_png

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    monkeypatch.setenv("TUMORLENS_MODEL", str(path))


def test_a_series_gets_a_folder_of_results(tmp_path: Path, capsys: Capture) -> None:
    study = write_study(tmp_path / "study")
    out = tmp_path / "new" / "out"
    arguments = ["predict", str(study), "--dicom-out", str(out), "--as", "sr, seg", "--format"]
    assert run([*arguments, "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "tumor"
    assert sorted(each.name for each in (out / "study").iterdir()) == ["seg.dcm", "sr.dcm"]
    first = pydicom.dcmread(out / "study" / "sr.dcm")
    assert first.StudyInstanceUID == STUDY
    assert run([*arguments, "csv"]) == 0
    assert pydicom.dcmread(out / "study" / "sr.dcm").SOPInstanceUID == first.SOPInstanceUID


def test_what_is_no_dicom_series_is_said_and_the_rest_is_written(
    tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "scans"
    write_study(folder / "dicom")
    save(folder / "b.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    (folder / "c.png").write_bytes(encode_png(draw_phantom(1, lesion=False).image))
    out = tmp_path / "out"
    arguments = ["predict", str(folder), "--dicom-out", str(out), "--as", "sr", "--format", "jsonl"]
    assert run(arguments) == 3
    printed = capsys.readouterr()
    assert [json.loads(line)["error"] for line in printed.out.splitlines()] == [None] * 3
    assert "b.nii.gz: not a DICOM series" in printed.err
    assert "c.png: a single picture, no series" in printed.err
    assert [each.name for each in out.iterdir()] == ["dicom"]
    assert "CANARY" not in printed.out + printed.err


def test_fhir_is_a_bundle_a_series(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "scans"
    write_study(folder / "dicom")
    save(folder / "b.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    (folder / "c.png").write_bytes(encode_png(draw_phantom(1, lesion=False).image))
    assert run(["predict", str(folder), "--format", "fhir"]) == 3
    printed = capsys.readouterr()
    bundles = [json.loads(line) for line in printed.out.splitlines()]
    assert [each["resourceType"] for each in bundles] == ["Bundle"] * 2
    assert "CANARY" not in printed.out + printed.err
    assert "c.png: a single picture, no series" in printed.err
    assert run(["predict", str(folder / "dicom"), "--format", "fhir", "--with-identifiers"]) == 0
    assert "CANARY-NAME^JANE" in capsys.readouterr().out
    assert run(["predict", str(folder), "--with-identifiers"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--as", "sr,pdf"], "pdf"),
        (["--as", ""], "of no kind"),
        (["--slices"], "--slices"),
        (["--out", "job"], "--out"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, options: list[str], words: str, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert run(["predict", str(tmp_path), "--dicom-out", str(out), *options]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_extra_is_said_before_anything_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("tumorlens.dicom.results.find_spec", lambda name: None)
    assert run(["predict", str(tmp_path / "none"), "--dicom-out", str(tmp_path / "out")]) == 2
    assert "pip install 'tumorlens[dicom]'" in capsys.readouterr().err
