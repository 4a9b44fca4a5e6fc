"""JPEG, PNG, TIFF, BMP and WebP bytes → pixels: the only module with their decoders.

Pillow reads the header, decodes, and detects truncation, where OpenCV returns grey rows. OpenCV
decodes what Pillow would reduce from 16 to 8 bits: 16-bit colour and grey with alpha.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from tumorlens.errors import DecodeError, UnsupportedFormatError
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits, Pixels
from tumorlens.imaging.pictures import tiff
from tumorlens.imaging.pictures.containers import png_core, webp_canvas
from tumorlens.imaging.pictures.resolution import pixel_ratio
from tumorlens.imaging.pictures.tint import without_tint
from tumorlens.imaging.square import to_square

if TYPE_CHECKING:
    from PIL import ImageFile

# Pillow's plugin classes, each imported when a file of its format is read. They are called
# directly instead of Image.open: no format detection, and no decompression-bomb warning, which can
# only be configured globally; `Limits` replaces it.
_OPENERS = {
    "jpeg": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "png": ("PIL.PngImagePlugin", "PngImageFile"),
    "tiff": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "bmp": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "webp": ("PIL.WebPImagePlugin", "WebPImageFile"),
}
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)
_PNG_GREY_ALPHA = 4
_BAND = 256  # rows
_TIFF_BITS = 258


def decode_raster(data: bytes, file_format: str, name: str, limits: Limits) -> Pixels:
    """Decode ``data`` in a given format; see `tumorlens.imaging.decode.decode`.

    Returns:
        uint8, uint16 or float32, ``[H, W]`` grey or ``[H, W, 3]`` RGB.

    Raises:
        TooLargeError: more pixels in the header than ``limits`` allows.
        UnsupportedFormatError: several pages or animation frames; pixels further from square than
            5 to 1.
        DecodeError: truncated or damaged; a picture drawn in its transparency.
    """
    with foreign(name, f"the {file_format.upper()} file is truncated or damaged; save it again"):
        pixels, ratio = _decode(data, file_format, name, limits)
    return np.ascontiguousarray(without_tint(to_square(pixels, ratio, name, limits)))


def _decode(
    data: bytes, file_format: str, name: str, limits: Limits
) -> tuple[NDArray[Any], float | None]:
    """Return upright pixels, and the height of one over its width."""
    if file_format == "webp":
        # Pillow allocates the canvas when opening a WebP, before a size can be checked.
        limits.check_pixels(*webp_canvas(data), name)
    page = tiff.inspect(data, name, limits) if file_format == "tiff" else None
    if page is not None and not page.by_pillow:
        values = tiff.read_samples(data, name)
        values = values.max() - values + values.min() if page.inverted else values
        return _oriented(tiff.as_pixels(values), page.orientation), page.ratio
    with _opener(file_format)(io.BytesIO(data)) as picture:
        width, height = picture.size
        limits.check_pixels(width, height, name)
        if file_format != "tiff" and getattr(picture, "is_animated", False):
            raise UnsupportedFormatError(
                f"{name}: has several pages or animation frames; "
                "TumorLens reads one slice per file: export the slice as PNG"
            )
        is_16_bit_colour = _is_16_bit_colour(picture, data, file_format)
        orientation = 1 if file_format == "tiff" else _orientation(picture)
        # Pillow inverts 8-bit WhiteIsZero pages, but no others.
        inverted = page is not None and page.inverted and picture.mode not in ("1", "L")
        ratio = page.ratio if page is not None else pixel_ratio(picture)
        # Also checks the end of the file: Pillow stops at a PNG's last row.
        core = png_core(data) if file_format == "png" else data
        picture.load()
        if is_16_bit_colour:
            pixels = _decode_16_bit_colour(core, file_format, picture, name)
        else:
            pixels = _pixels(picture, name)
    if inverted:
        top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else pixels.max()
        pixels = top - pixels + (0 if pixels.dtype.kind == "u" else pixels.min())
    if orientation in _TRANSPOSED and ratio:
        ratio = 1 / ratio
    return _oriented(pixels, orientation), ratio


def _opener(file_format: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    module, name = _OPENERS[file_format]
    opener: Callable[[io.BytesIO], ImageFile.ImageFile] = getattr(import_module(module), name)
    return opener


def _is_16_bit_colour(picture: ImageFile.ImageFile, data: bytes, file_format: str) -> bool:
    if file_format == "png":
        bit_depth, colour_type = data[24], data[25]
        return bit_depth == 16 and colour_type != 0
    if file_format == "tiff":
        bits = picture.tag_v2.get(_TIFF_BITS, (1,))  # type: ignore[attr-defined]
        return picture.mode in ("RGB", "RGBA") and max(bits) == 16
    return False


def _orientation(picture: ImageFile.ImageFile) -> int:
    try:
        with foreign("", ""):
            orientation = picture.getexif().get(_ORIENTATION, 1)
    except DecodeError:
        return 1  # damaged EXIF data does not make the pixels unreadable
    return orientation if isinstance(orientation, int) else 1


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the EXIF orientation 1..8 (EXIF 2.32, tag 0x0112)."""
    if orientation in _TRANSPOSED:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _pixels(picture: PillowImage.Image, name: str) -> NDArray[Any]:
    mode = picture.mode
    if mode == "1":
        return np.asarray(picture.convert("L"))
    if mode in ("L", "RGB"):
        return np.asarray(picture)
    if mode.startswith("I"):
        return tiff.as_pixels(np.asarray(picture))
    if mode == "F":
        return np.asarray(picture, dtype=np.float32)
    if mode in ("LA", "La"):
        layers = np.asarray(picture.convert("LA"))
        return _on_black(layers[..., 0], layers[..., 1], name)
    if mode in ("RGBA", "RGBa", "PA") or (mode == "P" and "transparency" in picture.info):
        layers = np.asarray(picture.convert("RGBA"))
        return _on_black(layers[..., :3], layers[..., 3], name)
    return np.asarray(picture.convert("RGB"))


def _decode_16_bit_colour(
    data: bytes, file_format: str, verified: PillowImage.Image, name: str
) -> NDArray[Any]:
    """Decode 16-bit colour with OpenCV, after Pillow has verified that the file is complete."""
    layers = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if layers is None or layers.ndim != 3 or layers.shape[1::-1] != verified.size:
        raise ValueError("the 16-bit colour pixels cannot be read")
    if layers.shape[2] == 3:
        return layers[..., ::-1]
    if file_format == "png" and data[25] == _PNG_GREY_ALPHA:
        return _on_black(layers[..., 0], layers[..., 3], name)
    return _on_black(layers[..., 2::-1], layers[..., 3], name)


def _on_black(colour: NDArray[Any], alpha: NDArray[Any], name: str) -> NDArray[Any]:
    """Lay colour ``[H, W]`` or ``[H, W, 3]`` with its alpha ``[H, W]`` on black.

    If no pixel is more than half transparent, or all are entirely, alpha is an artefact of the
    export and is ignored, the former as by OpenCV's ``imread``.

    Raises:
        DecodeError: one colour in all visible pixels: the picture is in its transparency.
    """
    top = int(np.iinfo(alpha.dtype).max)
    if int(alpha.min()) > top // 2 or not alpha.any():
        return colour
    visible = colour[alpha > 0]
    if alpha.min() < alpha.max() and (visible == visible[0]).all():
        raise DecodeError(
            f"{name}: the picture is drawn in its transparency, over one colour; "
            "save it without transparency"
        )
    mixed = np.empty_like(colour)
    for start in range(0, len(colour), _BAND):  # in bands, to limit memory
        band = slice(start, start + _BAND)
        weight = alpha[band].astype(np.float32) / top
        if colour.ndim == 3:
            weight = weight[..., None]
        mixed[band] = np.rint(colour[band] * weight)
    return mixed
