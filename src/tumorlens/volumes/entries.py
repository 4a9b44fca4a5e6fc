"""What `discover` finds: pictures, volumes, series, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tumorlens.errors import InputError
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
class Unreadable:
    """A file that cannot be read, and why."""

    name: str
    error: InputError


Entry = Picture | VolumeInput | Unreadable
