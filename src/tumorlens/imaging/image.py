"""The decoded `Image`, and the `Limits` on the size of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, TooLargeError
from tumorlens.imaging.header import ScanHeader

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """Maximum size of an input, checked before any pixel is decoded.

    Attributes:
        max_bytes: size of the file or upload, in bytes.
        max_pixels: width times height (times frames) in the header.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 4096 * 4096

    def check_bytes(self, n_bytes: int, name: str) -> None:
        """Raise `TooLargeError` when ``n_bytes`` is over the limit."""
        if n_bytes > self.max_bytes:
            raise TooLargeError(
                f"{name}: larger than the limit of {self.max_bytes:,} bytes; "
                "export the slice at a smaller size"
            )

    def check_pixels(self, width: int, height: int, name: str, frames: int = 1) -> None:
        """Raise `TooLargeError` over the limit, `DecodeError` when a side is not positive."""
        if width < 1 or height < 1 or frames < 1:
            raise DecodeError(
                f"{name}: the header gives {width} × {height} pixels; the file is damaged"
            )
        if width * height * frames > self.max_pixels:
            size = f"{width} × {height}" + (f" × {frames} frames" if frames > 1 else "")
            raise TooLargeError(
                f"{name}: the header gives {size} pixels, over the limit of "
                f"{self.max_pixels:,}; export the slice at a smaller size"
            )


@dataclass(frozen=True, eq=False)
class Image:
    """One decoded image.

    Attributes:
        pixels: uint8, uint16 or float32; ``[H, W]`` grey or ``[H, W, 3]`` RGB. Palette and
            alpha are resolved, the EXIF orientation is applied, pixels are square. Floats are
            finite, in the units of the source.
        format: ``jpeg png tiff bmp webp dicom nifti`` or ``array``.
        name: the file name, or ``upload``; for messages only.
        header: what a DICOM header says of the scan; None for other formats.
    """

    pixels: Pixels
    format: str
    name: str
    header: ScanHeader | None = None

    def __post_init__(self) -> None:
        """Raise `DecodeError` for an invalid array."""
        check_array(self.pixels, self.name)


def check_array(pixels: NDArray[Any], name: str) -> None:
    """Raise `DecodeError` unless ``pixels`` is valid as `Image.pixels`."""
    shape, dtype = pixels.shape, pixels.dtype
    grey_or_rgb = len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
    if not grey_or_rgb or 0 in shape:
        raise DecodeError(f"{name}: pixels of shape {shape}; need [H, W] grey or [H, W, 3] RGB")
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise DecodeError(f"{name}: pixels of type {dtype}; need uint8, uint16 or float32")
    if dtype == np.float32 and not np.isfinite(pixels).all():
        raise DecodeError(f"{name}: some pixels are NaN or infinite; export the slice as PNG")


_Grey = TypeVar("_Grey", np.uint8, np.uint16, np.float32)


def to_grey(pixels: NDArray[_Grey]) -> NDArray[_Grey]:
    """Return ``[H, W]`` of the same dtype: ITU-R BT.601 luma of RGB; grey passes through.

    The weights 0.299, 0.587, 0.114 and their rounding are those of OpenCV's ``RGB2GRAY``.
    """
    if pixels.ndim == 2:
        return pixels
    grey: NDArray[Any] = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return grey


def without_empty_colour(pixels: NDArray[_Grey]) -> NDArray[_Grey]:
    """Return ``[H, W]`` where the channels of ``[H, W, 3]`` are the same: grey stored as RGB.

    That is what `to_grey` gives for 8 bits; other pixels are returned unchanged.
    """
    if pixels.ndim == 2 or pixels.dtype != np.uint8:
        return pixels
    red, green, blue = cv2.split(pixels)
    if cv2.norm(red, green, cv2.NORM_INF) or cv2.norm(green, blue, cv2.NORM_INF):
        return pixels
    grey: NDArray[Any] = np.asarray(green)
    return grey


def shrunk(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    """Return ``[H, W]`` or ``[H, W, 3]`` pixels averaged to at most ``side`` pixels a side."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
