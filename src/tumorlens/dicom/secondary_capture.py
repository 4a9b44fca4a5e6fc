"""The answer as Secondary Capture images: the fallback for viewers that show no reports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

import tumorlens.dicom.codes as codes
from tumorlens.dicom.equipment import NOT_CLINICAL, Moment, device_attributes, series_attributes
from tumorlens.dicom.pictures import slice_picture, summary_picture
from tumorlens.dicom.sources import SourceSeries, SourceSlice
from tumorlens.inference.series.answer import SliceOutline
from tumorlens.inference.series.pictures import key_slices

# Directions of rows and columns of slices as they are shown.
_ORIENTATION = {"axial": ("L", "P"), "coronal": ("L", "F"), "sagittal": ("P", "F")}


def secondary_captures(sources: SourceSeries, moment: Moment) -> list[Dataset]:
    """Return a page of the answer, and each key slice with its evidence and outlines."""
    run = sources.run
    outlines: dict[int, list[SliceOutline]] = {}
    for finding in sources.answer.findings:
        for outline in finding.outlines:
            outlines.setdefault(outline.index, []).append(outline)
    by_index = {each.cut.index: each for each in run.evidence}
    made = [_capture(sources, moment, 1, summary_picture(run), ())]
    for number, index in enumerate(key_slices(sources.answer), 2):
        picture = slice_picture(run, by_index[index], outlines.get(index, []))
        source = sources.slices[index] if sources.in_acquisition_plane else None
        shown = () if source is None else (source,)
        made.append(_capture(sources, moment, number, picture, shown))
    return made


def _capture(
    sources: SourceSeries, moment: Moment, number: int, picture: NDArray[np.uint8],
    shown: Iterable[SourceSlice],
) -> Dataset:  # fmt: skip
    made = SCImage.from_ref_dataset(
        ref_dataset=sources.first,
        pixel_array=picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_ORIENTATION[sources.run.plane],
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **series_attributes(sources, "sc", number),
        **device_attributes(sources),
        **moment.content,
    )
    made.BodyPartExamined = "HEAD"
    made.BurnedInAnnotation = "YES"
    made.ImageComments = NOT_CLINICAL
    made.DerivationDescription = "Evidence for a tumour and outlines of findings over the scan"
    # What shows no single slice is derived from all files.
    made.SourceImageSequence = [_reference(each.header, each.frame_numbers) for each in shown] or [
        _reference(header, None) for header in sources.headers
    ]
    return made


def _reference(header: Dataset, frame_numbers: list[int] | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame_numbers is not None:
        item.ReferencedFrameNumber = frame_numbers
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
    return item
