"""An answered series → a Bundle: DiagnosticReport, ImagingStudy, Observations, Device, Patient."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import tumorlens.fhir.concepts as concepts
from tumorlens import __version__
from tumorlens.fhir.concepts import Json
from tumorlens.fhir.observations import finding_observation, notes, series_observation
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.volumes.dicom.headers import StudyReferences, read_identity, read_references

_GENDERS = {"M": "male", "F": "female", "O": "other"}


def fhir_bundle(
    run: SeriesRun, *, with_identifiers: bool = False, now: datetime | None = None
) -> Json:
    """Return the answer as a FHIR R4 Bundle (type ``collection``), ready for `json.dumps`.

    Args:
        run: from `Predictor.run_series`, iterated to its end.
        with_identifiers: whether the patient, the accession number and the date of the study are
            named. The UIDs of a DICOM study, series and images are there in any case: without
            them an ImagingStudy refers to nothing.
        now: when the report was made; None: at the call. All ids are the same for the same answer.

    Raises:
        UnsupportedFormatError: DICOM files without the UIDs that a reference needs.
    """
    answer = run.answer
    references = read_references(run.volume)
    identity = read_identity(run.volume) if with_identifiers else {}
    names = _Names(answer, references)
    made = (now or datetime.now().astimezone()).isoformat(timespec="seconds")
    subject, device, study = names.to("patient"), names.to("device"), names.to("study")
    common = {"subject": subject, "device": device, "derivedFrom": [study]}
    findings = {
        f"finding {number}": finding_observation(number, each, answer.plane) | common
        for number, each in enumerate(answer.findings, 1)
    }
    series = series_observation(answer, [names.to(each) for each in findings]) | common
    resources = {
        "report": _report(answer, identity, made)
        | {"subject": subject, "imagingStudy": [study],
           "result": [names.to("series"), *(names.to(each) for each in findings)]},
        "study": _study(answer, references, identity) | {"subject": subject},
        "series": series,
        **findings,
        "device": _device(answer),
        "patient": _patient(identity),
    }  # fmt: skip
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": made,
        "entry": [
            {"fullUrl": names.url(name), "resource": resource}
            for name, resource in resources.items()
        ],
    }


class _Names:
    """Addresses of the resources within the bundle, the same for the same answer."""

    def __init__(self, answer: SeriesPrediction, references: StudyReferences | None) -> None:
        said = {key: value for key, value in answer.to_dict().items() if key != "latency_ms"}
        text = json.dumps([said, references and references.series], sort_keys=True)
        self._seed = hashlib.sha256(text.encode()).digest()

    def url(self, name: str) -> str:
        digest = hashlib.sha256(self._seed + name.encode()).digest()[:16]
        return UUID(bytes=digest, version=5).urn

    def to(self, name: str) -> Json:
        return {"reference": self.url(name)}


def _report(answer: SeriesPrediction, identity: Mapping[str, str], made: str) -> Json:
    report: Json = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [concepts.RADIOLOGY],
        "code": concepts.MR_BRAIN,
        "issued": made,
        "conclusion": " ".join([f"Decision of the model: {answer.decision}.", *notes(answer)]),
        "conclusionCode": [concepts.DECISIONS[answer.decision]],
    }
    if number := identity.get("AccessionNumber"):
        report["identifier"] = [{"type": concepts.ACCESSION, "value": number}]
    if date := _date(identity.get("StudyDate", "")):
        report["effectiveDateTime"] = date
    return report


def _study(
    answer: SeriesPrediction, references: StudyReferences | None, identity: Mapping[str, str]
) -> Json:
    modality = concepts.coding("DCM", "MR", "Magnetic Resonance")
    study: Json = {
        "resourceType": "ImagingStudy",
        "status": "available" if references else "unknown",
        "modality": [modality],
        "description": f"Brain MRI, sequence {answer.sequence}",
    }
    if references is None:
        return study
    study["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{references.study}"}]
    if number := identity.get("AccessionNumber"):
        study["identifier"].append({"type": concepts.ACCESSION, "value": number})
    if date := _date(identity.get("StudyDate", "")):
        study["started"] = date
    study["series"] = [
        {
            "uid": references.series,
            "modality": modality,
            "numberOfInstances": len(references.images),
            "bodySite": concepts.coding(*concepts.BRAIN),
            "instance": [
                {"uid": uid,
                 "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class}"}}
                for uid, sop_class in references.images
            ],
        }
    ]  # fmt: skip
    return study


def _device(answer: SeriesPrediction) -> Json:
    model = answer.model
    return {
        "resourceType": "Device",
        "manufacturer": "TumorLens",
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "serialNumber": model.sha256,
        "version": [
            {"type": {"text": "TumorLens"}, "value": __version__},
            {"type": {"text": "model"}, "value": model.version},
        ],
        "note": [{"text": answer.disclaimer}],
    }


def _patient(identity: Mapping[str, str]) -> Json:
    patient: Json = {"resourceType": "Patient"}
    if number := identity.get("PatientID"):
        patient["identifier"] = [{"value": number}]
    if name := identity.get("PatientName"):
        family, *given = name.partition("=")[0].split("^")
        patient["name"] = [{"text": name, **({"family": family} if family else {})}]
        if any(given[:2]):
            patient["name"][0]["given"] = [each for each in given[:2] if each]
    if gender := _GENDERS.get(identity.get("PatientSex", "")):
        patient["gender"] = gender
    if date := _date(identity.get("PatientBirthDate", "")):
        patient["birthDate"] = date
    return patient


def _date(value: str) -> str | None:
    """Return a date of DICOM as one of FHIR."""
    return f"{value[:4]}-{value[4:6]}-{value[6:8]}" if len(value) == 8 and value.isdigit() else None
