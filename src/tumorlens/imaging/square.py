"""Square pixels: every reader returns them, whatever the shape of those in the file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import UnsupportedFormatError
from tumorlens.imaging.image import Limits

_MAX_RATIO = 5.0
_SQUARE = 0.01  # headers round: 2834 and 2835 pixels a metre are one resolution


def to_square(pixels: NDArray[Any], ratio: float | None, name: str, limits: Limits) -> NDArray[Any]:
    """Resample pixels that are ``ratio`` times as high as wide to square ones.

    The coarser side is interpolated linearly to the finer one's size, so nothing is lost; where
    that is over the limit of pixels, the finer side is averaged instead.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 3]``, any real dtype; unchanged if they are square.
        ratio: height of a pixel over its width; None if the file does not say, which is taken as
            square.
        name: name of the input in messages.
        limits: the limit of pixels.

    Raises:
        UnsupportedFormatError: the ratio is outside 1/5 … 5, which no scan of a head has.
    """
    if ratio is None or abs(ratio - 1) <= _SQUARE:
        return pixels
    if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
        raise UnsupportedFormatError(
            f"{name}: the header says that a pixel is {ratio:.3g} times as high as wide, "
            f"more than {_MAX_RATIO:g} to 1; export the slice with square pixels"
        )
    height, width = pixels.shape[:2]
    size = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    mode = cv2.INTER_LINEAR
    if size[0] * size[1] > limits.max_pixels:
        size = (round(width / ratio), height) if ratio > 1 else (width, round(height * ratio))
        mode = cv2.INTER_AREA
    size = (max(1, size[0]), max(1, size[1]))
    # OpenCV resizes no 32-bit integers.
    source = pixels.astype(np.float64) if pixels.dtype.itemsize == 4 else pixels
    resized = np.asarray(cv2.resize(source, size, interpolation=mode))
    return resized.astype(pixels.dtype)
