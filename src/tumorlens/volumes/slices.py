"""A volume's slices: upright, with square pixels and their position in the body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import MissingExtraError
from tumorlens.imaging.anatomy import Plane
from tumorlens.volumes.volume import Volume

# The axis normal to a plane, in RAS order; and the axes of its columns and rows.
_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}
# Of a larger volume, every second voxel along each axis gives the percentile.
_MANY_VOXELS = 2**25


@dataclass(frozen=True, eq=False)
class SeriesSlice:
    """One slice of a volume.

    Attributes:
        volume: where it is cut from.
        plane: the plane it lies in.
        index: 0 … n − 1 along the plane's normal: from the patient's left, back or lower end.
        position_mm: distance of the slice from the origin of the file's coordinates along the
            normal; of a stack that is not oblique, the R, A or S coordinate.
        thickness_mm: distance of neighbouring slices' centres.
        pixel_mm: side of a pixel.
    """

    volume: Volume
    plane: Plane
    index: int
    position_mm: float
    thickness_mm: float
    pixel_mm: float

    @property
    def name(self) -> str:
        """The volume's name, plane and index: ``scan.nii.gz#axial:45``."""
        return f"{self.volume.name}#{self.plane}:{self.index}"

    def pixels(self) -> NDArray[np.float32]:
        """Return float32 ``[H, W]``; see `take_slice`."""
        return take_slice(self.volume, self.plane, self.index)

    def to_grid(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a map ``[H, W]`` of this slice on the volume's voxels.

        ``[X, Y]`` (axial), ``[X, Z]`` (coronal) or ``[Y, Z]`` (sagittal), float32, linearly
        interpolated: the inverse of `pixels` in orientation and pixel size.
        """
        columns, rows = _IN_PLANE[self.plane]
        size = (self.volume.data.shape[columns], self.volume.data.shape[rows])
        # The array, as OpenCV's Python interface gives an output without a type.
        resized = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR))
        return np.ascontiguousarray(resized[::-1, ::-1].T, dtype=np.float32)

    def to_voxels(self, points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
        """Return places in this slice as voxel indices ``[n, 3]`` of the volume.

        Args:
            points: ``(x, y)`` as fractions of the slice's width and height, from the upper left
                corner. Whole indices are the voxels' centres.
        """
        axes = _IN_PLANE[self.plane]
        voxels = np.full((len(points), 3), float(self.index))
        for axis, along in zip(axes, np.asarray(points, np.float64).reshape(-1, 2).T, strict=True):
            voxels[:, axis] = (1 - along) * self.volume.data.shape[axis] - 0.5
        return voxels


def cut(volume: Volume, plane: Plane | None = None) -> Iterator[SeriesSlice]:
    """Yield all slices of a plane, by default the plane of acquisition, by rising index."""
    plane = plane or volume.plane
    axis, in_plane = _NORMAL[plane], _IN_PLANE[plane]
    sides = volume.data.shape
    columns, rows = (volume.affine[:3, each] for each in in_plane)
    normal = np.cross(columns, rows)
    normal = normal / np.linalg.norm(normal)
    if normal @ volume.affine[:3, axis] < 0:
        normal = -normal
    centre = np.array([(side - 1) / 2 for side in sides] + [1.0])
    for index in range(sides[axis]):
        centre[axis] = index
        yield SeriesSlice(
            volume=volume,
            plane=plane,
            index=index,
            position_mm=float(normal @ (volume.affine @ centre)[:3]),
            thickness_mm=volume.spacing_mm[axis],
            pixel_mm=min(volume.spacing_mm[each] for each in in_plane),
        )


def take_slice(
    volume: Volume, plane: Plane, index: int, tilt: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """Return one slice, float32 ``[H, W]`` in the volume's units, in radiological orientation.

    Axial: anterior up; coronal and sagittal: superior up. The patient's right is on the image's
    left, and a sagittal face looks left. Pixels are square: the coarser axis is interpolated
    linearly.

    ``tilt`` (degrees) rotates the plane about the image's horizontal, then about its vertical
    midline, with linear interpolation (SciPy, extra ``train``); positive angles move the image's
    lower and right half to slices of lower index. Outside the volume is its minimum.

    Raises:
        IndexError: ``index`` is not 0 … number of slices − 1.
        MissingExtraError: a tilted slice without SciPy.
    """
    normal_axis = _NORMAL[plane]
    last = volume.data.shape[normal_axis] - 1
    if not 0 <= index <= last:
        raise IndexError(f"{volume.name}: {plane} slice {index} is outside 0 … {last}")
    columns, rows = _IN_PLANE[plane]
    if any(tilt):
        return _tilted_slice(volume, plane, index, tilt)
    # Both image axes run against the RAS axes.
    # A view: np.take would first copy the whole volume, whose axes are usually permuted.
    section = np.moveaxis(volume.data, normal_axis, 0)[index]
    pixels = section.astype(np.float32, copy=False)[::-1, ::-1].T
    across, down = (volume.spacing_mm[axis] for axis in (columns, rows))
    pixel = min(across, down)
    height = max(1, round(pixels.shape[0] * down / pixel))
    width = max(1, round(pixels.shape[1] * across / pixel))
    if (height, width) == pixels.shape:
        return np.ascontiguousarray(pixels)
    resized = cv2.resize(
        np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def _tilted_slice(
    volume: Volume, plane: Plane, index: int, tilt: tuple[float, float]
) -> NDArray[np.float32]:
    try:
        from scipy.ndimage import map_coordinates
    except ModuleNotFoundError as error:
        raise MissingExtraError("a tilted slice", "train") from error
    normal_axis, (columns, rows) = _NORMAL[plane], _IN_PLANE[plane]
    sides, spacing = np.array(volume.data.shape), np.array(volume.spacing_mm)
    about_horizontal, about_vertical = np.deg2rad(tilt)
    across, down, normal = (-np.eye(3)[axis] for axis in (columns, rows, normal_axis))
    down, normal = (
        np.cos(about_horizontal) * down + np.sin(about_horizontal) * normal,
        np.cos(about_horizontal) * normal - np.sin(about_horizontal) * down,
    )
    across = np.cos(about_vertical) * across + np.sin(about_vertical) * normal
    # Square pixels of the finer in-plane spacing, centred on the slice.
    pixel = float(min(spacing[columns], spacing[rows]))
    width, height = (max(1, round(sides[a] * spacing[a] / pixel)) for a in (columns, rows))
    middle = (sides - 1) / 2 * spacing
    middle[normal_axis] = index * spacing[normal_axis]
    right = (np.arange(width) - (width - 1) / 2)[None, :, None] * pixel * across
    below = (np.arange(height) - (height - 1) / 2)[:, None, None] * pixel * down
    coordinates = np.moveaxis((middle + right + below) / spacing, -1, 0)
    values = map_coordinates(
        volume.data, coordinates, output=np.float32, order=1, mode="constant",
        cval=float(volume.data.min()),
    )  # fmt: skip
    return np.asarray(values, dtype=np.float32)


def head_extent(volume: Volume, plane: Plane) -> tuple[int, int]:
    """Return the first and last slice with at least 10 % of the head area of the largest slice.

    Head: voxels above 15 % between the volume's minimum and its 99th percentile. A constant
    volume gives ``(0, n − 1)``.
    """
    step = 2 if volume.data.size > _MANY_VOXELS else 1
    sample = volume.data[::step, ::step, ::step]
    low, high = float(volume.data.min()), float(np.percentile(sample, 99))
    bright = volume.data > low + 0.15 * (high - low)
    normal_axis = _NORMAL[plane]
    area = bright.sum(axis=tuple(axis for axis in range(3) if axis != normal_axis))
    if not area.any():
        return 0, len(area) - 1
    with_head = np.flatnonzero(area >= 0.1 * area.max())
    return int(with_head[0]), int(with_head[-1])
