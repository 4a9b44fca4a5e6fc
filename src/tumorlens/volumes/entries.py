"""What `discover` finds: pictures, volumes, series, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tumorlens.errors import InputError
from tumorlens.imaging.header import ScanHeader
from tumorlens.imaging.image import Image, Limits
from tumorlens.volumes.source import Source
from tumorlens.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class Picture:
    """One file with one image: a picture, or a single DICOM image."""

    source: Source

    @property
    def name(self) -> str:
        """The file's path, or name in messages."""
        return self.source.name

    def decode(self, limits: Limits) -> Image:
        """Read it; raises as `tumorlens.imaging.decode.decode`."""
        from tumorlens.imaging.decode import decode

        if self.source.path is not None:
            return decode(self.source.path, name=self.name, limits=limits)
        return decode(self.source.read(limits), name=self.name, limits=limits)


@dataclass(frozen=True, eq=False)
class VolumeInput:
    """One volume of a file, its header checked.

    Attributes:
        name: the file's path or name; of one of several volumes in it, ``name#2``.
        load: reads the voxels; raises `InputError`, or `MissingExtraError`.
        files: names of the files it is read from.
    """

    name: str
    load: Callable[[], Volume]
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SeriesInput:
    """A stack of DICOM slices, sorted by their positions; pixels are not read yet.

    Attributes:
        name: the folder of its files, or the one file it is in; where several series or stacks
            share it, with their numbers: ``study#3``, ``study#3-2``.
        load: reads the slices into a volume; raises `InputError`.
        files: names of the files, in the order of the slices.
        header: what the header says of the first slice; ``header.refusal`` is why the series is
            none of a head's MRI to be answered, or None.
        n_slices: number of slices.
        set_aside: name and reason of each slice of the series that does not fit the stack.
        remarks: gaps and uneven distances, in plain words.
        pictures: the slices one by one, where each has a file of its own; else empty.
    """

    name: str
    load: Callable[[], Volume]
    files: tuple[str, ...]
    header: ScanHeader
    n_slices: int
    set_aside: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, eq=False)
class Unreadable:
    """A file that cannot be read, and why."""

    name: str
    error: InputError


Entry = Picture | VolumeInput | SeriesInput | Unreadable
