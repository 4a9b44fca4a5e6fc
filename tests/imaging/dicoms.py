"""Builds small DICOM files, each with a patient's name that no message may repeat."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

SECRET = "DOE^JANE"


def dataset(pixels: NDArray[Any] | None, **elements: Any) -> Dataset:
    """Return an MR data set around stored ``pixels`` ``[H, W]`` or ``[H, W, 3]``."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, "1.2.3.4"
    made.PatientName, made.PatientID = SECRET, SECRET
    if pixels is not None:
        made.Rows, made.Columns = pixels.shape[:2]
        made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            made.PlanarConfiguration = 0
        made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
        made.HighBit = made.BitsStored - 1
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        made.PixelData = pixels.tobytes()
        if pixels.dtype.itemsize == 1 and pixels.size % 2:
            made.PixelData += b"\0"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def encode(
    made: Dataset, syntax: str = ExplicitVRLittleEndian, *, preamble: bool = True,
    frame: bytes | None = None,
) -> bytes:  # fmt: skip
    """Write ``made``; ``frame`` replaces the pixels by one compressed frame."""
    stream = io.BytesIO()
    if frame is not None:
        made.PixelData = encapsulate([frame])
        made["PixelData"].is_undefined_length = True
    if preamble:
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = syntax
        dcmwrite(stream, made, enforce_file_format=True)
    else:
        implicit = syntax == ImplicitVRLittleEndian
        dcmwrite(stream, made, implicit_vr=implicit, little_endian=syntax != ExplicitVRBigEndian)
    return stream.getvalue()


def dicom(pixels: NDArray[Any] | None, **elements: Any) -> bytes:
    """Return a file with the explicit little endian transfer syntax."""
    return encode(dataset(pixels, **elements))


def ramp(dtype: type[np.generic], *values: int) -> NDArray[Any]:
    """Return one row of stored values."""
    return np.array([values], dtype)
