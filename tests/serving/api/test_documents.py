"""The answer for one series as a document."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from starlette.testclient import TestClient

from tests.dicom.studies import STUDY, write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tests.serving import scans
from tests.serving.api.test_batch import zipped
from tests.serving.conftest import MakeClient
from tumorlens.inference.predictor import Predictor


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return archive(write_study(tmp_path_factory.mktemp("studies") / "study"))


@pytest.fixture
def client(make_client: MakeClient, bright: Predictor) -> TestClient:
    return make_client(using=bright)


def archive(folder: Path) -> bytes:
    return zipped({f"CANARY-FOLDER/{each.name}": each.read_bytes() for each in folder.iterdir()})


def ask(client: TestClient, path: str, *bodies: bytes, **params: str) -> Any:
    files = [("file", (f"CANARY{n}.bin", body)) for n, body in enumerate(bodies)]
    return client.post(path, files=files, params=params)


def test_a_report_is_a_page_of_its_own(client: TestClient, study: bytes) -> None:
    answer = ask(client, "/report", study)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["cache-control"] == "no-store"
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "Tumour suspected" in answer.text
    assert "CANARY" not in answer.text
    named = ask(client, "/report", study, identifiers="true", plane="coronal").text
    assert "CANARY-NAME^JANE" in named
    assert "CANARY-FOLDER" not in named
    assert "coronal slice" in named


def test_a_volume_and_a_refused_series_have_reports(client: TestClient, tmp_path: Path) -> None:
    volume = save(tmp_path / "a.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    assert "No tumour found" in ask(client, "/report", volume.read_bytes()).text
    knee = archive(write_study(tmp_path / "knee", BodyPartExamined="KNEE"))
    answer = ask(client, "/report", knee)
    assert answer.status_code == 200
    assert "the header says" in answer.text


def test_no_series_and_several_are_refused(
    client: TestClient, study: bytes, tmp_path: Path
) -> None:
    assert ask(client, "/report", scans.png_scan()).status_code == 415
    assert ask(client, "/report", b"").status_code == 422
    volume = save(tmp_path / "a.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    answer = ask(client, "/report", study, volume.read_bytes())
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/malformed-request")
    assert "2 series" in answer.json()["detail"]


def test_dicom_is_a_zip_of_objects_of_the_study(client: TestClient, study: bytes) -> None:
    answer = ask(client, "/dicom", study)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        made = {
            name: pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()
        }
    assert {name[:2] for name in made} == {"sr", "pm", "se", "sc", "ko"}
    assert {each.StudyInstanceUID for each in made.values()} == {STUDY}
    some = ask(client, "/dicom", study, **{"as": "sr, seg", "plane": "coronal"})
    with zipfile.ZipFile(io.BytesIO(some.content)) as archive:
        assert archive.namelist() == ["sr.dcm", "seg.dcm"]


def test_dicom_of_a_volume_of_unknown_kinds_or_without_the_extra_is_refused(
    client: TestClient, study: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = save(tmp_path / "a.nii.gz", head(shape=(64, 72, 20), spacing=(3.0, 3.0, 8.0)))
    assert ask(client, "/dicom", volume.read_bytes()).status_code == 415
    wrong = ask(client, "/dicom", study, **{"as": "pdf"})
    assert (wrong.status_code, "pdf" in wrong.json()["detail"]) == (400, True)
    monkeypatch.setattr("tumorlens.dicom.results.find_spec", lambda name: None)
    missing = ask(client, "/dicom", study)
    assert (missing.status_code, missing.json()["type"]) == (501, "/problems/dicom-unavailable")


def test_fhir_names_nobody_unless_asked_to(client: TestClient, study: bytes) -> None:
    answer = ask(client, "/fhir", study)
    assert answer.headers["content-type"] == "application/fhir+json"
    assert answer.json()["entry"][0]["resource"]["resourceType"] == "DiagnosticReport"
    assert "CANARY" not in answer.text
    assert "CANARY-NAME^JANE" in ask(client, "/fhir", study, identifiers="true").text
