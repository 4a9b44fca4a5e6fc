"""What all results have in common: identifiers that a rerun repeats, and nothing of the patient."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.dicom.studies import ELSEWHERE, REQUIRED, STUDY, answered, write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tumorlens.dicom import KINDS, result_datasets, write_results
from tumorlens.errors import ConfigError, MissingExtraError, UnsupportedFormatError
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun

Runs = dict[str, SeriesRun]
Results = Callable[[str], dict[str, Dataset]]


def uids(made: dict[str, Dataset]) -> dict[str, tuple[str, str]]:
    return {name: (each.SeriesInstanceUID, each.SOPInstanceUID) for name, each in made.items()}


def test_results_are_new_series_of_the_same_study(runs: Runs, results: Results) -> None:
    source = pydicom.dcmread(runs["axial"].volume.files[0])
    made = results("axial")
    series = {}
    for name, each in made.items():
        assert each.StudyInstanceUID == STUDY
        assert each.SeriesInstanceUID != source.SeriesInstanceUID
        assert each.SpecificCharacterSet == "ISO_IR 192"
        assert str(each.ContentDate) == "20260304"
        series.setdefault(each.SeriesInstanceUID, set()).add(name.partition("-")[0])
    assert sorted(map(sorted, series.values())) == sorted([[n] for n in {
        name.partition("-")[0] for name in made}])  # fmt: skip


def test_identifiers_are_those_of_a_rerun_and_of_nothing_else(
    runs: Runs, results: Results, bright: Predictor, tmp_path: Path
) -> None:
    again = answered(bright, Path(runs["axial"].volume.files[0]).parent)
    first = uids(results("axial"))
    assert uids(dict(result_datasets(again))) == first
    assert all(
        len(uid) <= 64 and uid.startswith("2.25.") for pair in first.values() for uid in pair
    )
    other = Predictor.open(write_bright_model(tmp_path / "other.onnx", temperature=1.25), threads=1)
    changed = [
        runs["recut"],
        answered(other, Path(runs["axial"].volume.files[0]).parent),
        answered(bright, write_study(tmp_path / "b", SeriesInstanceUID="1.2.826.0.1.8")),
    ]
    known = {uid for pair in first.values() for uid in pair}
    for run in changed:
        made = uids(dict(result_datasets(run, ["sr"])))
        assert not known & {uid for pair in made.values() for uid in pair}


def values(dataset: Dataset) -> Any:
    for element in dataset.iterall():
        if element.VR != "SQ":
            yield element.keyword, str(element.value)


@pytest.mark.parametrize("kind", ["axial", "enhanced", "healthy"])
def test_identifiers_of_the_patient_stand_where_the_standard_asks_for_them(
    results: Results, kind: str
) -> None:
    for made in results(kind).values():
        for keyword, value in REQUIRED.items():
            assert str(made[keyword].value) == value
        found = {keyword for keyword, value in values(made) if "CANARY" in value}
        assert found == {keyword for keyword, value in REQUIRED.items() if "CANARY" in value}
        own = {"SeriesDescription", "ImageComments", "DeviceSerialNumber"}
        assert not (set(ELSEWHERE) - own) & {keyword for keyword, _ in values(made)}


def test_nothing_of_the_patient_is_logged_or_warned_of(
    bright: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    folder = write_study(tmp_path / "study")
    for path in folder.iterdir():
        made = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.PatientName = "CANARYWITHOUTCARET"
            made.add_new("PatientBirthDate", "DA", "19610203")
            made["PatientBirthDate"]._value = "CANARY-61"
            made.save_as(path)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = answered(bright, folder)
        paths = write_results(run, tmp_path / "out")
    for each in map(pydicom.dcmread, paths):
        assert each.PatientName == "CANARYWITHOUTCARET"
        assert not each.PatientBirthDate  # it was no date
    assert "CANARY" not in caplog.text + "".join(capsys.readouterr())
    assert not [path for path in (tmp_path / "out").iterdir() if "CANARY" in path.name]


def test_names_of_another_character_set_are_kept(bright: Predictor, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", SpecificCharacterSet="ISO_IR 100",
                         PatientName="Müller^Jörg")  # fmt: skip
    write_results(answered(bright, folder), tmp_path / "out", ["sr"])
    read = pydicom.dcmread(tmp_path / "out" / "sr.dcm")
    assert str(read.PatientName) == "Müller^Jörg"


def test_files_are_named_by_their_kind(runs: Runs, results: Results, tmp_path: Path) -> None:
    paths = write_results(runs["axial"], tmp_path / "new" / "out", ["sc", "sr", "sc"])
    names = [each.name for each in paths]
    assert names[0] == "sc-001.dcm"
    assert names[-1] == "sr.dcm"
    assert sorted(names) == sorted(each.name for each in (tmp_path / "new" / "out").iterdir())
    assert {pydicom.dcmread(each).file_meta.MediaStorageSOPInstanceUID for each in paths} == {
        each.SOPInstanceUID for name, each in results("axial").items() if name in names
    }  # fmt: skip


def test_what_cannot_be_written_is_said(
    runs: Runs, bright: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nifti = answered(bright, save(tmp_path / "a.nii.gz", head()))
    with pytest.raises(UnsupportedFormatError, match="not a DICOM series"):
        write_results(nifti, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="give some of sr"):
        result_datasets(runs["axial"], ["pdf"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="of no kind"):
        result_datasets(runs["axial"], [])
    nameless = answered(bright, write_study(tmp_path / "study", StudyInstanceUID=""))
    with pytest.raises(UnsupportedFormatError, match="no valid StudyInstanceUID"):
        result_datasets(nameless)
    monkeypatch.setattr("tumorlens.dicom.results.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tumorlens\[dicom\]"):
        result_datasets(runs["axial"], KINDS)
