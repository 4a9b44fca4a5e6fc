"""The slices that show a finding, as a Key Object Selection."""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.dataset import Dataset

import tumorlens.dicom.codes as codes
from tumorlens.dicom.equipment import Moment, device_attributes, series_attributes
from tumorlens.dicom.sources import SourceSeries, SourceSlice
from tumorlens.dicom.structured_report import observer

_DESCRIPTION = "Slices with outlined findings of TumorLens. Research only, not for clinical use."


def key_objects(sources: SourceSeries, moment: Moment) -> list[Dataset]:
    """Return the selection; none without a finding, or where slices are cut in another plane."""
    shown = _shown(sources)
    headers = list({id(each.header): each.header for each in shown}.values())
    if not headers:
        return []
    content = KeyObjectSelection(
        document_title=codes.OF_INTEREST,
        referenced_objects=headers,
        observer_device_context=observer(sources),
        description=_DESCRIPTION,
    )
    for item in content[0].ContentSequence:
        if item.get("ValueType") == "IMAGE":
            _name_frames(item.ReferencedSOPSequence[0], shown)
    made = KeyObjectSelectionDocument(
        evidence=headers,
        content=content,
        **series_attributes(sources, "ko"),
        **device_attributes(sources),
        **moment.content,
    )
    return [made]


def _shown(sources: SourceSeries) -> list[SourceSlice]:
    if not sources.in_acquisition_plane:
        return []
    indices = {each.index for finding in sources.answer.findings for each in finding.outlines}
    slices = (sources.slices[index] for index in sorted(indices))
    return [each for each in slices if each is not None]


def _name_frames(reference: Dataset, shown: list[SourceSlice]) -> None:
    """Add the numbers of the frames of a file of several."""
    numbers = sorted(
        number
        for each in shown if each.header.SOPInstanceUID == reference.ReferencedSOPInstanceUID
        for number in each.frame_numbers or ()
    )  # fmt: skip
    if numbers:
        reference.ReferencedFrameNumber = numbers
