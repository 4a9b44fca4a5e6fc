"""The network's square input on a source image, and coordinate transforms between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """Position of the input's square on the source image, in source pixels.

    ``x0, y0`` may be negative and ``x0 + w`` may exceed the image's width: that part is padding.
    """

    height: int
    width: int
    x0: float
    y0: float
    w: float
    h: float
    size: int

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the source image in a frame on whole pixels."""
        y0, x0 = int(self.y0), int(self.x0)
        rows = slice(max(y0, 0), min(y0 + int(self.h), self.height))
        return rows, slice(max(x0, 0), min(x0 + int(self.w), self.width))

    def within(self, rows: slice, columns: slice, height: int, width: int) -> Frame:
        """Return a frame on the part ``[rows, columns]`` of an image as one on all of it."""
        x0, y0 = self.x0 + columns.start, self.y0 + rows.start
        return Frame(height, width, x0, y0, self.w, self.h, self.size)

    def scaled_to(self, height: int, width: int) -> Frame:
        """Return the frame on a resized copy of the image."""
        across, down = width / self.width, height / self.height
        corner, extent = (self.x0 * across, self.y0 * down), (self.w * across, self.h * down)
        return Frame(height, width, *corner, *extent, self.size)

    def boxes_to_input(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Convert boxes ``[N, 4]`` (x0, y0, x1, y1) from fractions of the image to the input's.

        Boxes are clipped to the input; one entirely outside has no area.
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        scale = np.array([self.width, self.height, self.width, self.height])
        corner = np.array([self.x0, self.y0, self.x0, self.y0])
        extent = np.array([self.w, self.h, self.w, self.h])
        inside = np.clip((boxes * scale - corner) / extent, 0.0, 1.0)
        return np.asarray(inside, dtype=np.float32)

    def map_to_image(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample a map ``[h, w]`` onto the source image: float32 ``[height, width]``.

        Bilinear between cell centres, edge cells extended to the frame's edge, and 0 outside
        the frame.
        """
        if all(float(edge).is_integer() for edge in (self.x0, self.y0, self.w, self.h)):
            return self._map_whole_pixels(values)
        rows, cols = values.shape
        # A pixel's centre (x + 0.5) lies at ((x + 0.5 - x0) / w) * cols - 0.5 in cell units.
        xs = (np.arange(self.width, dtype=np.float32) + 0.5 - self.x0) / self.w
        ys = (np.arange(self.height, dtype=np.float32) + 0.5 - self.y0) / self.h
        map_x = np.broadcast_to((xs * cols - 0.5).astype(np.float32), (self.height, self.width))
        map_y = np.broadcast_to(
            (ys * rows - 0.5).astype(np.float32)[:, None], (self.height, self.width)
        )
        resampled = cv2.remap(
            np.ascontiguousarray(values, dtype=np.float32),
            np.ascontiguousarray(map_x),
            np.ascontiguousarray(map_y),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        inside = ((xs >= 0) & (xs <= 1))[None, :] & ((ys >= 0) & (ys <= 1))[:, None]
        return np.where(inside, resampled, np.float32(0)).astype(np.float32)

    def _map_whole_pixels(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample as `map_to_image` does, ten times as fast: the pixels are those of a resize."""
        side = (int(self.w), int(self.h))
        square = np.asarray(cv2.resize(values, side, interpolation=cv2.INTER_LINEAR))
        rows, columns = self.inside
        y0, x0 = int(self.y0), int(self.x0)
        resampled = np.zeros((self.height, self.width), dtype=np.float32)
        resampled[rows, columns] = square[
            rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0
        ]
        return resampled
