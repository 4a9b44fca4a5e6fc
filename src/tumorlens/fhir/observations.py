"""What is said of the series and of each finding, as FHIR R4 Observations."""

from __future__ import annotations

from collections.abc import Sequence

import tumorlens.fhir.concepts as concepts
from tumorlens.fhir.concepts import Json
from tumorlens.inference.series.answer import Finding, SeriesPrediction


def series_observation(answer: SeriesPrediction, members: Sequence[Json]) -> Json:
    """Return the decision, with the calibrated probability as a component.

    Args:
        answer: of the series.
        members: references to the observations of its findings.
    """
    made: Json = _observation(concepts.NEOPLASM)
    made["valueCodeableConcept"] = concepts.DECISIONS[answer.decision]
    made["note"] = [{"text": text} for text in notes(answer)]
    if answer.prob is None:
        made["component"] = [
            {"code": concepts.CERTAINTY, "dataAbsentReason": concepts.NOT_DONE}
        ]  # fmt: skip
    else:
        made["component"] = [_component(concepts.CERTAINTY, 100 * answer.prob, "%")]
    if members:
        made["hasMember"] = list(members)
    return made


def finding_observation(number: int, finding: Finding, plane: str) -> Json:
    """Return one finding with its measurements as components."""
    made = _observation(concepts.MASS)
    side = "" if finding.laterality == "unknown" else f", {finding.laterality}"
    made["bodySite"] = concepts.concept(*concepts.BRAIN, text=f"Brain{side}")
    made["valueString"] = f"Finding {number}: {plane} slices {finding.first} to {finding.last}"
    made["component"] = [
        _component(concepts.VOLUME, finding.volume_ml, "mL"),
        _component(concepts.AREA, finding.area_mm2, "mm2"),
        _component(concepts.LONG_AXIS, finding.diameter_mm, "mm"),
        _component(concepts.CERTAINTY, 100 * finding.prob, "%"),
    ]
    return made


def notes(answer: SeriesPrediction) -> list[str]:
    """Return what a reader must know besides the values, in sentences."""
    answered = sum(each.set_aside is None for each in answer.slices)
    said = [answer.disclaimer]
    if not answer.in_domain:
        said.append(f"Not a usable series of a head's MRI: {answer.in_domain_reason}.")
    said.append(f"{answered} of {len(answer.slices)} {answer.plane} slices were answered.")
    said.append(f"Threshold of the probability: {answer.threshold:.4g}, {answer.threshold_origin}.")
    return said


def _observation(code: Json) -> Json:
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": [concepts.IMAGING],
        "code": code,
    }


def _component(code: Json, value: float, unit: str) -> Json:
    return {"code": code, "valueQuantity": concepts.quantity(round(value, 2), unit)}
