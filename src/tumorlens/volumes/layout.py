"""Voxels as they lie in a file, read in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import TooLargeError, UnsupportedFormatError
from tumorlens.imaging.image import Limits
from tumorlens.volumes.grid import Grid, to_volume
from tumorlens.volumes.source import read_exactly, skip
from tumorlens.volumes.volume import (
    MAX_STORED_BYTES,
    MAX_VOLUMES,
    Volume,
    check_matrix,
    check_spacing,
)

# Kept as they are stored, which halves the memory of most scans.
_KEPT = ("uint8", "int16", "uint16")
_BLOCK = 2**22
# Larger magnitudes are no grey levels, and overflow float32 in further arithmetic.
_LARGEST = 1e30
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Layout:
    """Volumes in a file: the first index of a volume changes fastest, one volume after the other.

    Attributes:
        shape: ``(I, J, K)`` of one volume.
        count: number of volumes.
        dtype: of a stored voxel: integer, float, or three or four bytes of colour.
        offset: bytes before the first voxel, decompressed.
        slope: grey level = slope · stored + intercept.
        intercept: see ``slope``.
        grid: position of the voxels.
    """

    shape: tuple[int, int, int]
    count: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    grid: Grid

    @property
    def volume_bytes(self) -> int:
        """Size of one volume in the file, decompressed."""
        return self.shape[0] * self.shape[1] * self.shape[2] * self.dtype.itemsize

    def check(self, name: str, limits: Limits) -> None:
        """Raise unless matrix, voxel size, number and bytes of the volumes are within bounds."""
        check_matrix(self.shape, name, limits)
        check_spacing(self.shape, self.grid.spacing_mm, name)
        if self.dtype.kind not in "iuf" and not _is_colour(self.dtype):
            raise UnsupportedFormatError(
                f"{name}: voxels of type {self.dtype} are not grey levels; export the magnitude"
            )
        if self.count > MAX_VOLUMES or self.count * self.volume_bytes > MAX_STORED_BYTES:
            raise TooLargeError(
                f"{name}: {self.count:,} volumes of {self.volume_bytes:,} bytes, over the limit "
                f"of {MAX_VOLUMES} volumes and {MAX_STORED_BYTES:,} bytes; export one volume, or "
                "the mean of the run"
            )


def _is_colour(dtype: np.dtype[Any]) -> bool:
    return dtype.names is not None and dtype.names[:3] == ("R", "G", "B")


def read_volume(stream: IO[bytes], layout: Layout, index: int, name: str, **facts: Any) -> Volume:
    """Read volume ``index`` (from 0) from an uncompressed or decompressing stream.

    NaN, infinite and absurdly large voxels become 0, colour becomes its luma. ``facts`` are fields
    of `Volume`. Raises `DecodeError` for a truncated file, and whatever the stream raises.
    """
    skip(stream, layout.offset + index * layout.volume_bytes, name)
    kept = is_kept(layout.dtype, layout.slope, layout.intercept)
    target = layout.dtype.newbyteorder("=") if kept else np.dtype(np.float32)
    width, height, depth = layout.shape
    data = np.empty(layout.shape, target, order="F")
    # Allocated memory is not used before it is written, so that a truncated file takes little.
    step = max(1, _BLOCK // max(1, width * height * layout.dtype.itemsize))
    for first in range(0, depth, step):
        n_slices = min(step, depth - first)
        content = read_exactly(stream, n_slices * layout.volume_bytes // depth, name)
        stored = np.frombuffer(content, layout.dtype)
        if layout.dtype.names is not None:
            stored = np.stack([stored[channel] for channel in ("R", "G", "B")], axis=-1)
        block = grey_levels(
            stored, layout.slope, layout.intercept, colour=layout.dtype.names is not None
        )
        data[:, :, first : first + n_slices] = block.reshape((width, height, n_slices), order="F")
    return to_volume(data, layout.grid, name, **facts)


def grey_levels(
    stored: NDArray[Any], slope: float = 1.0, intercept: float = 0.0, *, colour: bool = False
) -> NDArray[Any]:
    """Return slope · stored + intercept, finite: float32, or a copy of small integers as they are.

    Kept are uint8, int16 and uint16 without a scale. NaN, infinite and absurdly large values
    become 0. Of ``colour`` ``[…, 3]`` or ``[…, 4]``, the luma (ITU-R BT.601).
    """
    if colour:
        return np.asarray(stored[..., :3].astype(np.float32) @ _LUMA, dtype=np.float32)
    if is_kept(stored.dtype, slope, intercept):
        return stored.astype(stored.dtype.newbyteorder("="))
    # Infinities are handled below.
    with np.errstate(over="ignore", invalid="ignore"):
        if (slope, intercept) == (1, 0):
            values = stored.astype(np.float32)
        else:
            values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
        return np.where(np.abs(values) <= _LARGEST, values, np.float32(0))


def is_kept(dtype: np.dtype[Any], slope: float, intercept: float) -> bool:
    """Whether `grey_levels` keeps the stored integers."""
    return dtype.name in _KEPT and (slope, intercept) == (1, 0)
