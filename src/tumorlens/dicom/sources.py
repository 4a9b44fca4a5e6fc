"""The images that a series' answer was computed from, as DICOM results refer to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tumorlens.dicom.uids import UidSource, uid_source
from tumorlens.errors import UnsupportedFormatError
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.volumes.dicom.frames import Frame
from tumorlens.volumes.dicom.headers import SourceHeader, read_source_header
from tumorlens.volumes.source import Source
from tumorlens.volumes.volume import Volume

_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class SourceSlice:
    """One slice of the source series.

    Attributes:
        header: of its file, from `read_source_header`.
        frame: what its header says of this slice.
    """

    header: Dataset
    frame: Frame

    @property
    def frame_numbers(self) -> list[int] | None:
        """Its number in its file, from 1, as references have it; None for a file of one image."""
        several = "NumberOfFrames" in self.header and self.frame.tiles == 1
        return [self.frame.number + 1] if several else None

    @property
    def corner(self) -> tuple[int, int]:
        """Column and row of its first pixel in the stored image: not 0 in a mosaic."""
        down, across = divmod(self.frame.number, self.frame.tiles)
        if self.frame.tiles == 1:
            return 0, 0
        return across * self.frame.columns, down * self.frame.rows

    @property
    def name(self) -> str:
        """What tells it from all others: its identifier, and the number of the frame."""
        return f"{self.header.SOPInstanceUID} {self.frame.number}"


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """The source series of an answer.

    Attributes:
        run: the answered series, iterated to its end.
        slices: along the axis of acquisition, by rising index; None where one is missing.
        uids: makes the identifiers of the results.
        names: names of persons that each result has, by keyword.
    """

    run: SeriesRun
    slices: tuple[SourceSlice | None, ...]
    uids: UidSource
    names: dict[str, str]

    @property
    def answer(self) -> SeriesPrediction:
        """The answer."""
        return self.run.answer

    @property
    def volume(self) -> Volume:
        """The volume."""
        return self.run.volume

    @cached_property
    def present(self) -> tuple[SourceSlice, ...]:
        """The slices that are there."""
        return tuple(each for each in self.slices if each is not None)

    @cached_property
    def headers(self) -> tuple[Dataset, ...]:
        """The header of each file once, in the order of the slices."""
        return tuple({id(each.header): each.header for each in self.present}.values())

    @property
    def first(self) -> Dataset:
        """A header, for what all have in common."""
        return self.headers[0]

    @property
    def in_acquisition_plane(self) -> bool:
        """Whether the answered slices are those of the source."""
        return self.run.plane == self.volume.plane

    def frame_of_reference(self) -> str:
        """Return the source's Frame of Reference UID, or a stable one where it has none."""
        return str(self.first.get("FrameOfReferenceUID") or self.uids.uid("frame of reference"))

    @cached_property
    def order(self) -> StoredOrder:
        """How stored images lie in the volume."""
        return StoredOrder.of(self.volume, self.present[0].frame)


@dataclass(frozen=True)
class StoredOrder:
    """How the pixels of a stored image lie in a volume, which is permuted and flipped only.

    Attributes:
        normal: axis of the volume along which images follow each other.
        across: axis along a row of pixels, and whether it runs backwards.
        down: axis along a column, and whether it runs backwards.
        shape: sides of the volume.
    """

    normal: int
    across: tuple[int, bool]
    down: tuple[int, bool]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume, frame: Frame) -> StoredOrder:
        """Compare the volume's axes with the directions of a frame's rows and columns."""
        normal = _AXES[volume.plane]
        axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
        directions = np.array(frame.scan.orientation).reshape(2, 3) * _LPS
        found = []
        for direction in directions:
            along = direction @ axes
            along[normal] = 0
            axis = int(np.abs(along).argmax())
            found.append((axis, bool(along[axis] < 0)))
        x, y, z = volume.data.shape
        return cls(normal, found[0], found[1], (x, y, z))

    def image(self, values: NDArray[np.generic], index: int) -> NDArray[np.generic]:
        """Return slice ``index`` of ``values`` ``[X, Y, Z]`` as stored: ``[rows, columns]``."""
        section = np.moveaxis(values, self.normal, 0)[index]
        if self.across[0] < self.down[0]:
            section = section.T
        rows, columns = (-1 if each[1] else 1 for each in (self.down, self.across))
        return np.ascontiguousarray(section[::rows, ::columns])

    def pixels(self, voxels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return voxel indices ``[n, 3]`` as columns and rows ``[n, 2]`` of the stored image.

        In the coordinates of PS3.3, C.18.6: the image's corner is at 0, a pixel's centre at a half.
        """
        found = []
        for axis, backwards in (self.across, self.down):
            along, side = voxels[:, axis], self.shape[axis]
            found.append(np.clip((side - 1 - along if backwards else along) + 0.5, 0, side))
        return np.stack(found, axis=1)


def to_patient(volume: Volume, voxels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return voxel indices ``[n, 3]`` as millimetres in the patient's coordinates (LPS)."""
    placed = voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return np.asarray(placed * _LPS, np.float64)


def find_sources(run: SeriesRun) -> SourceSeries:
    """Read the headers of the files that an answered series was read from.

    Raises:
        UnsupportedFormatError: it was not read from DICOM files, or they lack identifiers.
        UnreadableFileError: a file is gone.
    """
    frames = run.volume.frames
    if not any(frames):
        raise UnsupportedFormatError(
            f"{run.volume.name}: not a DICOM series, so that no study can take results as DICOM; "
            "give the series' DICOM files, or use explain for pictures and a map as NIfTI"
        )
    headers: dict[Source, SourceHeader] = {}
    slices: list[SourceSlice | None] = []
    for frame in frames:
        if frame is None:
            slices.append(None)
            continue
        if frame.source not in headers:
            headers[frame.source] = read_source_header(frame.source)
        slices.append(SourceSlice(headers[frame.source].dataset, frame))
    present = tuple(each for each in slices if each is not None)
    uids = uid_source(
        str(present[0].header.SeriesInstanceUID),
        tuple(each.name for each in present),
        run.answer.model.sha256,
        run.plane,
    )
    names = headers[present[0].frame.source].names
    return SourceSeries(run, tuple(slices), uids, names)
