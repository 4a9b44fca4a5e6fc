"""What every result has in common: who made it, when, and in which series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tumorlens import __version__
from tumorlens.dicom.sources import SourceSeries

MANUFACTURER = "TumorLens"
NOT_CLINICAL = "RESEARCH ONLY - NOT FOR CLINICAL USE"
# Above the numbers that scanners give.
_SERIES_NUMBERS = {"sr": 9901, "pm": 9902, "seg": 9903, "sc": 9904, "ko": 9905}
_DESCRIPTIONS = {
    "sr": "TumorLens report (research)",
    "pm": "TumorLens evidence map (research)",
    "seg": "TumorLens outlines (research)",
    "sc": "TumorLens pictures (research)",
    "ko": "TumorLens key slices (research)",
}


@dataclass(frozen=True)
class Moment:
    """When the results were made: the same in all of them."""

    at: datetime

    @property
    def content(self) -> dict[str, Any]:
        """Content Date and Content Time."""
        return {"content_date": self.at.date(), "content_time": self.at.time()}


def series_attributes(sources: SourceSeries, kind: str, number: int = 1) -> dict[str, Any]:
    """Return the arguments that highdicom's objects share, for result ``number`` of a kind."""
    return {
        "series_instance_uid": sources.uids.uid(kind, "series"),
        "series_number": _SERIES_NUMBERS[kind],
        "sop_instance_uid": sources.uids.uid(kind, "instance", number),
        "instance_number": number,
        "manufacturer": MANUFACTURER,
        "series_description": _DESCRIPTIONS[kind],
    }


def device_attributes(sources: SourceSeries) -> dict[str, Any]:
    """Return name, version and serial number of the device: program, and model file."""
    model = sources.answer.model
    return {
        "manufacturer_model_name": model.name[:64],
        "software_versions": f"TumorLens {__version__}, model {model.version}"[:64],
        # The whole hash would take all 64 characters that the attribute has.
        "device_serial_number": model.sha256[:16],
    }
