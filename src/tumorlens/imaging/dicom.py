"""Single-frame DICOM → `Image`: the only module that uses pydicom.

Only the elements listed in `_REQUIRED_TAGS` are read, so no patient data enters the program;
messages quote neither values of the file nor pydicom's errors, which may contain them.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, InputError, UnsupportedFormatError
from tumorlens.imaging.containers import j2k_codestream
from tumorlens.imaging.image import Image, Limits, Pixels
from tumorlens.imaging.raster import DECODER_ERRORS, raster_size

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_REQUIRED_TAGS = [
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "PixelData",
]  # fmt: skip
_DEFLATED_SYNTAX = b"1.2.840.10008.1.2.1.99"
_CODEC_BY_SYNTAX = {
    "1.2.840.10008.1.2.4.50": "jpeg",
    "1.2.840.10008.1.2.4.51": "jpeg",
    "1.2.840.10008.1.2.4.90": "jpeg2000",
    "1.2.840.10008.1.2.4.91": "jpeg2000",
}


def decode_dicom(data: bytes, name: str, limits: Limits) -> Image:
    """Decode one DICOM image, with or without the 128-byte preamble.

    Grey images are rescaled (slope, intercept), windowed by the first VOI window and inverted if
    MONOCHROME1; they are returned as uint16, 0 … 65,535 over the window, or over the slice's
    value range if the file has no window. Unsigned 8-bit grey without rescale and window, and
    colour, keep their values. Transfer syntaxes: uncompressed (implicit, explicit, big endian),
    RLE, JPEG baseline and extended, JPEG 2000.

    Raises:
        UnsupportedFormatError: not DICOM; several frames; an unsupported transfer syntax or pixel
            format.
        TooLargeError: Rows × Columns × NumberOfFrames is over the limit.
        DecodeError: no pixel data, truncated or damaged.
    """
    try:
        dataset = _read(data, name)
        _check_header(dataset, name, limits)
        _check_embedded(dataset, name, limits)
        pixels = _display(dataset, name)
    except InputError:
        raise
    except _decoder_errors():
        # Without the cause on purpose: pydicom's message may quote patient data.
        raise DecodeError(
            f"{name}: the DICOM file is truncated or damaged; export or send it again"
        ) from None
    return Image(pixels, "dicom", name)


def _read(data: bytes, name: str) -> Dataset:
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    has_preamble = data[128:132] == b"DICM"
    # Checked before reading: pydicom would inflate the whole data set, whatever its size.
    if _DEFLATED_SYNTAX in data:
        raise UnsupportedFormatError(
            f"{name}: transfer syntax Deflated Explicit VR Little Endian is not supported; "
            "convert it to an uncompressed one (dcmconv +te)"
        )
    try:
        dataset = dcmread(io.BytesIO(data), force=True, specific_tags=list(_REQUIRED_TAGS))
    except _decoder_errors():
        if has_preamble:
            raise
        raise _not_dicom(name) from None
    if not has_preamble and "Rows" not in dataset and "SOPClassUID" not in dataset:
        raise _not_dicom(name)
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        dataset.file_meta = FileMetaDataset()
        implicit = dataset.original_encoding[0]
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _decoder_errors() -> tuple[type[BaseException], ...]:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*DECODER_ERRORS, BytesLengthException, InvalidDicomError)


def _not_dicom(name: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{name}: not a JPEG, PNG, TIFF, BMP, WebP or DICOM file; export the slice as PNG"
    )


def _check_header(dataset: Dataset, name: str, limits: Limits) -> None:
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise DecodeError(
            f"{name}: the DICOM file has no pixel data (a report, a plan or a directory); "
            "give an image file"
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    limits.check_pixels(int(dataset.Columns), int(dataset.Rows), name, frames)
    if frames > 1:
        raise UnsupportedFormatError(
            f"{name}: has {frames} frames; TumorLens reads one slice per file: "
            "export the slice as a single-frame DICOM or PNG"
        )
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    bits, samples = int(dataset.BitsAllocated), int(dataset.get("SamplesPerPixel", 1))
    if bits not in (8, 16) or samples not in (1, 3):
        raise UnsupportedFormatError(
            f"{name}: {samples} samples of {bits} bits per pixel are not supported; "
            "export the slice as PNG"
        )
    if samples == 1 and kind not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"):
        raise UnsupportedFormatError(
            f"{name}: photometric interpretation not supported; export the slice as PNG"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    if not _can_decode(syntax):
        raise UnsupportedFormatError(
            f"{name}: transfer syntax {syntax.name} needs a decoder that is not installed; "
            "install pylibjpeg with its plugins, or convert the file (dcmdjpeg, gdcmconv --raw)"
        )


def _can_decode(syntax: Any) -> bool:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _check_embedded(dataset: Dataset, name: str, limits: Limits) -> None:
    """Check that the size in an embedded JPEG's header equals that of the data set."""
    from pydicom.encaps import encapsulate, get_frame

    codec = _CODEC_BY_SYNTAX.get(str(dataset.file_meta.TransferSyntaxUID))
    if codec is None:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if codec == "jpeg" and int(dataset.BitsAllocated) > 8:
        raise UnsupportedFormatError(
            f"{name}: 12-bit JPEG is not supported; convert the file (dcmdjpeg, gdcmconv --raw)"
        )
    if codec == "jpeg2000":
        # Unwrapped here: pydicom 3.0 loops forever on a JP2 box of length 0.
        frame = j2k_codestream(frame)
    width, height = raster_size(frame, codec)
    limits.check_pixels(width, height, name)
    if (width, height) != (int(dataset.Columns), int(dataset.Rows)):
        raise DecodeError(
            f"{name}: the size of the compressed frame differs from the DICOM header; "
            "export or send the file again"
        )
    dataset.PixelData = encapsulate([frame])  # decode exactly what was checked


def _display(dataset: Dataset, name: str) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    stored = np.asarray(pixel_array(dataset))
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        return _as_unsigned(np.asarray(apply_color_lut(stored, dataset)))
    if stored.ndim == 3:
        return _as_unsigned(stored)
    stored = _without_unused_bits(stored, dataset)
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    window = _window(dataset)
    if stored.dtype == np.uint8 and window is None and (slope, intercept) == (1, 0):
        return np.asarray(255 - stored if kind == "MONOCHROME1" else stored)
    values = stored.astype(np.float64) * slope + intercept
    scaled = _full_range(values) if window is None else _windowed(values, *window)
    if not np.isfinite(scaled).all():
        raise DecodeError(f"{name}: rescale or window of the DICOM file is not finite")
    shown = 1 - scaled if kind == "MONOCHROME1" else scaled
    return np.rint(shown * np.iinfo(np.uint16).max).astype(np.uint16)


def _as_unsigned(pixels: NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(
        pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.uint16)
    )


def _without_unused_bits(stored: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Clear the bits above BitsStored, which may hold overlays (PS3.5, 8.1.1)."""
    bits = stored.dtype.itemsize * 8
    unused = bits - int(dataset.get("BitsStored") or bits)
    if not 0 < unused < bits:
        return stored
    # Left, then right again: the right shift of a signed type extends the sign.
    shift = stored.dtype.type(unused)
    return np.asarray((stored << shift) >> shift)


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    centre, width = (
        float(value if isinstance(value, (int, float)) else value[0]) for value in (centre, width)
    )
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if not width > 0 or (function == "LINEAR" and width < 1):
        return None
    return centre, width, function


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str,
              ) -> NDArray[np.float64]:  # fmt: skip
    """Map values to 0 … 1 over the window (DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Instead of pydicom's `apply_windowing`, which scales to the range of the stored values.
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _full_range(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
