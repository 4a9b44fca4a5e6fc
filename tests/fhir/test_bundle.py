"""The Bundle is valid FHIR, says what the answer says, and names nobody unless asked to."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle

from tests.dicom.studies import ELSEWHERE, REQUIRED, STUDY, answered, write_study
from tests.inference.series.drawn import head, save, write_bright_model
from tumorlens.fhir import fhir_bundle
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.run import SeriesRun

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = write_bright_model(tmp_path_factory.mktemp("model") / "bright.onnx")
    return Predictor.open(path, threads=1)


@pytest.fixture(scope="module")
def runs(bright: Predictor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SeriesRun]:
    folder = tmp_path_factory.mktemp("studies")
    return {
        "tumour": answered(bright, write_study(folder / "tumour")),
        "healthy": answered(bright, write_study(folder / "healthy", tumour=False)),
        "refused": answered(bright, write_study(folder / "knee", BodyPartExamined="KNEE")),
        "enhanced": answered(bright, write_study(folder / "enhanced", multi=True)),
        "nifti": answered(bright, save(folder / "a.nii.gz", head())),
    }


def resources(bundle: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in bundle["entry"]:
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


@pytest.mark.parametrize("kind", ["tumour", "healthy", "refused", "enhanced", "nifti"])
@pytest.mark.parametrize("named", [False, True])
def test_bundles_are_valid_and_their_references_end_inside(
    runs: dict[str, SeriesRun], kind: str, named: bool
) -> None:
    bundle = fhir_bundle(runs[kind], with_identifiers=named, now=NOW)
    read = Bundle.model_validate(json.loads(json.dumps(bundle)))
    assert [each.resource.__class__.__name__ for each in read.entry][:2] == [
        "DiagnosticReport", "ImagingStudy"
    ]  # fmt: skip
    addresses = {each["fullUrl"] for each in bundle["entry"]}
    assert len(addresses) == len(bundle["entry"])
    named_in_it = {part.split('"')[0] for part in json.dumps(bundle).split('"reference": "')[1:]}
    assert named_in_it <= addresses


def test_a_tumour_is_a_preliminary_report_with_its_measurements(
    runs: dict[str, SeriesRun],
) -> None:
    run = runs["tumour"]
    found = resources(fhir_bundle(run, now=NOW))
    (report,), (finding,) = found["DiagnosticReport"], run.answer.findings
    assert report["status"] == "preliminary"
    assert report["issued"] == "2026-03-04T05:06:07+00:00"
    assert "not for clinical use" in report["conclusion"]
    series, region = found["Observation"]
    assert {each["status"] for each in (series, region)} == {"preliminary"}
    assert series["valueCodeableConcept"]["text"] == "tumour"
    assert series["component"][0]["valueQuantity"]["value"] == pytest.approx(
        100 * run.answer.prob, abs=0.01
    )
    values = {
        each["code"]["coding"][0]["code"]: each["valueQuantity"] for each in region["component"]
    }
    assert (values["118565006"]["value"], values["118565006"]["code"]) == (finding.volume_ml, "mL")
    assert (values["42798000"]["value"], values["42798000"]["code"]) == (finding.area_mm2, "mm2")
    assert values["103339001"]["value"] == finding.diameter_mm
    assert region["bodySite"]["text"] == "Brain, right"
    assert found["Device"][0]["serialNumber"] == run.answer.model.sha256


def test_the_imaging_study_refers_to_every_image(runs: dict[str, SeriesRun]) -> None:
    (study,) = resources(fhir_bundle(runs["tumour"]))["ImagingStudy"]
    assert study["identifier"][0]["value"] == f"urn:oid:{STUDY}"
    (series,) = study["series"]
    stored = [pydicom.dcmread(each) for each in runs["tumour"].volume.files]
    assert {each["uid"] for each in series["instance"]} == {each.SOPInstanceUID for each in stored}
    assert series["numberOfInstances"] == len(stored)
    (other,) = resources(fhir_bundle(runs["nifti"]))["ImagingStudy"]
    assert "series" not in other
    (one,) = resources(fhir_bundle(runs["enhanced"]))["ImagingStudy"]
    assert one["series"][0]["numberOfInstances"] == 1


def test_refused_and_healthy_series_say_so(runs: dict[str, SeriesRun]) -> None:
    (refused,) = resources(fhir_bundle(runs["refused"]))["Observation"]
    assert refused["valueCodeableConcept"]["text"] == "uncertain"
    assert refused["component"][0]["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert any("the header says" in each["text"] for each in refused["note"])
    (healthy,) = resources(fhir_bundle(runs["healthy"]))["Observation"]
    assert healthy["valueCodeableConcept"]["coding"][0]["display"] == "Not detected"


def test_nobody_is_named_unless_asked_for(runs: dict[str, SeriesRun]) -> None:
    text = json.dumps(fhir_bundle(runs["tumour"]))
    assert "CANARY" not in text
    assert REQUIRED["PatientBirthDate"] not in text
    assert "1961" not in text
    assert "2024-01-02" not in text
    found = resources(fhir_bundle(runs["tumour"], with_identifiers=True))
    (patient,), (report,) = found["Patient"], found["DiagnosticReport"]
    assert patient["identifier"] == [{"value": "CANARY-ID"}]
    assert (patient["gender"], patient["birthDate"]) == ("female", "1961-02-03")
    assert patient["name"] == [
        {"text": "CANARY-NAME^JANE", "family": "CANARY-NAME", "given": ["JANE"]}
    ]
    assert report["identifier"][0]["value"] == "CANARY-ACCESS"
    assert report["effectiveDateTime"] == "2024-01-02"
    named = json.dumps(found)
    assert not [value for value in ELSEWHERE.values() if value in named]


def test_addresses_are_those_of_a_rerun(runs: dict[str, SeriesRun], bright: Predictor) -> None:
    def addresses(run: SeriesRun) -> list[str]:
        return [each["fullUrl"] for each in fhir_bundle(run)["entry"]]

    again = answered(bright, Path(runs["tumour"].volume.files[0]).parent)
    assert addresses(again) == addresses(runs["tumour"])
    assert not set(addresses(runs["healthy"])) & set(addresses(runs["tumour"]))
