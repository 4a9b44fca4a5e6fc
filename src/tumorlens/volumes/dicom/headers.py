"""The header of a source file → the few elements that results take over from it.

Nothing else of a file enters a result: patient and study as PS3.3 requires them of every object of
the study, what references need, and the frame of reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom import config, dcmread
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.dicom import elements
from tumorlens.imaging.foreign import foreign
from tumorlens.volumes.dicom.frames import DAMAGED
from tumorlens.volumes.source import Source
from tumorlens.volumes.volume import Volume

CHARACTER_SET = "ISO_IR 192"
# Type 2: present in every result, empty where the source has no valid value.
NAMES = ("PatientName", "ReferringPhysicianName")
REQUIRED = (
    "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber",
)  # fmt: skip
# Taken over where the source has a valid value: who issued the identifier, and what says that the
# source was de-identified.
OPTIONAL = (
    "IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod",
    "LongitudinalTemporalInformationModified", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "Modality",
)  # fmt: skip
_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SIZES = ("Rows", "Columns", "NumberOfFrames", "SeriesNumber")
_SEXES = ("M", "F", "O")


@dataclass(frozen=True, eq=False)
class SourceHeader:
    """What results take over from one source file.

    Attributes:
        dataset: a new data set of the elements that results need; names of persons are empty.
        names: names of persons by keyword. highdicom quotes those it finds unusual in warnings, so
            they are written into a result after it was made.
    """

    dataset: Dataset
    names: dict[str, str]


def read_source_header(source: Source) -> SourceHeader:
    """Read a source file.

    Raises:
        UnsupportedFormatError: an identifier that every reference needs is missing or malformed.
        DecodeError: damaged.
    """
    keywords = (*NAMES, *REQUIRED, *OPTIONAL, *_IDENTIFIERS, *_SIZES, "SpecificCharacterSet")
    with foreign(source.name, DAMAGED), source.open() as stream:
        stored = dcmread(stream, force=True, stop_before_pixels=True, specific_tags=list(keywords))
        header = Dataset()
        for keyword in _IDENTIFIERS:
            value = elements.text(stored, keyword)
            if not UID(value).is_valid:
                raise UnsupportedFormatError(
                    f"{source.name}: has no valid {keyword}, so that no DICOM result can refer to "
                    "it; export the series again"
                )
            setattr(header, keyword, UID(value))
        names = {keyword: _valid(stored, keyword) for keyword in NAMES}
        for keyword in NAMES:
            setattr(header, keyword, None)
        for keyword in REQUIRED:
            setattr(header, keyword, _valid(stored, keyword))
        for keyword in OPTIONAL:
            if value := _valid(stored, keyword):
                setattr(header, keyword, value)
        for keyword in _SIZES:
            number = elements.integer(stored, keyword)
            if number is not None:
                setattr(header, keyword, number)
    header.SpecificCharacterSet = CHARACTER_SET  # of the results, which take it from here
    return SourceHeader(header, names)


_SHOWN = {
    "PatientName": "Patient", "PatientID": "Patient ID", "PatientBirthDate": "Birth date",
    "PatientSex": "Sex", "StudyDate": "Study date", "AccessionNumber": "Accession number",
    "StudyInstanceUID": "Study Instance UID", "SeriesInstanceUID": "Series Instance UID",
}  # fmt: skip


def read_identifiers(volume: Volume) -> dict[str, str]:
    """Return what names the patient and the study of a DICOM series, in words → as in the file.

    Only what the file gives; none at all for other formats. Raises as `read_source_header`.
    """
    found = read_identity(volume)
    return {words: found[keyword] for keyword, words in _SHOWN.items() if keyword in found}


def read_identity(volume: Volume) -> dict[str, str]:
    """Return the same by the keyword of each element: ``PatientName`` …"""
    frame = next((each for each in volume.frames if each is not None), None)
    if frame is None:
        return {}
    header = read_source_header(frame.source)
    found = {
        keyword: str(header.names.get(keyword) or header.dataset.get(keyword) or "")
        for keyword in _SHOWN
    }
    return {keyword: value for keyword, value in found.items() if value}


@dataclass(frozen=True)
class StudyReferences:
    """Identifiers of a series' images.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        images: SOP Instance UID and SOP Class UID of each file, in the order of the slices.
    """

    study: str
    series: str
    images: tuple[tuple[str, str], ...]


def read_references(volume: Volume) -> StudyReferences | None:
    """Return what refers to the images of a DICOM series; None for other formats.

    Raises as `read_source_header`.
    """
    sources = dict.fromkeys(each.source for each in volume.frames if each is not None)
    if not sources:
        return None
    headers = [read_source_header(each).dataset for each in sources]
    return StudyReferences(
        str(headers[0].StudyInstanceUID),
        str(headers[0].SeriesInstanceUID),
        tuple((str(each.SOPInstanceUID), str(each.SOPClassUID)) for each in headers),
    )


def _valid(stored: Dataset, keyword: str) -> Any:
    """Return an element's value where it is one of its value representation, else "".

    Its bytes are decoded here: pydicom would quote a malformed value in a warning.
    """
    vr = dictionary_VR(keyword)
    raw = elements.content(stored, keyword)
    if raw is None:
        return ""
    try:
        encodings = convert_encodings(list(elements.texts(stored, "SpecificCharacterSet")) or [""])
        text = decode_bytes(raw, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
        text = text.strip(" \0")
        if keyword == "PatientSex" and text not in _SEXES:
            return ""
        if text:
            DataElement(tag_for_keyword(keyword) or 0, vr, text, validation_mode=config.RAISE)
    except (ValueError, LookupError):
        return ""
    return text
