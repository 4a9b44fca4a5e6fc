"""The `Volume`, and the bounds that a head's scan keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, TooLargeError, UnsupportedFormatError
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.image import Limits

if TYPE_CHECKING:
    from tumorlens.volumes.dicom.frames import Frame

# 512 × 512 × 400 voxels: 400 MiB as float32.
VOLUME_LIMITS = Limits(max_bytes=512 * 2**20, max_pixels=100 * 2**20)
MAX_VOLUMES = 256
"""Largest number of volumes in one file: more are a functional or diffusion run."""
MAX_STORED_BYTES = 2**30
"""Largest size of all voxels in one file, decompressed."""
# Millimetres. Microscopes have finer voxels, and no clinical slice is as thick.
_MIN_SIDE, _MAX_SIDE = 0.05, 25.0
_MAX_EXTENT = 1000.0
# Square pixels of the finest spacing: the longest side of a slice in any plane.
_MAX_PIXELS = 4096


@dataclass(frozen=True, eq=False)
class Volume:
    """One three-dimensional scan.

    Attributes:
        data: ``[X, Y, Z]``, finite; axes in RAS order (right, anterior, superior). float32, or
            the stored integers (uint8, int16, uint16) where the file gives no other scale.
        spacing_mm: voxel size along X, Y, Z in millimetres; of an oblique stack, along its own
            axes, each named by the RAS axis it is closest to.
        name: path, or name in messages; of one of several volumes in a file, ``name#2``.
        affine: float64 ``[4, 4]``: voxel indices to millimetres, RAS, as the file gives it.
        plane: plane of acquisition: normal to the axis of the slices.
        oriented: whether the file tells right from left and the planes apart; False for Analyze
            and for files without an orientation, whose axes are taken as the format's default.
        modality: the header's, such as ``MR`` or ``CT``; None where the format has none.
        sequence: ``T1 T1C T2 FLAIR PD DWI other unknown``, from the header.
        body_part: the header's, such as ``HEAD``; None where the format has none.
        files: names of the files it was read from.
        frames: of a DICOM series, the frame that each slice along the axis of ``plane`` was read
            from, by rising index; None where one is missing. Empty for other formats.
        set_aside: of a DICOM series, name and reason of each slice that does not fit; `remarks`
            has them too.
        remarks: what was unusual and how it was read, in plain words.
    """

    data: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    name: str
    affine: NDArray[np.float64]
    plane: Plane = "axial"
    oriented: bool = True
    modality: str | None = None
    sequence: str = "unknown"
    body_part: str | None = None
    files: tuple[str, ...] = ()
    frames: tuple[Frame | None, ...] = ()
    set_aside: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def aligned(
        cls, data: NDArray[Any], spacing_mm: tuple[float, float, float], name: str
    ) -> Volume:
        """Return a volume whose axes are exactly RAS, with its first voxel's centre at 0 mm."""
        return cls(data, spacing_mm, name, np.diag([*map(float, spacing_mm), 1.0]))


def check_matrix(shape: tuple[int, ...], name: str, limits: Limits) -> None:
    """Raise unless ``shape`` has three positive sides within the limit."""
    sides = " × ".join(map(str, shape))
    if len(shape) != 3:
        raise UnsupportedFormatError(
            f"{name}: {len(shape)} dimensions ({sides}), not one three-dimensional scan; "
            "export a single volume"
        )
    if min(shape) < 1:
        raise DecodeError(f"{name}: the header gives {sides} voxels; the file is damaged")
    if shape[0] * shape[1] * shape[2] > limits.max_pixels:
        raise TooLargeError(
            f"{name}: the header gives {sides} voxels, over the limit of "
            f"{limits.max_pixels:,}; resample the volume"
        )


def check_spacing(shape: tuple[int, ...], spacing: tuple[float, float, float], name: str) -> None:
    """Raise unless voxel sizes and extent are those of a head's scan.

    Checked before slices are made square: a file of 1 MB may give slices of gigabytes.
    """
    if not all(np.isfinite(side) and side > 0 for side in spacing):
        raise DecodeError(
            f"{name}: the voxel size in the header is not positive; export the volume again"
        )
    sides = " × ".join(f"{side:.4g}" for side in spacing)
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in spacing):
        raise UnsupportedFormatError(
            f"{name}: voxels of {sides} mm are not those of a head's scan "
            f"({_MIN_SIDE:g} to {_MAX_SIDE:g} mm); correct the header or export the volume again"
        )
    extent = max(n * side for n, side in zip(shape, spacing, strict=True))
    if extent > _MAX_EXTENT or extent / min(spacing) > _MAX_PIXELS:
        raise UnsupportedFormatError(
            f"{name}: {' × '.join(map(str, shape))} voxels of {sides} mm are not the extent of a "
            f"head's scan (at most {_MAX_EXTENT:g} mm); correct the header, or cut out the head"
        )
