"""Answers for series as HL7 FHIR R4 resources."""

from tumorlens.fhir.bundle import fhir_bundle

__all__ = ["fhir_bundle"]
