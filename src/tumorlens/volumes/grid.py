"""Position and orientation of a stored array, and its way into RAS order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tumorlens.imaging.anatomy import Plane
from tumorlens.volumes.volume import Volume

# The plane normal to each axis in RAS order.
PLANES: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")
# Slices are thicker than pixels are wide by this ratio, or the stack is taken as isotropic.
_THICK = 1.2


@dataclass(frozen=True, eq=False)
class Grid:
    """Geometry of an array ``[I, J, K]`` as it is stored.

    Attributes:
        affine: float64 ``[4, 4]``: indices to millimetres, RAS.
        spacing_mm: voxel size along I, J, K.
        slice_axis: 0, 1 or 2: along which slices were acquired; None if the file does not say.
        oriented: whether the file gives the orientation.
        remarks: what was unusual.
    """

    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    slice_axis: int | None = None
    oriented: bool = True
    remarks: tuple[str, ...] = ()


def usable_affine(affine: NDArray[Any]) -> bool:
    """Whether ``affine`` is finite and its three axes are distinct directions."""
    # The bound also keeps norms from overflowing; a head's coordinates are far below it.
    if affine.shape != (4, 4) or not (np.abs(affine) < 1e7).all():
        return False
    axes = np.asarray(affine[:3, :3], dtype=np.float64)
    norms = np.linalg.norm(axes, axis=0)
    if not (norms > 1e-6).all():
        return False
    return bool(abs(np.linalg.det(axes / norms)) > 0.05)


def is_rigid(affine: NDArray[np.float64]) -> bool:
    """Whether the axes of a usable affine are perpendicular, within about 2 degrees."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 0.03)


def ras_axes(affine: NDArray[np.float64]) -> list[tuple[int, bool]]:
    """Return, for X, Y and Z, the stored axis closest to it and whether it is reversed."""
    import nibabel.orientations as typed_orientations

    orientations: Any = typed_orientations  # its functions have no type annotations
    found = orientations.io_orientation(affine)  # for each stored axis: RAS axis, and 1 or −1
    by_ras = {int(axis): (stored, flip < 0) for stored, (axis, flip) in enumerate(found)}
    return [by_ras[axis] for axis in range(3)]


def to_volume(stored: NDArray[Any], grid: Grid, name: str, **facts: Any) -> Volume:
    """Permute and flip (never resample) ``stored`` ``[I, J, K]`` to the closest RAS order.

    The result shares the array's memory. ``facts`` are fields of `Volume`; its plane is that of
    `acquisition_plane` unless they say otherwise.
    """
    axes = ras_axes(grid.affine)
    order = [axis for axis, _ in axes]
    data = stored.transpose(order)[tuple(slice(None, None, -1 if r else 1) for _, r in axes)]
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, order]
    affine[:3, 3] = grid.affine[:3, 3]
    for column, (axis, reverse) in enumerate(axes):
        if reverse:
            affine[:3, 3] += affine[:3, column] * (stored.shape[axis] - 1)
            affine[:3, column] *= -1
    spacing = cast("tuple[float, float, float]", tuple(grid.spacing_mm[axis] for axis in order))
    normal = None if grid.slice_axis is None else order.index(grid.slice_axis)
    volume = Volume(data, spacing, name, affine, oriented=grid.oriented, remarks=grid.remarks)
    return replace(volume, **{"plane": acquisition_plane(spacing, normal), **facts})


def acquisition_plane(spacing: tuple[float, float, float], slice_axis: int | None) -> Plane:
    """Return the plane normal to the thickest side of the voxels, in RAS order.

    Where the two largest sides are nearly equal: normal to ``slice_axis`` if the file gives it,
    else axial.
    """
    _, second, thickest = np.argsort(spacing, kind="stable")
    if spacing[thickest] > _THICK * spacing[second]:
        return PLANES[int(thickest)]
    return "axial" if slice_axis is None else PLANES[slice_axis]
