"""Answers for DICOM series as DICOM objects of the same study (extra ``dicom``)."""

from tumorlens.dicom.results import (
    KINDS,
    Kind,
    check_kinds,
    iter_results,
    require_extra,
    result_datasets,
    write_results,
)

__all__ = [
    "KINDS",
    "Kind",
    "check_kinds",
    "iter_results",
    "require_extra",
    "result_datasets",
    "write_results",
]
