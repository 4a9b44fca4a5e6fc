"""NIfTI volumes → upright slices: the only module that uses nibabel."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import (
    DecodeError,
    EmptyInputError,
    InputError,
    MissingExtraError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.image import Limits

# 512 × 512 × 512 voxels: 512 MiB as float32.
VOLUME_LIMITS = Limits(max_bytes=512 * 2**20, max_pixels=2**27)
# The axis normal to a plane, in RAS order; and the axes of its columns and rows.
_NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}
_IN_PLANE = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}


@dataclass(frozen=True, eq=False)
class Volume:
    """One three-dimensional scan.

    Attributes:
        data: float32 ``[X, Y, Z]``, finite; axes in RAS order (right, anterior, superior).
        spacing_mm: voxel size along X, Y, Z in millimetres.
        name: the file's name, for messages.
    """

    data: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    name: str


def load_volume(path: str | Path, *, limits: Limits = VOLUME_LIMITS) -> Volume:
    """Read a NIfTI file (``.nii``, ``.nii.gz``, or the ``.hdr`` of a pair).

    The axes are permuted and flipped, never resampled, to the closest RAS order. A trailing axis
    of length one is dropped; NaN and infinite voxels become 0.

    Raises:
        UnreadableFileError: no such file, a folder, no permission.
        EmptyInputError: zero bytes.
        TooLargeError: over the limits (checked before voxels are read).
        UnsupportedFormatError: not NIfTI, or not one three-dimensional grey volume.
        DecodeError: truncated or damaged.
    """
    path = Path(path)
    name = path.name
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UnreadableFileError(f"{path}: not a regular file; give the path of a volume")
        if not size:
            raise EmptyInputError(f"{name}: the file is empty; check that it was saved completely")
        limits.check_bytes(size, name)
        return _load(path, name, limits)
    except InputError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise UnreadableFileError(f"{path}: cannot be read; check the path") from error
    except (OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError,
            AttributeError, struct.error, zlib.error, np.linalg.LinAlgError) as error:  # fmt: skip
        raise DecodeError(
            f"{name}: the NIfTI file is truncated or damaged; export or copy it again"
        ) from error


def _load(path: Path, name: str, limits: Limits) -> Volume:
    import nibabel as typed_nibabel

    nibabel: Any = typed_nibabel  # many of its functions have no type annotations
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise UnsupportedFormatError(f"{name}: not a NIfTI volume; export it as .nii.gz") from error
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair)):
        raise UnsupportedFormatError(
            f"{name}: a {type(image).__name__}, not a NIfTI volume; export it as .nii.gz"
        )
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or image.get_data_dtype().kind not in "iuf" or min(shape) < 1:
        raise UnsupportedFormatError(
            f"{name}: shape {image.shape} of {image.get_data_dtype()}; "
            "need one three-dimensional grey volume, so export a single time point"
        )
    if shape[0] * shape[1] * shape[2] > limits.max_pixels:
        raise TooLargeError(
            f"{name}: the header gives {' × '.join(map(str, shape))} voxels, over the limit "
            f"of {limits.max_pixels:,}; resample the volume"
        )
    canonical = nibabel.as_closest_canonical(image)
    data = np.nan_to_num(
        canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3]),
        nan=0.0, posinf=0.0, neginf=0.0,
    )  # fmt: skip
    spacing = [abs(float(side)) for side in canonical.header.get_zooms()[:3]]
    if not all(np.isfinite(side) and side > 0 for side in spacing):
        raise DecodeError(f"{name}: the voxel size {spacing} mm is not positive; export it again")
    return Volume(data, (spacing[0], spacing[1], spacing[2]), name)


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
    pixels = np.asarray(volume.data.take(index, axis=normal_axis))[::-1, ::-1].T
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
        volume.data, coordinates, order=1, mode="constant", cval=float(volume.data.min())
    )
    return np.asarray(values, dtype=np.float32)


def head_extent(volume: Volume, plane: Plane) -> tuple[int, int]:
    """Return the first and last slice with at least 10 % of the head area of the largest slice.

    Head: voxels above 15 % between the volume's minimum and its 99th percentile. A constant
    volume gives ``(0, n − 1)``.
    """
    low, high = float(volume.data.min()), float(np.percentile(volume.data, 99))
    bright = volume.data > low + 0.15 * (high - low)
    normal_axis = _NORMAL[plane]
    area = bright.sum(axis=tuple(axis for axis in range(3) if axis != normal_axis))
    if not area.any():
        return 0, len(area) - 1
    with_head = np.flatnonzero(area >= 0.1 * area.max())
    return int(with_head[0]), int(with_head[-1])
