"""Coded concepts and quantities as FHIR R4 has them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "RAD": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "CATEGORY": "http://terminology.hl7.org/CodeSystem/observation-category",
    "ABSENT": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "IDENTIFIER": "http://terminology.hl7.org/CodeSystem/v2-0203",
}


def concept(scheme: str, code: str, display: str, text: str | None = None) -> Json:
    """Return a CodeableConcept of one code."""
    coded: Json = {"coding": [coding(scheme, code, display)]}
    return coded | {"text": text} if text else coded


def coding(scheme: str, code: str, display: str) -> Json:
    """Return a Coding."""
    return {"system": _SYSTEMS[scheme], "code": code, "display": display}


def quantity(value: float, code: str, unit: str | None = None) -> Json:
    """Return a Quantity with a unit of UCUM."""
    return {"value": value, "unit": unit or code, "system": _SYSTEMS["UCUM"], "code": code}


MR_BRAIN = concept("LN", "24590-2", "MR Brain")
RADIOLOGY = concept("RAD", "RAD", "Radiology")
IMAGING = concept("CATEGORY", "imaging", "Imaging")
NEOPLASM = concept("SCT", "108369006", "Neoplasm", "Decision of the model: does the series show a tumour?")  # noqa: E501  # fmt: skip
MASS = concept("SCT", "4147007", "Mass", "Region of the model's evidence for a tumour")
BRAIN = ("SCT", "12738006", "Brain")
CERTAINTY = concept("DCM", "111012", "Certainty of Finding", "Calibrated probability of a tumour")
VOLUME = concept("SCT", "118565006", "Volume")
AREA = concept("SCT", "42798000", "Area", "Largest area in one slice")
LONG_AXIS = concept("SCT", "103339001", "Long axis", "Longest diameter within one slice")
NOT_DONE = concept("ABSENT", "not-performed", "Not Performed")
ACCESSION = concept("IDENTIFIER", "ACSN", "Accession ID")
DECISIONS = {
    "tumor": concept("SCT", "260373001", "Detected", "tumour"),
    "healthy": concept("SCT", "260415000", "Not detected", "healthy"),
    "uncertain": concept("SCT", "82334004", "Indeterminate", "uncertain"),
}
"""The decision in words of SNOMED CT, and in ours."""
