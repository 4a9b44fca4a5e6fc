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
# The axis a plane's slices are stacked along, in RAS order; and the axes of its columns, rows.
_STACK = {"sagittal": 0, "coronal": 1, "axial": 2}
_SHOWN = {"sagittal": (1, 2), "coronal": (0, 2), "axial": (0, 1)}


@dataclass(frozen=True, eq=False)
class Volume:
    """One three-dimensional scan.

    Attributes:
        data: float32 ``[X, Y, Z]``, finite; indices grow to the patient's right, front, top.
        spacing_mm: the voxel's size along X, Y, Z in millimetres.
        name: the file's name, for messages.
    """

    data: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    name: str


def load_volume(path: str | Path, *, limits: Limits = VOLUME_LIMITS) -> Volume:
    """Read a NIfTI file (``.nii``, ``.nii.gz``, or the ``.hdr`` of a pair).

    The axes are permuted and flipped, never resampled, to the closest RAS order. A trailing axis
    of length one is dropped; voxels that are not finite become 0.

    Raises:
        UnreadableFileError: no such file, a folder, no permission.
        EmptyInputError: zero bytes.
        TooLargeError: over the limits, which are checked before voxels are read.
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
            raise EmptyInputError(f"{name}: the file is empty; check that it was saved whole")
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

    nibabel: Any = typed_nibabel  # half of its functions carry no types
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
            f"{name}: the header announces {' × '.join(map(str, shape))} voxels, over the limit "
            f"of {limits.max_pixels:,}; resample the volume"
        )
    canonical = nibabel.as_closest_canonical(image)
    data = np.nan_to_num(
        canonical.get_fdata(dtype=np.float32).reshape(canonical.shape[:3]),
        nan=0.0, posinf=0.0, neginf=0.0,
    )  # fmt: skip
    spacing = [abs(float(side)) for side in canonical.header.get_zooms()[:3]]
    if not all(np.isfinite(side) and side > 0 for side in spacing):
        raise DecodeError(f"{name}: the voxel size {spacing} mm makes no sense; export it again")
    return Volume(data, (spacing[0], spacing[1], spacing[2]), name)


def take_slice(
    volume: Volume, plane: Plane, index: int, tilt: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """Return one slice, float32 ``[H, W]`` in the volume's units, as a radiologist sees it.

    Axial: front up; coronal and sagittal: top up. The patient's right is on the picture's left,
    and a sagittal face looks left. Pixels are square: the coarser axis is interpolated linearly.

    With a ``tilt`` in degrees the plane is turned about the picture's horizontal, then about its
    vertical middle line, and interpolated linearly (SciPy, extra ``train``); positive angles take
    the picture's lower and right half to slices of lower index. Outside the volume lies its
    minimum.

    Raises:
        IndexError: ``index`` is not 0 … number of slices − 1.
        MissingExtraError: SciPy is not installed, and the slice is tilted.
    """
    stack = _STACK[plane]
    if not 0 <= index < volume.data.shape[stack]:
        raise IndexError(
            f"{volume.name}: {plane} slice {index} is outside 0 … {volume.data.shape[stack] - 1}"
        )
    columns, rows = _SHOWN[plane]
    if any(tilt):
        return _tilted_slice(volume, plane, index, tilt)
    # Both axes fall on screen: from right to left and from front to back, from top to bottom.
    shown = np.asarray(volume.data.take(index, axis=stack))[::-1, ::-1].T
    across, down = (volume.spacing_mm[axis] for axis in (columns, rows))
    pixel = min(across, down)
    height = max(1, round(shown.shape[0] * down / pixel))
    width = max(1, round(shown.shape[1] * across / pixel))
    if (height, width) == shown.shape:
        return np.ascontiguousarray(shown)
    resized = cv2.resize(
        np.ascontiguousarray(shown), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.float32)


def _tilted_slice(
    volume: Volume, plane: Plane, index: int, tilt: tuple[float, float]
) -> NDArray[np.float32]:
    try:
        from scipy.ndimage import map_coordinates
    except ModuleNotFoundError as error:
        raise MissingExtraError("a tilted slice", "train") from error
    stack, (columns, rows) = _STACK[plane], _SHOWN[plane]
    sides, spacing = np.array(volume.data.shape), np.array(volume.spacing_mm)
    about_horizontal, about_vertical = np.deg2rad(tilt)
    across, down, normal = (-np.eye(3)[axis] for axis in (columns, rows, stack))
    down, normal = (
        np.cos(about_horizontal) * down + np.sin(about_horizontal) * normal,
        np.cos(about_horizontal) * normal - np.sin(about_horizontal) * down,
    )
    across = np.cos(about_vertical) * across + np.sin(about_vertical) * normal
    # Pixels of the picture as wide as the finer of the plane's own axes, about its middle.
    pixel = float(min(spacing[columns], spacing[rows]))
    width, height = (max(1, round(sides[a] * spacing[a] / pixel)) for a in (columns, rows))
    middle = (sides - 1) / 2 * spacing
    middle[stack] = index * spacing[stack]
    right = (np.arange(width) - (width - 1) / 2)[None, :, None] * pixel * across
    below = (np.arange(height) - (height - 1) / 2)[:, None, None] * pixel * down
    places = np.moveaxis((middle + right + below) / spacing, -1, 0)
    taken = map_coordinates(
        volume.data, places, order=1, mode="constant", cval=float(volume.data.min())
    )
    return np.asarray(taken, dtype=np.float32)


def head_extent(volume: Volume, plane: Plane) -> tuple[int, int]:
    """Return the first and last slice that hold head: 10 % of the fullest slice's or more.

    Head is what is brighter than 15 % of the way from the volume's minimum to its 99th
    percentile. A volume of one value has no head and gives ``(0, n − 1)``.
    """
    low, high = float(volume.data.min()), float(np.percentile(volume.data, 99))
    bright = volume.data > low + 0.15 * (high - low)
    stack = _STACK[plane]
    filled = bright.sum(axis=tuple(axis for axis in range(3) if axis != stack))
    if not filled.any():
        return 0, len(filled) - 1
    held = np.flatnonzero(filled >= 0.1 * filled.max())
    return int(held[0]), int(held[-1])
