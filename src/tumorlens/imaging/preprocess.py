"""From decoded pixels to the network's input tensor, and its position on the image.

Training, evaluation, CLI and service all use :func:`prepare` (or :func:`preprocess`, its tensor
alone). The :class:`PreprocessSpec` is stored in the model file, so inference preprocesses as in
training, whatever the current defaults.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import ConfigError
from tumorlens.imaging.frame import Frame
from tumorlens.imaging.head import (
    Box,
    Content,
    find_content,
    find_head,
    find_small_scan,
    search_copy,
)
from tumorlens.imaging.image import Pixels, check_array, shrunk, to_grey, without_empty_colour
from tumorlens.imaging.percentiles import percentiles
from tumorlens.imaging.surround import find_surround, hide
from tumorlens.imaging.views import shows_several_views

__all__ = [
    "DEFAULT", "NOTEBOOK", "Frame", "Prepared", "PreprocessSpec", "bounded", "prepare",
    "preprocess",
]  # fmt: skip

# Larger images are first shrunk to this side; no MRI slice is larger.
_MAX_SIDE = 2048


@dataclass(frozen=True)
class PreprocessSpec:
    """Preprocessing parameters.

    Attributes:
        size: Side of the square input, in pixels.
        channels: 1 (grey) or 3 (RGB).
        crop: ``content`` crops to the head and pads to a square; ``none`` stretches the whole
            image to the square, as the notebook does.
        margin: Margin around the head, as a fraction of its longer side (``content`` only).
        surround: ``kept``, or ``hidden``: a white page and a drawn border around the scan are
            painted black before the head is located (``content`` only).
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
        choices = {"channels": (1, 3), "crop": ("content", "none"),
                   "intensity": ("percentile", "unit"), "surround": ("kept", "hidden")}  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"preprocess: {name} is {getattr(self, name)!r}, not one of {allowed}"
                )

    def describe(self) -> str:
        """Return size, crop and intensity in words, for cards and reports."""
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


@dataclass(frozen=True, eq=False)
class Prepared:
    """One preprocessed image.

    Attributes:
        tensor: float32 ``[spec.channels, spec.size, spec.size]`` in 0..1, C-contiguous.
        frame: Position of the tensor's square on the image.
        visible: The part of the image that shows the scan, ``[h, w]`` or ``[h, w, 3]`` of the
            image's dtype: without page and border if ``spec.surround`` is ``hidden``. Input of
            the quality check (:mod:`tumorlens.imaging.quality`).
        content: What `find_content` finds in ``visible``, if it was searched.
    """

    tensor: NDArray[np.float32]
    frame: Frame
    visible: Pixels
    content: Content | None = None


def prepare(pixels: Pixels, spec: PreprocessSpec) -> Prepared:
    """Locate the head, crop, resize and scale. Pure and deterministic.

    Args:
        pixels: ``[H, W]`` grey or ``[H, W, 3]`` RGB; uint8, uint16 or float32 (any range).
        spec: The parameters, normally from the model file.

    Returns:
        For a blank image, a tensor of zeros (``percentile``) or a constant (``unit``).

    Raises:
        DecodeError: Another shape or dtype, or NaN or infinite values.
    """
    check_array(pixels, "image array")
    height, width = pixels.shape[:2]
    if spec.crop == "none":
        frame = Frame(height, width, 0.0, 0.0, float(width), float(height), spec.size)
        return Prepared(_whole(pixels, spec), frame, pixels)
    # Most pictures are grey stored as RGB; one channel then says all.
    small = bounded(without_empty_colour(pixels) if spec.surround == "hidden" else pixels)
    grey = to_grey(small)
    search = search_copy(grey)
    visible = pixels
    if spec.surround == "hidden":
        visible = small
        hidden = find_surround(grey, search)
        if hidden is not None:
            small, visible = hide(small, hidden)
            grey = to_grey(small)
            search = search_copy(grey)
    whole = grey.shape[:2]
    content = find_content(search)
    part = find_small_scan(grey, content)
    # Of several views none may be chosen; the quality check refuses them.
    if part is not None and shows_several_views(grey, content):
        part = None
    if part is not None:
        small, grey = small[part], grey[part]
        visible, content = small, find_content(search_copy(grey))
    box, head = find_head(grey, content)
    frame = _around(box, grey.shape, spec)
    image = (grey if spec.channels == 1 else _colour(small))[frame.inside]
    tensor = _channels_first(_fit(_intensity(image, grey, spec, head), frame))
    frame = frame if part is None else frame.within(*part, *whole)
    seen = content if visible is small else None
    return Prepared(tensor, frame.scaled_to(height, width), visible, seen)


def preprocess(pixels: Pixels, spec: PreprocessSpec) -> NDArray[np.float32]:
    """Return the network's input for decoded pixels: the tensor of :func:`prepare`."""
    return prepare(pixels, spec).tensor


def bounded(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return ``[H, W]`` or ``[H, W, 3]`` pixels shrunk to at most 2048 per side.

    The network's input is far smaller, and float copies of a very large image take much memory.
    """
    return shrunk(pixels, _MAX_SIDE)


def _colour(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def _channels_first(image: NDArray[np.float32]) -> NDArray[np.float32]:
    stacked = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return np.ascontiguousarray(stacked, dtype=np.float32)


def _whole(pixels: NDArray[Any], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Stretch the whole image to the square, as ``cv2.resize(image, (size, size))`` does."""
    image: NDArray[Any] = _colour(pixels) if spec.channels == 3 else to_grey(pixels)
    resized: NDArray[Any] = cv2.resize(image, (spec.size,) * 2, interpolation=cv2.INTER_LINEAR)
    return _channels_first(_intensity(resized, to_grey(resized), spec))


def _intensity(
    image: NDArray[Any],
    grey: NDArray[Any],
    spec: PreprocessSpec,
    head: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Scale ``image`` to 0..1 by the range of ``grey`` in its ``head``, bool ``[H, W]``."""
    if spec.intensity == "unit":
        limit = np.iinfo(image.dtype).max if image.dtype != np.float32 else 1
        return np.asarray(image, dtype=np.float32) / np.float32(limit)
    found = head is None or bool(head.any())
    low, high = percentiles(grey, (spec.low, spec.high), head) if found else (0.0, 0.0)
    if high <= low:
        return np.zeros(image.shape, dtype=np.float32)
    if image.dtype == np.uint8:
        # One value for each of 256 levels, instead of arithmetic on every pixel.
        levels = _scaled(np.arange(256, dtype=np.uint8), low, high)
        return np.asarray(cv2.LUT(image, levels), dtype=np.float32)
    return _scaled(image, low, high)


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    scaled = (values.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(scaled, 0.0, 1.0), dtype=np.float32)


def _fit(region: NDArray[np.float32], frame: Frame) -> NDArray[np.float32]:
    """Pad ``region`` to the frame's square and resize it to ``[size, size]`` (or with channels).

    ``region`` is the image ``[H, W]`` or ``[H, W, 3]`` cropped to ``frame.inside``.
    """
    rows, columns = frame.inside
    above, left, side = rows.start - int(frame.y0), columns.start - int(frame.x0), int(frame.w)
    below, right = side - above - region.shape[0], side - left - region.shape[1]
    square = cv2.copyMakeBorder(region, above, below, left, right, cv2.BORDER_CONSTANT, value=0)
    # Area averaging avoids aliasing when shrinking, but is like nearest neighbour when enlarging.
    mode = cv2.INTER_AREA if side > frame.size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (frame.size,) * 2, interpolation=mode), dtype=np.float32)


def _around(box: Box, shape: tuple[int, ...], spec: PreprocessSpec) -> Frame:
    """Return the square around the head's box, including the margin, on whole pixels."""
    height, width = shape
    x0, y0, x1, y1 = box
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + 2 * spec.margin)))
    corner_x, corner_y = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return Frame(height, width, corner_x, corner_y, float(side), float(side), spec.size)
