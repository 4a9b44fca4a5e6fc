"""Answers for DICOM series as DICOM objects of the same study (extra ``dicom``)."""

from tumorlens.dicom.results import KINDS, Kind, result_datasets, write_results

__all__ = ["KINDS", "Kind", "result_datasets", "write_results"]
