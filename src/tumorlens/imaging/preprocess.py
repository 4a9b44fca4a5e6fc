"""From decoded pixels to the network's input: the one pure function, and where it looked.

Training, evaluation, CLI and service all call :func:`preprocess`; no second one exists.
The :class:`PreprocessSpec` lives in the model file, so inference reads the plan saved
with the weights and never today's defaults.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import ConfigError, DecodeError
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.head import Box, find_head
from tumorlens.imaging.surround import hide_surround

__all__ = [
    "DEFAULT", "NOTEBOOK", "Frame", "PreprocessSpec", "bounded", "locate", "preprocess", "scan_in",
]  # fmt: skip

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

# Larger pictures are shrunk to this side first; no MRI slice is larger.
_LARGEST_SIDE = 2048


@dataclass(frozen=True)
class PreprocessSpec:
    """How pixels become the network's input.

    Attributes:
        size: Side of the square input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: ``content`` cuts to the head and pads to a square; ``none`` keeps the image
            and stretches it to the square, as the notebook does.
        margin: Share of the head's longer side left free around it (``content`` only).
        surround: ``kept``, or ``hidden``: a white page and a drawn frame around the scan are
            painted black before the head is sought (``content`` only).
        intensity: ``percentile`` maps the ``low``-th to ``high``-th percentile of the
            head's pixels to 0..1 and clips; ``unit`` divides by the dtype's maximum.
        low: Lower percentile, 0..100.
        high: Upper percentile, 0..100.
    """

    size: int = 160
    channels: Literal[1, 3] = 1
    crop: Literal["content", "none"] = "content"
    margin: float = 0.03
    intensity: Literal["percentile", "unit"] = "percentile"
    low: float = 1.0
    high: float = 99.5
    surround: Literal["kept", "hidden"] = "kept"

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 1024:
            raise ConfigError(f"preprocess: size {self.size} is outside 16..1024 pixels")
        if not 0 <= self.low < self.high <= 100:
            raise ConfigError(
                f"preprocess: percentiles {self.low}, {self.high} are not 0 <= low < high <= 100"
            )
        if not 0 <= self.margin <= 0.5:
            raise ConfigError(f"preprocess: margin {self.margin} is outside 0..0.5")
        choices = {"channels": (1, 3), "crop": ("content", "none")}
        choices |= {"intensity": ("percentile", "unit"), "surround": ("kept", "hidden")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"preprocess: {name} is {getattr(self, name)!r}, not one of {allowed}"
                )

    def describe(self) -> str:
        """Return the input's size, crop and intensity as cards and reports tell them."""
        margin = f" with a margin of {100 * self.margin:g} %" if self.crop == "content" else ""
        return (
            f"{self.channels} × {self.size} × {self.size} pixels, crop {self.crop}{margin}, "
            f"intensity {self.intensity}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PreprocessSpec:
        """Build a spec from :meth:`to_dict`; an unknown field is a :class:`ConfigError`."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"preprocess: unknown fields {sorted(unknown)}")
        return cls(**values)


DEFAULT = PreprocessSpec()
NOTEBOOK = PreprocessSpec(size=128, channels=3, crop="none", intensity="unit")


def preprocess(pixels: Pixels, spec: PreprocessSpec) -> NDArray[np.float32]:
    """Turn decoded pixels into the network's input. Pure and deterministic.

    Args:
        pixels: ``[H, W]`` grey or ``[H, W, 3]`` RGB; uint8, uint16 or float32 (any range).
        spec: The plan, normally the one read from the model file.

    Returns:
        float32 ``[spec.channels, spec.size, spec.size]`` in 0..1, C-contiguous. A blank image
        gives all zeros under ``percentile`` and a constant under ``unit``.

    Raises:
        DecodeError: The array's shape or dtype is none of the above, or it holds NaN or
            infinite values.
    """
    _check(pixels)
    if spec.crop == "none":
        return _whole(pixels, spec)
    pixels = _without_surround(bounded(pixels), spec)
    grey = _grey(pixels)
    box, head = find_head(grey)
    frame = _around(box, grey.shape[:2], spec)
    image = grey if spec.channels == 1 else _colour(pixels)
    scaled = _intensity(image, grey[head], spec)
    return _channels_first(cut_as(scaled, frame))


def locate(pixels: Pixels, spec: PreprocessSpec) -> Frame:
    """Return where :func:`preprocess` looks on ``pixels`` under ``spec``."""
    _check(pixels)
    height, width = pixels.shape[:2]
    if spec.crop == "none":
        return Frame(height, width, 0.0, 0.0, float(width), float(height), spec.size)
    small = bounded(pixels)
    box, _ = find_head(_grey(_without_surround(small, spec)))
    frame = _around(box, small.shape[:2], spec)
    if small is pixels:
        return frame
    across, down = width / frame.width, height / frame.height
    corner = (frame.x0 * across, frame.y0 * down)
    return Frame(height, width, *corner, frame.w * across, frame.h * down, spec.size)


def scan_in(pixels: Pixels, spec: PreprocessSpec) -> Pixels:
    """Return what of a picture is the scan: without page and frame, if ``spec`` hides them.

    The rules of :mod:`tumorlens.imaging.quality` judge this part: a scan on a white page is a scan.
    """
    _check(pixels)
    if spec.crop == "none" or spec.surround == "kept":
        return pixels
    small = bounded(pixels)
    return hide_surround(small, _grey(small), cut=True)


def cut_as(image: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Return what a frame shows of ``[H, W]`` or ``[H, W, 3]``, ``[size, size]`` or with channels.

    Outside the image it shows 0.
    """
    return _resize(_cut(image, frame), frame.size)


def _check(pixels: Pixels) -> None:
    shape_ok = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not shape_ok or 0 in pixels.shape:
        raise DecodeError(f"image array has shape {pixels.shape}; expected [H, W] or [H, W, 3]")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise DecodeError(f"image array has dtype {pixels.dtype}; expected uint8, uint16, float32")
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise DecodeError("image array holds NaN or infinite values; clean it before use")


def bounded(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return ``[H, W]`` or ``[H, W, 3]`` pixels with at most 2048 on the longer side.

    The network's input is far smaller, and floats of a very large picture would be huge.
    """
    height, width = pixels.shape[:2]
    shrink = _LARGEST_SIDE / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _without_surround(pixels: NDArray[Any], spec: PreprocessSpec) -> NDArray[Any]:
    return pixels if spec.surround == "kept" else hide_surround(pixels, _grey(pixels))


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _colour(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _channels_first(image: NDArray[np.float32]) -> NDArray[np.float32]:
    stacked = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return np.ascontiguousarray(stacked, dtype=np.float32)


def _whole(pixels: Pixels, spec: PreprocessSpec) -> NDArray[np.float32]:
    """Stretch the whole image to the square, as ``cv2.resize(image, (size, size))`` does."""
    image = _colour(pixels) if spec.channels == 3 else _grey(pixels)
    resized = cv2.resize(image, (spec.size, spec.size), interpolation=cv2.INTER_LINEAR)
    return _channels_first(_intensity(resized, _grey(resized).ravel(), spec))


def _intensity(
    image: NDArray[Any], reference: NDArray[Any], spec: PreprocessSpec
) -> NDArray[np.float32]:
    if spec.intensity == "unit":
        limit = np.iinfo(image.dtype).max if image.dtype != np.float32 else 1
        return np.asarray(image, dtype=np.float32) / np.float32(limit)
    low, high = np.percentile(reference, (spec.low, spec.high)) if reference.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(image.shape, dtype=np.float32)
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)


def _cut(image: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Cut the frame's square, zero where it leaves the image."""
    x0, y0, side = int(frame.x0), int(frame.y0), int(frame.w)
    square = np.zeros((side, side, *image.shape[2:]), dtype=np.float32)
    top, left = max(y0, 0), max(x0, 0)
    bottom, right = min(y0 + side, frame.height), min(x0 + side, frame.width)
    square[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return square


def _resize(square: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    # Area averaging does not alias when shrinking; it is nearest-like when growing.
    how = cv2.INTER_AREA if square.shape[0] > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), dtype=np.float32)


def _around(box: Box, shape: tuple[int, ...], spec: PreprocessSpec) -> Frame:
    """Return the square around the head's box, with the margin, on whole pixels."""
    height, width = shape
    x0, y0, x1, y1 = box
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * spec.margin)))
    corner_x, corner_y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return Frame(height, width, corner_x, corner_y, float(side), float(side), spec.size)
