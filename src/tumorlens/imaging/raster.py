"""JPEG, PNG, TIFF, BMP and WebP bytes → pixels: the only module with their decoders.

Pillow reads the header, decodes, and notices truncation, which OpenCV passes over with grey rows.
OpenCV decodes only what Pillow would cut from 16 to 8 bits: 16-bit colour and grey with alpha.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as PillowImage

from tumorlens.errors import DecodeError, InputError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.containers import png_core, webp_canvas
from tumorlens.imaging.image import Limits, Pixels

# The plugin classes are called directly instead of Image.open: no guessing among formats, and
# no decompression-bomb warning, whose only switch is global; our own limit stands in for it.
_OPENERS: dict[str, Any] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
# What Pillow, pydicom and their decoders raise on damaged files, found by fuzzing. A Warning
# arrives as an exception where the caller turned warnings into errors.
FOREIGN_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError,
    AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Warning,
    PillowImage.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112
_PNG_GREY_ALPHA = 4
_BAND = 256  # rows
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_TIFF_PHOTOMETRIC, _TIFF_BITS, _TIFF_SUBFILE = 262, 258, 254


def decode_raster(data: bytes, found: str, name: str, limits: Limits) -> Pixels:
    """Decode ``data``, known to be in format ``found``; see `tumorlens.imaging.decode.decode`.

    Returns:
        uint8, uint16 or float32, ``[H, W]`` grey or ``[H, W, 3]`` RGB.

    Raises:
        TooLargeError: the header announces more pixels than ``limits`` allows.
        UnsupportedFormatError: several pages or animation frames.
        DecodeError: truncated or damaged.
    """
    try:
        if found == "webp":
            # Pillow allocates the canvas while it opens a WebP: too late for a limit.
            limits.check_pixels(*webp_canvas(data), name)
        with _OPENERS[found](io.BytesIO(data)) as picture:
            width, height = picture.size
            limits.check_pixels(width, height, name)
            _check_tiles(picture, name, limits)
            _check_single(picture, name)
            deep = _is_deep_colour(picture, data, found)
            orientation = 1 if found == "tiff" else _orientation(picture)
            inverted = found == "tiff" and _is_deep_white_is_zero(picture)
            # Also for its checks: Pillow stops at a PNG's last row and misses a cut-off end.
            core = png_core(data) if found == "png" else data
            picture.load()
            pixels = _deep_pixels(core, found, picture) if deep else _pixels(picture)
    except InputError:
        raise
    except (*FOREIGN_ERRORS, cv2.error) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DecodeError(
            f"{name}: the {found.upper()} file is truncated or damaged ({reason}); "
            "save or send it again"
        ) from error
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return np.ascontiguousarray(_oriented(pixels, orientation))


def raster_size(data: bytes, found: str) -> tuple[int, int]:
    """Return the width and height that a JPEG (2000) header announces, without decoding.

    Raises what Pillow raises on a damaged header; the DICOM reader, the one caller, translates.
    """
    if found == "jpeg2000":
        from PIL import Jpeg2KImagePlugin

        return Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data)).size
    size: tuple[int, int] = _OPENERS[found](io.BytesIO(data)).size
    return size


def _check_tiles(picture: ImageFile.ImageFile, name: str, limits: Limits) -> None:
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    width = picture.tag_v2.get(_TIFF_TILE_WIDTH, 1)
    height = picture.tag_v2.get(_TIFF_TILE_LENGTH, 1)
    # A tile may be larger than the picture, and its decoder allocates the tile.
    if int(width) * int(height) > limits.max_pixels:
        raise TooLargeError(
            f"{name}: the header announces tiles of {width} × {height} pixels, over the limit of "
            f"{limits.max_pixels:,}; export the slice as PNG"
        )


def _check_single(picture: ImageFile.ImageFile, name: str) -> None:
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        if not _has_second_page(picture):
            return
    elif not getattr(picture, "is_animated", False):
        return
    raise UnsupportedFormatError(
        f"{name}: holds several pages or animation frames; "
        "TumorLens reads one slice a file, so export the slice you mean as PNG"
    )


def _has_second_page(picture: TiffImagePlugin.TiffImageFile) -> bool:
    if not picture.is_animated:
        return False
    try:
        picture.seek(1)
        subfile = picture.tag_v2.get(_TIFF_SUBFILE, 0)
    finally:
        picture.seek(0)
    # Bit 0: a reduced-resolution copy of another page, that is, a thumbnail (TIFF 6.0, p. 36).
    return not int(subfile) & 1


def _is_deep_colour(picture: ImageFile.ImageFile, data: bytes, found: str) -> bool:
    if found == "png":
        bit_depth, colour_type = data[24], data[25]
        return bit_depth == 16 and colour_type != 0
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(_TIFF_BITS, (1,))
        return picture.mode in ("RGB", "RGBA") and max(bits) == 16
    return False


def _is_deep_white_is_zero(picture: ImageFile.ImageFile) -> bool:
    # Pillow turns 8-bit WhiteIsZero pictures over, but not 16-bit ones.
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return picture.mode.startswith("I;16") and picture.tag_v2.get(_TIFF_PHOTOMETRIC) == 0


def _orientation(picture: ImageFile.ImageFile) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except FOREIGN_ERRORS:
        return 1  # a broken EXIF block does not make the pixels unreadable
    return orientation if isinstance(orientation, int) else 1


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels stored in EXIF orientation 1..8 (EXIF 2.32, tag 0x0112) upright."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _pixels(picture: PillowImage.Image) -> NDArray[Any]:
    mode = picture.mode
    if mode == "1":
        return np.asarray(picture.convert("L"))
    if mode in ("L", "RGB"):
        return np.asarray(picture)
    if mode.startswith("I"):
        values = np.asarray(picture)
        fits = values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
        return values.astype(np.uint16 if fits else np.float32)
    if mode == "F":
        return np.asarray(picture, dtype=np.float32)
    if mode in ("LA", "La"):
        layers = np.asarray(picture.convert("LA"))
        return _on_black(layers[..., 0], layers[..., 1])
    if mode in ("RGBA", "RGBa", "PA") or (mode == "P" and "transparency" in picture.info):
        layers = np.asarray(picture.convert("RGBA"))
        return _on_black(layers[..., :3], layers[..., 3])
    return np.asarray(picture.convert("RGB"))


def _deep_pixels(data: bytes, found: str, verified: PillowImage.Image) -> NDArray[Any]:
    """Decode 16-bit colour with OpenCV, once Pillow has seen that the file is whole."""
    layers = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if layers is None or layers.ndim != 3 or layers.shape[1::-1] != verified.size:
        raise ValueError("the 16-bit colour pixels cannot be read")
    if layers.shape[2] == 3:
        return layers[..., ::-1]
    if found == "png" and data[25] == _PNG_GREY_ALPHA:
        return _on_black(layers[..., 0], layers[..., 3])
    return _on_black(layers[..., 2::-1], layers[..., 3])


def _on_black(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    top = int(np.iinfo(alpha.dtype).max)
    # With no pixel more than half transparent, alpha is an export's residue, not a cut-out:
    # the colours stand, which are the pixels OpenCV's imread gives.
    if int(alpha.min()) > top // 2:
        return colour
    mixed = np.empty_like(colour)
    for start in range(0, len(colour), _BAND):  # in bands: floats of a large picture take gigabytes
        band = slice(start, start + _BAND)
        weight = alpha[band].astype(np.float32) / top
        if colour.ndim == 3:
            weight = weight[..., None]
        mixed[band] = np.rint(colour[band] * weight)
    return mixed
