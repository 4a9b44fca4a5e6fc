"""Bytes → the data set of the elements that TumorLens uses, and its file meta information.

Only the elements in `ALLOWED` are read, so no patient data enters the program.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from tumorlens.errors import TooLargeError, UnsupportedFormatError
from tumorlens.imaging.image import Limits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_PIXELS = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)  # fmt: skip
_GREY_LEVELS = (
    "PixelPaddingValue", "PixelPaddingRangeLimit", "FloatPixelPaddingValue",
    "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope",
    "RescaleIntercept", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "PresentationLUTShape",
)  # fmt: skip
_GEOMETRY = (
    "PixelSpacing", "PixelAspectRatio", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "ImagePositionPatient", "ImageOrientationPatient",
)  # fmt: skip
_SCAN = (
    "SOPClassUID", "Modality", "BodyPartExamined", "AnatomicRegionSequence", "ImageType",
    "SeriesInstanceUID", "InstanceNumber", "LossyImageCompression",
    "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "ScanningSequence",
    "SequenceVariant", "SequenceName", "AcquisitionContrast", "DiffusionBValue",
    "ContrastBolusAgent", "SeriesDescription",
)  # fmt: skip
ALLOWED = (*_PIXELS, *_GREY_LEVELS, *_GEOMETRY, *_SCAN)


def read_elements(data: bytes, name: str, limits: Limits) -> Dataset:
    """Read one file, with or without the 128-byte preamble.

    The transfer syntax is that of the file meta information; without one it is guessed from the
    first element. A deflated data set is inflated up to ``limits.max_bytes``.

    Raises:
        UnsupportedFormatError: no preamble, and no data set of an image either.
        TooLargeError: a deflated data set is larger than the limit.
        Exception: whatever pydicom raises; call it inside `foreign`.
    """
    from pydicom import dcmread
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    has_preamble = data[128:132] == b"DICM"
    meta, start = _file_meta(data, has_preamble)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return _deflated(data[start:], meta, name, limits)
    dataset = dcmread(io.BytesIO(data), force=True, specific_tags=list(ALLOWED))
    if not has_preamble and "Rows" not in dataset and "SOPClassUID" not in dataset:
        raise not_dicom(name)
    return _with_syntax(dataset)


def not_dicom(name: str) -> UnsupportedFormatError:
    """Return the error for bytes that only began like a DICOM data set."""
    return UnsupportedFormatError(
        f"{name}: not a JPEG, PNG, TIFF, BMP, WebP or DICOM file; export the slice as PNG"
    )


def _file_meta(data: bytes, has_preamble: bool) -> tuple[FileMetaDataset, int]:
    """Return the file meta information and the position after it."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset

    start = 132 if has_preamble else 0
    if data[start : start + 2] != b"\x02\x00":
        return FileMetaDataset(), start
    stream = io.BytesIO(data)
    stream.seek(start)
    found = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True,
        stop_when=lambda tag, vr, length: tag.group != 2,
    )  # fmt: skip
    meta = FileMetaDataset()
    if "TransferSyntaxUID" in found:
        meta.TransferSyntaxUID = found.TransferSyntaxUID
    return meta, stream.tell()


def _deflated(packed: bytes, meta: FileMetaDataset, name: str, limits: Limits) -> Dataset:
    """Read a data set compressed as a whole (PS3.5, A.5): raw Deflate, no zlib header."""
    from pydicom.filereader import read_dataset
    from pydicom.tag import Tag
    from pydicom.uid import ExplicitVRLittleEndian

    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limits.max_bytes + 1)
    if len(inflated) > limits.max_bytes:
        raise TooLargeError(
            f"{name}: inflates to more than the limit of {limits.max_bytes:,} bytes; "
            "export the slice at a smaller size"
        )
    dataset = read_dataset(
        io.BytesIO(inflated), is_implicit_VR=False, is_little_endian=True,
        specific_tags=[Tag(keyword) for keyword in ALLOWED],
    )  # fmt: skip
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset


def _with_syntax(dataset: Dataset) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        implicit, little = dataset.original_encoding
        syntax = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else syntax
    return dataset
