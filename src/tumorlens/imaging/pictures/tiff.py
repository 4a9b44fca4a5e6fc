"""What a TIFF file holds, checked before decoding, and the sample formats that Pillow lacks."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import TooLargeError, UnsupportedFormatError
from tumorlens.imaging.image import Limits

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType (TIFF 6.0, p. 36)
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_PILLOW = frozenset({(_UNSIGNED, 1), (_UNSIGNED, 2), (_UNSIGNED, 4), (_UNSIGNED, 8),
                     (_UNSIGNED, 12), (_UNSIGNED, 16), (_SIGNED, 16), (_SIGNED, 32),
                     (_FLOAT, 32)})  # fmt: skip
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_ORIENTATION, _TRANSPOSED = 274, 5  # orientations from 5 on swap rows and columns
_X_RESOLUTION, _Y_RESOLUTION = 282, 283
_MAX_THUMBNAILS = 64
_PLAIN = frozenset({1, 8, 32946})  # no compression, and Deflate under its two numbers


@dataclass(frozen=True)
class Tiff:
    """What the first page's tags say.

    Attributes:
        ratio: height of a pixel over its width in the picture as it is shown, None if not given.
        inverted: the lowest value is white.
        orientation: as of EXIF, 1 … 8; Pillow applies it to what it reads.
        by_pillow: whether Pillow reads the sample format; otherwise `read_samples` does.
    """

    ratio: float | None
    inverted: bool
    orientation: int
    by_pillow: bool


def inspect(data: bytes, name: str, limits: Limits) -> Tiff:
    """Check size, tiles and number of pages.

    Raises:
        TooLargeError: the page or one tile has more pixels than the limit.
        UnsupportedFormatError: several pages or slices, in pages or declared in a description.
        Exception: whatever tifffile raises; call it inside `foreign`.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as file:
        page = file.pages.first
        limits.check_pixels(page.imagewidth, page.imagelength, name, max(1, page.imagedepth))
        _check_tiles(page, name, limits)
        if page.imagedepth > 1 or _declared_slices(file, page) > 1 or _has_second_page(file):
            raise UnsupportedFormatError(
                f"{name}: has several pages or slices; "
                "TumorLens reads one slice per file: export the slice as PNG"
            )
        grey = page.samplesperpixel == 1 and int(page.photometric) <= _BLACK_IS_ZERO
        inverted = grey and int(page.photometric) == _WHITE_IS_ZERO
        kind = (int(page.sampleformat or _UNSIGNED), int(page.bitspersample))
        by_pillow = not grey or (kind in _PILLOW and not (inverted and kind[0] == _SIGNED))
        orientation = int(page.tags.valueof(_ORIENTATION, 1))
        return Tiff(_ratio(page, orientation), inverted, orientation, by_pillow)


def read_samples(data: bytes, name: str) -> NDArray[Any]:
    """Decode a grey page of numbers that Pillow does not read: ``[H, W]``, float64 or integers.

    Raises:
        UnsupportedFormatError: compressed in a way that needs a decoder.
        Exception: whatever tifffile raises; call it inside `foreign`.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as file:
        page = file.pages.first
        if int(page.compression) not in _PLAIN:
            raise UnsupportedFormatError(
                f"{name}: a TIFF file of {page.dtype} numbers in a compression that is not read; "
                "save it without compression"
            )
        values = np.asarray(page.asarray(maxworkers=1))
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def as_pixels(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers ``[H, W]`` as uint16 where they fit, otherwise as float32.

    Values beyond float32 are scaled down together, so that none becomes infinite.
    """
    if values.dtype.kind in "iu":
        fits = values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
        return values.astype(np.uint16 if fits else np.float32)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    scale = min(1.0, float(np.finfo(np.float32).max) / largest) if largest else 1.0
    return (values * scale).astype(np.float32)


def _check_tiles(page: TiffPage, name: str, limits: Limits) -> None:
    # A tile may be larger than the image, and the decoder allocates the whole tile.
    if page.is_tiled and page.tilewidth * page.tilelength > limits.max_pixels:
        raise TooLargeError(
            f"{name}: the header gives tiles of {page.tilewidth} × {page.tilelength} pixels, over "
            f"the limit of {limits.max_pixels:,}; export the slice as PNG"
        )


def _declared_slices(file: TiffFile, page: TiffPage) -> int:
    """Return how many slices the description says follow without a page of their own."""
    description = page.description
    if page.is_shaped:
        shape = json.loads(page.shaped_description or "{}").get("shape", [])
        one = page.imagewidth * page.imagelength * page.samplesperpixel
        return int(math.prod(shape) // max(1, one))
    if page.is_imagej:
        found = re.search(r"^images=(\d{1,9})", description, re.MULTILINE)
        return int(found[1]) if found else 1
    sizes = re.findall(r'\bSize[ZT]="(\d{1,6})"', description) if page.is_ome else []
    return math.prod(map(int, sizes))


def _has_second_page(file: TiffFile) -> bool:
    for index in range(1, _MAX_THUMBNAILS):
        try:
            page = file.pages[index]
        except IndexError:
            return False
        kind = int(getattr(page, "subfiletype", 0))
        # A thumbnail or a transparency mask is no second slice.
        if not kind & (_REDUCED | _MASK):
            return True
    return True


def _ratio(page: TiffPage, orientation: int) -> float | None:
    found = [page.tags.valueof(tag) for tag in (_X_RESOLUTION, _Y_RESOLUTION)]
    if not all(isinstance(each, tuple) and len(each) == 2 and min(each) > 0 for each in found):
        return None
    across, down = (float(numerator / denominator) for numerator, denominator in found)
    return down / across if orientation >= _TRANSPOSED else across / down
