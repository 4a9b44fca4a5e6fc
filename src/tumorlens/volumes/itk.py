"""MetaImage (.mha, .mhd) and NRRD volumes: the only module that uses SimpleITK (extra formats)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from tumorlens.errors import (
    DecodeError,
    MissingExtraError,
    TooLargeError,
    UnsupportedFormatError,
)
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits
from tumorlens.volumes.grid import Grid, to_volume, usable_affine
from tumorlens.volumes.layout import grey_levels
from tumorlens.volumes.source import Source
from tumorlens.volumes.volume import (
    MAX_STORED_BYTES,
    MAX_VOLUMES,
    Volume,
    check_matrix,
    check_spacing,
)

_HEADER_BYTES = 2**16
# SimpleITK's coordinates are LPS.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class ItkFile:
    """A checked header.

    Attributes:
        header: the header's file, with the voxels in it or without.
        data: the file of the voxels if they are not in the header's.
        image_io: SimpleITK's name of the format.
        shape: ``(I, J, K)`` of one volume.
        count: number of volumes.
        grid: position of the voxels.
    """

    header: Source
    data: Source | None
    image_io: str
    shape: tuple[int, int, int]
    count: int
    grid: Grid


def read_itk_header(
    source: Source, limits: Limits, neighbour: Callable[[str], Source | None]
) -> ItkFile:
    """Read and check a header, without the voxels.

    ``neighbour`` gives the file of a name beside ``source``, or None. Raises:
        MissingExtraError: SimpleITK is not installed.
        InputError: damaged, out of bounds, its data file is missing or in another folder.
    """
    with source.open() as stream:
        text = stream.read(_HEADER_BYTES)
    nrrd = text.startswith(b"NRRD")
    data = _data_source(text, nrrd, source, neighbour)
    image_io = "NrrdImageIO" if nrrd else "MetaImageIO"
    oriented = rb"space directions?:" if nrrd else rb"(transformmatrix|orientation|rotation)\s*="
    known = re.search(rb"^\s*" + oriented, text, re.IGNORECASE | re.MULTILINE) is not None
    for part in (source, data) if data else (source,):
        part.check(limits)
    with _on_disk(source, data) as path, _reader(path, image_io, source.name) as reader:
        reader.ReadImageInformation()
        size = [int(side) for side in reader.GetSize()]
        n_values, pixel_id = int(reader.GetNumberOfComponents()), reader.GetPixelID()
        shape, count, stored = _checked_size(size, n_values, pixel_id, source.name, limits)
        grid = _grid(reader, len(size), known)
    check_spacing(shape, grid.spacing_mm, source.name)
    if stored > MAX_STORED_BYTES:
        raise TooLargeError(
            f"{source.name}: {stored:,} bytes of voxels, over the limit of "
            f"{MAX_STORED_BYTES:,}; export one volume"
        )
    return ItkFile(source, data, image_io, shape, count, grid)


def read_itk_volume(file: ItkFile, index: int, name: str, **facts: Any) -> Volume:
    """Read volume ``index`` (from 0); ``facts`` are fields of `Volume`."""
    sitk = _simpleitk()
    with (
        _on_disk(file.header, file.data) as path,
        _reader(path, file.image_io, file.header.name) as reader,
    ):
        if file.count > 1:
            reader.SetExtractIndex([0, 0, 0, index])
            reader.SetExtractSize([*file.shape, 0])
        image = reader.Execute()
        # [K, J, I], or [J, I] of a single slice; colour has one more axis.
        stored = np.asarray(sitk.GetArrayViewFromImage(image))
        data = grey_levels(stored, colour=int(image.GetNumberOfComponentsPerPixel()) > 1)
    return to_volume(data.reshape(file.shape[::-1]).T, file.grid, name, **facts)


def _checked_size(
    size: list[int], n_values: int, pixel_id: int, name: str, limits: Limits
) -> tuple[tuple[int, int, int], int, int]:
    """Return the shape of one volume, their number, and the bytes of all."""
    if not 2 <= len(size) <= 4 or n_values not in (1, 3, 4):
        raise UnsupportedFormatError(
            f"{name}: {len(size)} dimensions with {n_values} values per voxel (a diffusion run or "
            "a vector field), not a scan; export a single volume"
        )
    width, height, depth, count = [*size, 1, 1][:4]
    check_matrix((width, height, depth), name, limits)
    if not 1 <= count <= MAX_VOLUMES:
        raise TooLargeError(
            f"{name}: {count:,} volumes, over the limit of {MAX_VOLUMES}; export one volume"
        )
    sitk = _simpleitk()
    kind = sitk.GetPixelIDValueAsString(pixel_id)
    if "complex" in kind or (n_values > 1 and "8-bit unsigned" not in kind):
        raise UnsupportedFormatError(
            f"{name}: voxels of type {kind} are not grey levels; export the magnitude"
        )
    bits = re.search(r"\d+", kind)
    n_bytes = int(bits[0]) // 8 if bits else 8
    return (width, height, depth), count, width * height * depth * count * n_values * n_bytes


def _grid(reader: Any, n_dims: int, known: bool) -> Grid:
    spacing = [float(side) for side in reader.GetSpacing()][:3]
    direction = np.array(reader.GetDirection(), dtype=np.float64).reshape(n_dims, n_dims)
    origin = [float(place) for place in reader.GetOrigin()][:3]
    n = min(n_dims, 3)
    lps = np.eye(4)
    lps[:n, :n] = direction[:n, :n]
    lps[:n, 3] = origin
    if n == 2:
        spacing.append(max(spacing))  # one slice: nothing depends on its thickness
    lps[:3, :3] *= spacing
    affine = _LPS_TO_RAS @ lps
    remarks: tuple[str, ...] = ()
    if not usable_affine(affine):
        affine, known = _LPS_TO_RAS @ np.diag([*np.abs(spacing), 1.0]), False
        remarks = ("the header's directions are no usable orientation: not used",)
        if not usable_affine(affine):
            affine = np.eye(4)
    return Grid(affine, (spacing[0], spacing[1], spacing[2]), None, known, remarks)


def _data_source(
    text: bytes, nrrd: bool, source: Source, neighbour: Callable[[str], Source | None]
) -> Source | None:
    """Return the file of the voxels that the header names; None if they follow the header."""
    key = rb"data ?file\s*:" if nrrd else rb"elementdatafile\s*="
    header = text.partition(b"\n\n")[0] if nrrd else text
    found = re.search(rb"^" + key + rb"[ \t]*([^\r\n]*)", header, re.IGNORECASE | re.MULTILINE)
    if found is None and not nrrd:
        raise DecodeError(
            f"{source.name}: the MetaImage header is truncated; copy or export the volume again"
        )
    if found is None or found[1].strip() == b"LOCAL":
        return None
    wanted = found[1].strip().decode("utf-8", "replace")
    # Only one file beside the header: never a list, a pattern, or a path to somewhere else.
    if wanted != PurePath(wanted).name or "%" in wanted or wanted.split()[:1] == ["LIST"]:
        raise UnsupportedFormatError(
            f"{source.name}: its voxels are not in one file beside it; export it as .mha or .nrrd"
        )
    data = neighbour(wanted)
    if data is None:
        raise DecodeError(f"{source.name}: its file of voxels, {wanted}, is missing beside it")
    return data


@contextmanager
def _on_disk(header: Source, data: Source | None) -> Iterator[Path]:
    """Give the header's path, of a temporary copy if it is in an archive or an upload."""
    if header.path is not None and (data is None or data.path is not None):
        yield header.path
        return
    with tempfile.TemporaryDirectory(prefix="tumorlens-") as folder:
        for source in (header, data):
            if source is None:
                continue
            copy = Path(folder, PurePath(source.name).name)
            with source.open() as stream, copy.open("wb") as out:
                while block := stream.read(2**20):
                    out.write(block)
        yield Path(folder, PurePath(header.name).name)


@contextmanager
def _reader(path: Path, image_io: str, name: str) -> Iterator[Any]:
    sitk = _simpleitk()
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    with foreign(name, "the volume is truncated or damaged; copy or export it again"):
        yield reader


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading MetaImage and NRRD volumes", "formats") from error
    sitk: Any = SimpleITK  # many of its functions have no type annotations
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk
