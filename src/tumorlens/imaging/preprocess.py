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

Pixels = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.float32]

# Where the head is found on a copy of at most this side: the box needs no more detail.
_SEARCH_SIDE = 256
# Larger pictures are shrunk to this side first; no MRI slice is larger.
_LARGEST_SIDE = 2048
# A box smaller than this share of the image is taken for a failed search.
_SMALLEST_HEAD = 0.2


@dataclass(frozen=True)
class PreprocessSpec:
    """How pixels become the network's input.

    Attributes:
        size: Side of the square input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: ``content`` cuts to the head and pads to a square; ``none`` keeps the image
            and stretches it to the square, as the notebook does.
        margin: Share of the head's longer side left free around it (``content`` only).
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
        choices |= {"intensity": ("percentile", "unit")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"preprocess: {name} is {getattr(self, name)!r}, not one of {allowed}"
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


@dataclass(frozen=True)
class Frame:
    """Where the input's square lies on the source image, in source pixels.

    ``x0, y0`` may be negative and ``x0 + w`` may pass the image's width: that part is padding.
    """

    height: int
    width: int
    x0: float
    y0: float
    w: float
    h: float
    size: int

    def boxes_to_input(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Move boxes ``[N, 4]`` (x0, y0, x1, y1, fractions of the image) to the input's fractions.

        Boxes are clipped to the input; one wholly outside comes back with no area.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        scale = np.array([self.width, self.height, self.width, self.height])
        corner = np.array([self.x0, self.y0, self.x0, self.y0])
        extent = np.array([self.w, self.h, self.w, self.h])
        inside = np.clip((boxes * scale - corner) / extent, 0.0, 1.0)
        return np.asarray(inside, dtype=np.float32)

    def map_to_image(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Spread a map ``[h, w]`` over the source image: float32 ``[height, width]``.

        Bilinear between cell centres, edge cells extended to the frame's edge, and 0 outside
        the frame.
        """
        rows, cols = values.shape
        # A pixel's centre (x + 0.5) lies at ((x + 0.5 - x0) / w) * cols - 0.5 in cell units.
        xs = (np.arange(self.width, dtype=np.float32) + 0.5 - self.x0) / self.w
        ys = (np.arange(self.height, dtype=np.float32) + 0.5 - self.y0) / self.h
        map_x = np.broadcast_to((xs * cols - 0.5).astype(np.float32), (self.height, self.width))
        map_y = np.broadcast_to(
            (ys * rows - 0.5).astype(np.float32)[:, None], (self.height, self.width)
        )
        spread = cv2.remap(
            np.ascontiguousarray(values, dtype=np.float32),
            np.ascontiguousarray(map_x),
            np.ascontiguousarray(map_y),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        inside = ((xs >= 0) & (xs <= 1))[None, :] & ((ys >= 0) & (ys <= 1))[:, None]
        return np.where(inside, spread, np.float32(0)).astype(np.float32)


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
    pixels = _bounded(pixels)
    grey = _grey(pixels)
    frame, head = _find(grey, spec)
    image = grey if spec.channels == 1 else _colour(pixels)
    scaled = _intensity(image, grey[head], spec)
    square = _cut(scaled, frame)
    resized = _resize(square, spec.size)
    return _channels_first(resized)


def locate(pixels: Pixels, spec: PreprocessSpec) -> Frame:
    """Return where :func:`preprocess` looks on ``pixels`` under ``spec``."""
    _check(pixels)
    height, width = pixels.shape[:2]
    if spec.crop == "none":
        return Frame(height, width, 0.0, 0.0, float(width), float(height), spec.size)
    small = _bounded(pixels)
    frame = _find(_grey(small), spec)[0]
    if small is pixels:
        return frame
    across, down = width / frame.width, height / frame.height
    corner = (frame.x0 * across, frame.y0 * down)
    return Frame(height, width, *corner, frame.w * across, frame.h * down, spec.size)


def _check(pixels: Pixels) -> None:
    shape_ok = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not shape_ok or 0 in pixels.shape:
        raise DecodeError(f"image array has shape {pixels.shape}; expected [H, W] or [H, W, 3]")
    if pixels.dtype not in (np.uint8, np.uint16, np.float32):
        raise DecodeError(f"image array has dtype {pixels.dtype}; expected uint8, uint16, float32")
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise DecodeError("image array holds NaN or infinite values; clean it before use")


def _bounded(pixels: NDArray[Any]) -> NDArray[Any]:
    """Shrink a very large picture: the input is far smaller, and floats of it would be huge."""
    height, width = pixels.shape[:2]
    shrink = _LARGEST_SIDE / max(height, width)
    if shrink >= 1:
        return pixels
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


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


def _find(grey: NDArray[Any], spec: PreprocessSpec) -> tuple[Frame, NDArray[np.bool_]]:
    """Find the head: the square frame around it, and the mask of its pixels ``[H, W]``.

    A uniform frame or bar at the edge is cut first; the head is the largest blob above a
    fraction of Otsu's threshold, so letters and rulers beside it do not widen the box.
    """
    height, width = grey.shape
    shrink = min(1.0, _SEARCH_SIDE / max(height, width))
    small_size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(grey.astype(np.float32), small_size, interpolation=cv2.INTER_AREA)
    scaled = cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX)
    search = np.asarray(scaled).astype(np.uint8)
    top, bottom, left, right = _trim(search)
    inner = search[top:bottom, left:right]
    mask = _largest_blob(inner)
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size < _SMALLEST_HEAD * inner.shape[0] or cols.size < _SMALLEST_HEAD * inner.shape[1]:
        mask = np.ones_like(mask)
        rows, cols = np.arange(inner.shape[0]), np.arange(inner.shape[1])
    y0, y1 = (top + rows[0]) / search.shape[0] * height, (top + rows[-1] + 1) / search.shape[0]
    x0, x1 = (left + cols[0]) / search.shape[1] * width, (left + cols[-1] + 1) / search.shape[1]
    y1, x1 = y1 * height, x1 * width
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * spec.margin)))
    corner_x, corner_y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    frame = Frame(height, width, corner_x, corner_y, float(side), float(side), spec.size)
    full = np.zeros(search.shape, dtype=np.uint8)
    full[top:bottom, left:right] = mask
    head = cv2.resize(full, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    return frame, head


def _trim(small: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right without uniform bright rows and columns at the edges."""
    top, bottom, left, right = 0, small.shape[0], 0, small.shape[1]

    def is_bar(line: NDArray[np.uint8]) -> bool:
        # A white or grey bar; black background is left to the blob search.
        return bool(np.mean(line > 60) > 0.9 and np.std(line[line > 60]) < 12)

    for _ in range(4):  # bars may be nested: white around grey around the picture
        before = (top, bottom, left, right)
        while bottom - top > 8 and is_bar(small[top, left:right]):
            top += 1
        while bottom - top > 8 and is_bar(small[bottom - 1, left:right]):
            bottom -= 1
        while right - left > 8 and is_bar(small[top:bottom, left]):
            left += 1
        while right - left > 8 and is_bar(small[top:bottom, right - 1]):
            right -= 1
        if (top, bottom, left, right) == before:
            break
    return top, bottom, left, right


def _largest_blob(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask ``[h, w]`` of the largest bright blob, its holes filled."""
    blurred = np.asarray(cv2.medianBlur(grey, 3), dtype=np.uint8)
    otsu, _ = cv2.threshold(blurred, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    above = (blurred > max(0.4 * otsu, 6)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    bright = cv2.morphologyEx(above, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    if count < 2:
        return np.ones(grey.shape, dtype=bool)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    blob = (labels == largest).astype(np.uint8)
    outlines, _ = cv2.findContours(blob, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = cv2.drawContours(np.zeros_like(blob), outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled) > 0
