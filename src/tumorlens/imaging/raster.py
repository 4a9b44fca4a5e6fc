"""JPEG, PNG, TIFF, BMP and WebP bytes → pixels: the only module with their decoders.

Pillow reads the header, decodes, and detects truncation, where OpenCV returns grey rows. OpenCV
decodes what Pillow would reduce from 16 to 8 bits: 16-bit colour and grey with alpha.
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

# The plugin classes are called directly instead of Image.open: no format detection, and no
# decompression-bomb warning, which can only be configured globally; `Limits` replaces it.
_OPENERS: dict[str, Any] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
# Raised by Pillow, pydicom and their decoders on damaged files, found by fuzzing. Warning: for
# callers that turn warnings into errors.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError,
    AttributeError, AssertionError, RuntimeError, MemoryError, struct.error, zlib.error, Warning,
    PillowImage.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112
_PNG_GREY_ALPHA = 4
_BAND = 256  # rows
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_TIFF_PHOTOMETRIC, _TIFF_BITS, _TIFF_SUBFILE = 262, 258, 254


def decode_raster(data: bytes, file_format: str, name: str, limits: Limits) -> Pixels:
    """Decode ``data`` in a given format; see `tumorlens.imaging.decode.decode`.

    Returns:
        uint8, uint16 or float32, ``[H, W]`` grey or ``[H, W, 3]`` RGB.

    Raises:
        TooLargeError: more pixels in the header than ``limits`` allows.
        UnsupportedFormatError: several pages or animation frames.
        DecodeError: truncated or damaged.
    """
    try:
        if file_format == "webp":
            # Pillow allocates the canvas when opening a WebP, before a size can be checked.
            limits.check_pixels(*webp_canvas(data), name)
        with _OPENERS[file_format](io.BytesIO(data)) as picture:
            width, height = picture.size
            limits.check_pixels(width, height, name)
            _check_tiles(picture, name, limits)
            _check_single(picture, name)
            is_16_bit_colour = _is_16_bit_colour(picture, data, file_format)
            orientation = 1 if file_format == "tiff" else _orientation(picture)
            inverted = file_format == "tiff" and _is_16_bit_white_is_zero(picture)
            # Also checks the end of the file: Pillow stops at a PNG's last row.
            core = png_core(data) if file_format == "png" else data
            picture.load()
            if is_16_bit_colour:
                pixels = _decode_16_bit_colour(core, file_format, picture)
            else:
                pixels = _pixels(picture)
    except InputError:
        raise
    except (*DECODER_ERRORS, cv2.error) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DecodeError(
            f"{name}: the {file_format.upper()} file is truncated or damaged ({reason}); "
            "save or send it again"
        ) from error
    if inverted:
        pixels = np.iinfo(pixels.dtype).max - pixels
    return np.ascontiguousarray(_oriented(pixels, orientation))


def raster_size(data: bytes, file_format: str) -> tuple[int, int]:
    """Return width and height from a JPEG or JPEG 2000 header, without decoding.

    Raises any of `DECODER_ERRORS` on a damaged header.
    """
    if file_format == "jpeg2000":
        from PIL import Jpeg2KImagePlugin

        return Jpeg2KImagePlugin.Jpeg2KImageFile(io.BytesIO(data)).size
    size: tuple[int, int] = _OPENERS[file_format](io.BytesIO(data)).size
    return size


def _check_tiles(picture: ImageFile.ImageFile, name: str, limits: Limits) -> None:
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    width = picture.tag_v2.get(_TIFF_TILE_WIDTH, 1)
    height = picture.tag_v2.get(_TIFF_TILE_LENGTH, 1)
    # A tile may be larger than the image, and the decoder allocates the whole tile.
    if int(width) * int(height) > limits.max_pixels:
        raise TooLargeError(
            f"{name}: the header gives tiles of {width} × {height} pixels, over the limit of "
            f"{limits.max_pixels:,}; export the slice as PNG"
        )


def _check_single(picture: ImageFile.ImageFile, name: str) -> None:
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        if not _has_second_page(picture):
            return
    elif not getattr(picture, "is_animated", False):
        return
    raise UnsupportedFormatError(
        f"{name}: has several pages or animation frames; "
        "TumorLens reads one slice per file: export the slice as PNG"
    )


def _has_second_page(picture: TiffImagePlugin.TiffImageFile) -> bool:
    if not picture.is_animated:
        return False
    try:
        picture.seek(1)
        subfile = picture.tag_v2.get(_TIFF_SUBFILE, 0)
    finally:
        picture.seek(0)
    # Bit 0: a reduced-resolution version of another page, a thumbnail (TIFF 6.0, p. 36).
    return not int(subfile) & 1


def _is_16_bit_colour(picture: ImageFile.ImageFile, data: bytes, file_format: str) -> bool:
    if file_format == "png":
        bit_depth, colour_type = data[24], data[25]
        return bit_depth == 16 and colour_type != 0
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(_TIFF_BITS, (1,))
        return picture.mode in ("RGB", "RGBA") and max(bits) == 16
    return False


def _is_16_bit_white_is_zero(picture: ImageFile.ImageFile) -> bool:
    # Pillow inverts 8-bit WhiteIsZero images, but not 16-bit ones.
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return picture.mode.startswith("I;16") and picture.tag_v2.get(_TIFF_PHOTOMETRIC) == 0


def _orientation(picture: ImageFile.ImageFile) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1  # damaged EXIF data does not make the pixels unreadable
    return orientation if isinstance(orientation, int) else 1


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the EXIF orientation 1..8 (EXIF 2.32, tag 0x0112)."""
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


def _decode_16_bit_colour(
    data: bytes, file_format: str, verified: PillowImage.Image
) -> NDArray[Any]:
    """Decode 16-bit colour with OpenCV, after Pillow has verified that the file is complete."""
    layers = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if layers is None or layers.ndim != 3 or layers.shape[1::-1] != verified.size:
        raise ValueError("the 16-bit colour pixels cannot be read")
    if layers.shape[2] == 3:
        return layers[..., ::-1]
    if file_format == "png" and data[25] == _PNG_GREY_ALPHA:
        return _on_black(layers[..., 0], layers[..., 3])
    return _on_black(layers[..., 2::-1], layers[..., 3])


def _on_black(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    top = int(np.iinfo(alpha.dtype).max)
    # If no pixel is more than half transparent, alpha is an artefact of the export and is ignored,
    # as by OpenCV's imread.
    if int(alpha.min()) > top // 2:
        return colour
    mixed = np.empty_like(colour)
    for start in range(0, len(colour), _BAND):  # in bands, to limit memory
        band = slice(start, start + _BAND)
        weight = alpha[band].astype(np.float32) / top
        if colour.ndim == 3:
            weight = weight[..., None]
        mixed[band] = np.rint(colour[band] * weight)
    return mixed
