"""Headers of NIfTI-1 and -2, Analyze 7.5 and MGH/MGZ → `Layout`: what nibabel parses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tumorlens.errors import DecodeError, UnsupportedFormatError
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits
from tumorlens.volumes.contents import HeaderKind
from tumorlens.volumes.grid import Grid, is_rigid, usable_affine
from tumorlens.volumes.layout import Layout

_MAX_OFFSET = 2**28  # header extensions
# Intent codes of what is no picture (nifti1.h): vectors, matrices, quaternions, displacements, …
_NO_SCAN_INTENTS = {
    1002: "a label map", 1003: "a label map", 1004: "a matrix", 1005: "a matrix",
    1006: "a displacement field", 1007: "a vector field", 1008: "a surface", 1009: "a surface",
    1010: "a quaternion field",
}  # fmt: skip
_UNITS_IN_MM = {1: 1000.0, 3: 0.001}  # xyzt_units: metres, micrometres
_NIFTI_HEADER = {1: 348, 2: 540}


def read_layout(head: bytes, kind: HeaderKind, name: str, limits: Limits) -> Layout:
    """Parse and check a header; nothing is allocated.

    The orientation is the sform's, else the qform's. Voxel sizes are ``pixdim``, or those of a
    rigid sform in scanner coordinates that differs from it. A transform that is not usable is
    passed over, with a remark; an intercept that is no number is taken as 0.

    Raises:
        InputError: damaged, no scan, or out of bounds; see `Layout.check`.
    """
    with foreign(name, "the volume's header is truncated or damaged; export or copy it again"):
        layout = _mgh(head) if kind == "mgh" else _nifti(head, kind, name)
        layout.check(name, limits)
    return layout


def _nifti(head: bytes, kind: HeaderKind, name: str) -> Layout:
    import nibabel

    version = 2 if kind.startswith("nifti2") else 1
    block = head[: _NIFTI_HEADER[version]]
    by_kind: dict[str, Any] = {
        "analyze": nibabel.AnalyzeHeader, "nifti2": nibabel.Nifti2Header,
        "nifti2_pair": nibabel.Nifti2Header,
    }  # fmt: skip
    parser = by_kind.get(kind, nibabel.Nifti1Header)
    header = parser(block, check=False)
    intent = 0 if kind == "analyze" else int(header["intent_code"])
    if intent in _NO_SCAN_INTENTS:
        raise UnsupportedFormatError(
            f"{name}: {_NO_SCAN_INTENTS[intent]}, not a scan; give the scan it was made from"
        )
    shape, count = _shape(header["dim"], name)
    slope, intercept, remarks = (1.0, 0.0, ()) if kind == "analyze" else _scale(header)
    offset = _offset(header, name, 0 if kind.endswith("pair") or kind == "analyze" else version)
    grid = _analyze_grid(header, shape) if kind == "analyze" else _nifti_grid(header, shape)
    grid = Grid(grid.affine, grid.spacing_mm, grid.slice_axis, grid.oriented,
                (*grid.remarks, *remarks))  # fmt: skip
    return Layout(shape, count, header.get_data_dtype(), offset, slope, intercept, grid)


def _shape(dim: NDArray[Any], name: str) -> tuple[tuple[int, int, int], int]:
    n_dims = int(dim[0])
    if not 1 <= n_dims <= 7:
        raise DecodeError(f"{name}: the header gives {n_dims} dimensions; the file is damaged")
    sides = [int(side) for side in dim[1 : n_dims + 1]]
    if n_dims == 1 or min(sides) < 1:
        raise DecodeError(
            f"{name}: the header gives {' × '.join(map(str, sides))} voxels; the file is damaged"
        )
    if any(side > 1 for side in sides[4:]):
        raise UnsupportedFormatError(
            f"{name}: {' × '.join(map(str, sides))} voxels in {n_dims} dimensions, not a scan; "
            "export a single volume"
        )
    width, height, depth, count = [*sides, 1, 1][:4]
    return (width, height, depth), count


def _scale(header: Any) -> tuple[float, float, tuple[str, ...]]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0, ()  # no scaling (nifti1.h)
    if np.isfinite(intercept):
        return slope, intercept, ()
    return slope, 0.0, ("the intercept of the grey levels is not a number: taken as 0",)


def _offset(header: Any, name: str, single_file_version: int) -> int:
    offset = float(header["vox_offset"])
    if not 0 <= offset <= _MAX_OFFSET:
        raise DecodeError(f"{name}: the header's offset of the voxels is wrong; export it again")
    if not single_file_version:
        return int(offset)
    # 0 in a single file is the first possible place: header and four bytes of extension flags.
    return int(offset) or _NIFTI_HEADER[single_file_version] + 4


def _nifti_grid(header: Any, shape: tuple[int, int, int]) -> Grid:
    remarks: list[str] = []
    sform, qform = _sform(header), _qform(header)
    coded = {"sform": int(header["sform_code"]) > 0, "qform": int(header["qform_code"]) > 0}
    found = {"sform": sform, "qform": qform}
    affine = None
    for form in ("sform", "qform"):
        if not coded[form]:
            continue
        affine = found[form]
        if affine is not None:
            break
        remarks.append(f"the header's {form} is no usable orientation: not used")
    spacing = _pixdim(header, shape)
    if affine is None:
        return Grid(_centred(shape, spacing), spacing, None, False, tuple(remarks))
    sizes = _sizes(affine)
    in_scanner = affine is sform and int(header["sform_code"]) in (1, 2) and is_rigid(affine)
    if min(spacing) <= 0 or (in_scanner and not np.allclose(sizes, spacing, rtol=0.02)):
        remarks.append("voxel sizes taken from the header's orientation, which differ from pixdim")
        spacing = sizes
    unit = _UNITS_IN_MM.get(int(header["xyzt_units"]) & 7)
    if unit is not None and all(0.05 <= side * unit <= 25 for side in spacing):
        spacing = (spacing[0] * unit, spacing[1] * unit, spacing[2] * unit)
        affine = np.diag([unit, unit, unit, 1.0]) @ affine
    slice_axis = header.get_dim_info()[2]
    return Grid(affine, spacing, slice_axis, True, tuple(remarks))


def _analyze_grid(header: Any, shape: tuple[int, int, int]) -> Grid:
    spacing = _pixdim(header, shape)
    return Grid(_centred(shape, spacing), spacing, None, False)


def _sform(header: Any) -> NDArray[np.float64] | None:
    affine = np.asarray(header.get_sform(), dtype=np.float64)
    return affine if usable_affine(affine) else None


def _qform(header: Any) -> NDArray[np.float64] | None:
    """Return the qform with positive voxel sizes; any sign but −1 in ``pixdim[0]`` is 1."""
    from nibabel.spatialimages import HeaderDataError

    repaired = header.copy()
    pixdim = np.array(header["pixdim"], dtype=np.float64)
    pixdim[0] = -1 if pixdim[0] == -1 else 1
    pixdim[1:4] = np.abs(pixdim[1:4])
    repaired["pixdim"] = pixdim
    try:
        affine = np.asarray(repaired.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None  # a quaternion longer than 1
    return affine if usable_affine(affine) else None


def _pixdim(header: Any, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    sides = [abs(float(side)) for side in header["pixdim"][1:4]]
    # The thickness of a single slice is often left out, and nothing depends on it.
    if shape[2] == 1 and not 0 < sides[2] < np.inf:
        sides[2] = max(sides[:2])
    return sides[0], sides[1], sides[2]


def _sizes(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def _centred(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the default of Analyze and of NIfTI without orientation: LAS, centre at 0."""
    sides = np.where(np.isfinite(spacing) & (np.array(spacing) > 0), spacing, 1.0)
    affine = np.diag([-sides[0], sides[1], sides[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def _mgh(head: bytes) -> Layout:
    import nibabel.freesurfer.mghformat as typed_mghformat

    mghformat: Any = typed_mghformat  # its classes have no type annotations
    header = mghformat.MGHHeader(head[:90], check=False)
    width, height, depth, count = (int(side) for side in header["dims"])
    affine = np.asarray(header.get_affine(), dtype=np.float64)
    x, y, z = (abs(float(side)) for side in header["delta"])
    # From the bytes: nibabel replaces a missing orientation by FreeSurfer's default.
    known = head[28:30] != b"\0\0" and usable_affine(affine)
    shape, spacing = (width, height, depth), (x, y, z)
    if not known:
        affine = np.asarray(_centred(shape, spacing))
    grid = Grid(affine, spacing, None, known)
    return Layout(shape, count, np.dtype(header.get_data_dtype()).newbyteorder(">"),
                  int(header.get_data_offset()), 1.0, 0.0, grid)  # fmt: skip
