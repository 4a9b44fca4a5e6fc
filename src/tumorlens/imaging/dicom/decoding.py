"""One single-frame DICOM file → `Image`.

Messages quote neither values of the file nor pydicom's errors, which may contain them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, UnsupportedFormatError
from tumorlens.imaging.dicom.frames import read_frame, read_layout
from tumorlens.imaging.dicom.geometry import pixel_ratio
from tumorlens.imaging.dicom.grey_levels import to_grey_levels
from tumorlens.imaging.dicom.reading import not_dicom, read_elements
from tumorlens.imaging.dicom.scan import read_header
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Image, Limits, Pixels
from tumorlens.imaging.square import to_square

_DAMAGED = "the DICOM file is truncated or damaged; export or send it again"


def decode_dicom(data: bytes, name: str, limits: Limits) -> Image:
    """Decode one DICOM image, with or without the 128-byte preamble.

    Grey images go through the modality's table or rescale, the VOI table or window where it keeps
    the head's values, and inversion; they are uint16 over the window or over the range of the
    values, uint8 if stored so without any of these. Colour keeps its values. Pixels are square.
    Transfer syntaxes: those of pydicom, with the extra ``formats`` also lossless and 12-bit JPEG,
    JPEG-LS and HTJ2K. ``Image.header`` has what the header says of the scan.

    Raises:
        UnsupportedFormatError: not DICOM; several frames; a transfer syntax or pixel format that is
            not read; pixels further from square than 5 to 1.
        TooLargeError: Rows × Columns × NumberOfFrames, or an inflated data set, over the limit.
        DecodeError: no pixel data, truncated or damaged.
    """
    try:
        with foreign(name, _DAMAGED):
            dataset = read_elements(data, name, limits)
    except DecodeError:
        if data[128:132] == b"DICM":
            raise
        raise not_dicom(name) from None
    with foreign(name, _DAMAGED):
        header = read_header(dataset)
        layout = read_layout(dataset, name, limits)
        stored = read_frame(dataset, layout, name, limits)
        if layout.photometric == "PALETTE COLOR":
            if "RedPaletteColorLookupTableData" not in dataset:
                raise UnsupportedFormatError(
                    f"{name}: the colour table is segmented or missing; export the slice as PNG"
                )
            from pydicom.pixels.processing import apply_color_lut

            pixels = _as_unsigned(apply_color_lut(stored, dataset))
        elif layout.samples == 3:
            pixels = _as_unsigned(stored)
        else:
            inverted = layout.photometric == "MONOCHROME1"
            pixels = to_grey_levels(
                stored, dataset, inverted=inverted, modality=header.modality, name=name
            )
        pixels = to_square(pixels, pixel_ratio(dataset), name, limits)
    return Image(pixels, "dicom", name, header)


def _as_unsigned(pixels: NDArray[np.generic]) -> Pixels:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, np.uint8)
    return np.ascontiguousarray(pixels, np.uint16)
