"""One DICOM file → the headers of its frames: single images, Enhanced and classic multi-frame.

Of an Enhanced file, the functional groups of a frame (PS3.3, C.7.6.16) are flattened to the
elements that a file of one image has, so that both are read by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING

import numpy as np

from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.reading import ALLOWED, read_elements
from tumorlens.imaging.dicom.scan import read_header
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.header import ScanHeader
from tumorlens.imaging.image import Limits
from tumorlens.volumes.dicom.mosaic import read_mosaic
from tumorlens.volumes.source import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DAMAGED = "the DICOM file is truncated or damaged; export or send it again"
_MAX_FRAMES = 4096
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
# Beside those of an image: what tells series, stacks and repetitions apart.
_STUDY = (
    "SOPInstanceUID", "SeriesNumber", "AcquisitionNumber", "TemporalPositionIdentifier",
    "SliceThickness", "SpacingBetweenSlices", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_PRIVATE = (0x00190010, 0x0019100A, 0x00290010, 0x00291010, 0x00291110)  # Siemens' mosaics
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Functional group → its elements, and their names in a file of one image where they differ.
_GROUPS: dict[str, dict[str, str]] = {
    "PlanePositionSequence": {"ImagePositionPatient": ""},
    "PlaneOrientationSequence": {"ImageOrientationPatient": ""},
    "PixelMeasuresSequence": {
        "PixelSpacing": "", "SliceThickness": "", "SpacingBetweenSlices": "",
    },
    "PixelValueTransformationSequence": {"RescaleSlope": "", "RescaleIntercept": ""},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "", "FlipAngle": ""},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "MRDiffusionSequence": {"DiffusionBValue": ""},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType", "AcquisitionContrast": ""},
    "FrameContentSequence": {
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
    "FrameAnatomySequence": {"AnatomicRegionSequence": ""},
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """The header of one slice.

    Attributes:
        source: its file.
        number: 0 … of the frame in its file, or of the tile in its mosaic.
        n_frames: number of frames or tiles in the file.
        tiles: tiles along a side of a mosaic; 1 otherwise.
        rows: height of the slice.
        columns: width of the slice.
        scan: what the header says; position and orientation are those of this slice.
        uid: SOP Instance UID, or "".
        series_number: or None.
        echo_ms: echo time, or None.
        inversion_ms: inversion time, or None.
        moment: what tells repetitions at one position apart: b value, temporal position,
            acquisition number; 0 where the header does not say.
        slope: grey level = slope · stored + intercept, of a frame with its own; else None.
        intercept: see ``slope``.
    """

    source: Source
    number: int
    n_frames: int
    tiles: int
    rows: int
    columns: int
    scan: ScanHeader
    uid: str
    series_number: int | None
    echo_ms: float | None
    inversion_ms: float | None
    moment: tuple[float, float, float]
    slope: float | None = None
    intercept: float | None = None

    @property
    def name(self) -> str:
        """The file's name, with the number of the frame (from 1) if it has several."""
        return self.source.name if self.n_frames == 1 else f"{self.source.name}#{self.number + 1}"


def read_frames(source: Source, limits: Limits) -> list[Frame]:
    """Read the headers of a file's frames; pixels are neither read nor decoded.

    Returns an empty list for a DICOMDIR, which is only an index of other files.

    Raises:
        DecodeError: damaged, or no image in it.
        TooLargeError: more pixels or frames than the limits.
        UnsupportedFormatError: several frames without positions.
    """
    source.check(limits)
    with foreign(source.name, DAMAGED):
        dataset = _header(source, limits)
        if elements.text(dataset, "SOPClassUID") == _MEDIA_DIRECTORY or (
            _meta_class(dataset) == _MEDIA_DIRECTORY
        ):
            return []
        return _frames(dataset, source, limits)


def _header(source: Source, limits: Limits) -> Dataset:
    with source.open() as stream:
        if _DEFLATED in stream.read(1024):
            # pydicom would inflate the whole data set, whatever its size.
            stream.seek(0)
            return read_elements(stream.read(limits.max_bytes), source.name, limits)
        stream.seek(0)
        return _without_pixels(stream)


def _without_pixels(stream: IO[bytes]) -> Dataset:
    from pydicom import dcmread
    from pydicom.tag import Tag

    keywords = [each for each in (*ALLOWED, *_STUDY) if each not in _PIXELS]
    tags = [*(Tag(each) for each in keywords), *(Tag(each) for each in _PRIVATE)]
    return dcmread(stream, force=True, stop_before_pixels=True, specific_tags=tags)


def _meta_class(dataset: Dataset) -> str:
    return str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", ""))


def _frames(dataset: Dataset, source: Source, limits: Limits) -> list[Frame]:
    rows, columns = (elements.integer(dataset, key) for key in ("Rows", "Columns"))
    if rows is None or columns is None:
        raise DecodeError(
            f"{source.name}: the DICOM file has no pixel data (a report, a plan or a directory); "
            "give an image file"
        )
    count = elements.integer(dataset, "NumberOfFrames") or 1
    limits.check_pixels(columns, rows, source.name, count)
    if count > _MAX_FRAMES:
        raise TooLargeError(
            f"{source.name}: {count:,} frames, over the limit of {_MAX_FRAMES:,}; "
            "export the series in parts"
        )
    if count == 1:
        mosaic = read_mosaic(dataset)
        if mosaic is None:
            single = elements.items(dataset, "PerFrameFunctionalGroupsSequence")
            flat = _flattened(dataset, 0) if single else dataset
            return [_frame(flat, source, 0, 1, rows, columns)]
        first = _frame(mosaic.dataset, source, 0, mosaic.count, rows, columns)
        return [
            replace(
                first, number=number, tiles=mosaic.tiles, rows=rows // mosaic.tiles,
                columns=columns // mosaic.tiles, scan=replace(first.scan, position_mm=position),
            )
            for number, position in enumerate(mosaic.positions)
        ]  # fmt: skip
    if elements.items(dataset, "PerFrameFunctionalGroupsSequence"):
        return [
            _frame(_flattened(dataset, number), source, number, count, rows, columns)
            for number in range(count)
        ]
    return _classic(dataset, source, count, rows, columns)


def _frame(
    dataset: Dataset, source: Source, number: int, n_frames: int, rows: int, columns: int
) -> Frame:
    return Frame(
        source, number, n_frames, 1, rows, columns, read_header(dataset),
        uid=elements.text(dataset, "SOPInstanceUID"),
        series_number=elements.integer(dataset, "SeriesNumber"),
        echo_ms=elements.number(dataset, "EchoTime"),
        inversion_ms=elements.number(dataset, "InversionTime"),
        moment=(
            elements.number(dataset, "DiffusionBValue") or 0.0,
            elements.number(dataset, "TemporalPositionIdentifier") or 0.0,
            elements.number(dataset, "AcquisitionNumber") or 0.0,
        ),
        slope=elements.number(dataset, "RescaleSlope"),
        intercept=elements.number(dataset, "RescaleIntercept"),
    )  # fmt: skip


def _flattened(dataset: Dataset, number: int) -> Dataset:
    """Return the data set that a file of this frame alone would have."""
    from pydicom.dataset import Dataset as NewDataset

    flat = NewDataset()
    flat.update({tag: dataset.get_item(tag) for tag in dataset.keys()})  # noqa: SIM118
    shared = elements.items(dataset, "SharedFunctionalGroupsSequence")[:1]
    own = elements.items(dataset, "PerFrameFunctionalGroupsSequence")[number : number + 1]
    for groups in (*shared, *own):
        for group, keywords in _GROUPS.items():
            for item in elements.items(groups, group)[:1]:
                for keyword, single in keywords.items():
                    if keyword in item:
                        element = item[keyword]
                        setattr(flat, single or keyword, element.value)
    return flat


def _classic(dataset: Dataset, source: Source, count: int, rows: int, columns: int) -> list[Frame]:
    """Place the frames of a file that gives the first position and the distance of slices."""
    first = _frame(dataset, source, 0, count, rows, columns)
    distance = elements.number(dataset, "SpacingBetweenSlices")
    distance = distance or elements.number(dataset, "SliceThickness")
    position, orientation = first.scan.position_mm, first.scan.orientation
    if not distance or position is None or orientation is None:
        raise UnsupportedFormatError(
            f"{source.name}: has {count} frames without positions"
            f"{f', and {first.scan.refusal}' if first.scan.refusal else ''}; "
            "export the series as one file a slice"
        )
    step = distance * np.cross(orientation[:3], orientation[3:])
    return [
        replace(first, number=number, scan=replace(
            first.scan, position_mm=_triple(np.array(position) + number * step)))
        for number in range(count)
    ]  # fmt: skip


def _triple(place: np.ndarray) -> tuple[float, float, float]:
    return float(place[0]), float(place[1]), float(place[2])
