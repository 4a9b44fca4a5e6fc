"""Pixel data of one frame → stored values, in every transfer syntax that pydicom decodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.dicom import elements
from tumorlens.imaging.dicom.codestreams import frame_size, j2k_codestream, rle_fits
from tumorlens.imaging.image import Limits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_FLOATS: dict[str, np.dtype[Any]] = {
    "FloatPixelData": np.dtype("f4"), "DoubleFloatPixelData": np.dtype("f8"),
}  # fmt: skip
_RLE = "1.2.840.10008.1.2.5"


@dataclass(frozen=True)
class Layout:
    """How the pixels of one frame are stored (PS3.3, C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    element: str

    @property
    def floats(self) -> bool:
        """Whether the values are floating-point numbers."""
        return self.element in _FLOATS


def read_layout(dataset: Dataset, name: str, limits: Limits) -> Layout:
    """Check what the header says of the pixels, before any is decoded.

    A missing Pixel Representation means unsigned, a High Bit that cannot be is Bits Stored − 1.

    Raises:
        DecodeError: no pixel data.
        TooLargeError: rows × columns × frames is over the limit.
        UnsupportedFormatError: several frames, or a pixel format or transfer syntax not read.
    """
    element = next((key for key in ("PixelData", *_FLOATS) if key in dataset), None)
    rows, columns = (elements.integer(dataset, key) for key in ("Rows", "Columns"))
    if element is None or rows is None or columns is None:
        raise DecodeError(
            f"{name}: the DICOM file has no pixel data (a report, a plan or a directory); "
            "give an image file"
        )
    frames = elements.integer(dataset, "NumberOfFrames") or 1
    limits.check_pixels(columns, rows, name, frames)
    if frames > 1:
        raise UnsupportedFormatError(
            f"{name}: has {frames} frames; TumorLens reads one slice per file: "
            "export the slice as a single-frame DICOM or PNG"
        )
    samples = elements.integer(dataset, "SamplesPerPixel") or 1
    photometric = elements.text(dataset, "PhotometricInterpretation").upper()
    photometric = photometric or ("MONOCHROME2" if samples == 1 else "RGB")
    allocated = elements.integer(dataset, "BitsAllocated") or 0
    allocated = _FLOATS[element].itemsize * 8 if element in _FLOATS else allocated
    stored = elements.integer(dataset, "BitsStored") or allocated
    stored = stored if 0 < stored <= allocated else allocated
    high = elements.integer(dataset, "HighBit")
    if high is None or not stored - 1 <= high < allocated:
        high = stored - 1
    layout = Layout(
        rows, columns, samples, photometric, allocated, stored, high,
        signed=elements.integer(dataset, "PixelRepresentation") == 1,
        planar=elements.integer(dataset, "PlanarConfiguration") == 1, element=element,
    )  # fmt: skip
    _check_format(layout, name)
    return layout


def read_frame(dataset: Dataset, layout: Layout, name: str, limits: Limits) -> NDArray[Any]:
    """Decode the frame.

    Returns:
        ``[rows, columns]``, for colour ``[rows, columns, 3]`` in RGB; integers of the width of
        Bits Allocated without the bits outside Bits Stored, or floats.

    Raises:
        UnsupportedFormatError: the transfer syntax needs a decoder that is not installed.
        DecodeError: too few bytes, or a compressed frame of another size than the header's.
        TooLargeError: the compressed frame announces more pixels than the limit.
        Exception: whatever pydicom or a codec raises; call it inside `foreign`.
    """
    from pydicom.pixels.utils import pixel_array

    data = elements.content(dataset, layout.element)
    if not data:
        raise DecodeError(f"{name}: the DICOM file's pixel data are empty; export it again")
    syntax = dataset.file_meta.TransferSyntaxUID
    if layout.floats:
        return _floats(data, layout, little=syntax.is_little_endian, name=name)
    _check_decoder(syntax, name)
    if syntax.is_encapsulated:
        data = _checked(data, str(syntax), layout, name, limits)
    # pydicom cuts the bits out as if High Bit were Bits Stored − 1.
    whole = layout.samples == 1 and (not syntax.is_encapsulated or str(syntax) == _RLE)
    values = np.asarray(pixel_array(_plain(dataset, data, layout, whole=whole)))
    return _stored_bits(values, layout) if whole else values


def _check_format(layout: Layout, name: str) -> None:
    allowed = (32, 64) if layout.floats else (8, 16, 32) if layout.samples == 1 else (8, 16)
    if layout.bits_allocated not in allowed or layout.samples not in (1, 3):
        raise UnsupportedFormatError(
            f"{name}: {layout.samples} samples of {layout.bits_allocated} bits per pixel are not "
            "supported; export the slice as PNG"
        )
    if (layout.samples == 1) != (layout.photometric in _GREY):
        raise UnsupportedFormatError(
            f"{name}: photometric interpretation not supported; export the slice as PNG"
        )


def _floats(data: bytes, layout: Layout, *, little: bool, name: str) -> NDArray[Any]:
    kind = _FLOATS[layout.element].newbyteorder("<" if little else ">")
    count = layout.rows * layout.columns * layout.samples
    if len(data) < count * kind.itemsize:
        raise DecodeError(f"{name}: the DICOM file is truncated or damaged; export it again")
    values = np.frombuffer(data, kind, count).astype(kind.newbyteorder("="))
    return values.reshape(layout.rows, layout.columns)


def _check_decoder(syntax: Any, name: str) -> None:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise UnsupportedFormatError(
            f"{name}: the transfer syntax is not supported; "
            "convert the file to an uncompressed one (dcmdjpeg, gdcmconv --raw)"
        ) from None
    if not decoder.is_available:
        raise UnsupportedFormatError(
            f"{name}: the transfer syntax {syntax.name} needs the 'formats' extra: "
            "pip install 'tumorlens[formats]', or convert the file (dcmdjpeg, gdcmconv --raw)"
        )


def _checked(data: bytes, syntax: str, layout: Layout, name: str, limits: Limits) -> bytes:
    """Return the pixel data with the one frame whose size was checked."""
    from pydicom.encaps import encapsulate, get_frame

    frame = get_frame(data, 0, number_of_frames=1)
    if syntax == _RLE:
        if not rle_fits(frame, layout.rows * layout.columns, layout.samples, layout.bits_allocated):
            raise TooLargeError(
                f"{name}: the compressed frame is larger than the DICOM header says; "
                "export or send the file again"
            )
        return data
    # Unwrapped here: pydicom 3.0 loops forever on a JP2 box of length 0.
    frame = j2k_codestream(frame)
    width, height = frame_size(frame)
    limits.check_pixels(width, height, name)
    if (width, height) != (layout.columns, layout.rows):
        raise DecodeError(
            f"{name}: the size of the compressed frame differs from the DICOM header; "
            "export or send the file again"
        )
    return bytes(encapsulate([frame]))  # decode exactly what was checked


def _plain(dataset: Dataset, data: bytes, layout: Layout, *, whole: bool) -> Dataset:
    """Return a data set of the pixels alone, its values those of ``layout``.

    ``whole``: all allocated bits are asked for.
    """
    from pydicom.dataset import Dataset as NewDataset

    plain = NewDataset()
    plain.file_meta = dataset.file_meta
    plain.Rows, plain.Columns = layout.rows, layout.columns
    plain.SamplesPerPixel = layout.samples
    plain.PhotometricInterpretation = layout.photometric
    plain.BitsAllocated = layout.bits_allocated
    plain.BitsStored = layout.bits_allocated if whole else layout.bits_stored
    plain.HighBit = plain.BitsStored - 1
    plain.PixelRepresentation = int(layout.signed)
    if layout.samples > 1:
        plain.PlanarConfiguration = int(layout.planar)
    plain.PixelData = data
    plain["PixelData"].VR = "OB" if layout.bits_allocated <= 8 else "OW"
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        plain["PixelData"].VR = "OB"
        plain["PixelData"].is_undefined_length = True
    return plain


def _stored_bits(values: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Cut the stored bits out of the allocated ones; others may hold overlays (PS3.5, 8.1.1)."""
    above = layout.bits_allocated - 1 - layout.high_bit
    unused = layout.bits_allocated - layout.bits_stored
    if not unused:
        return values
    # Left, then right again: the right shift of a signed type extends the sign.
    left, right = values.dtype.type(above), values.dtype.type(unused)
    return np.asarray((values << left) >> right)
