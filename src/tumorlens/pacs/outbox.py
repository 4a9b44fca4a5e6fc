"""Results on disk until the archive has confirmed each: a job is computed once and stored once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tumorlens.errors import OutputError
from tumorlens.imaging.foreign import foreign
from tumorlens.pacs.state import sync


@dataclass(frozen=True)
class Result:
    """One result, a DICOM file: its place and its UIDs."""

    path: Path
    object_uid: str
    series_uid: str
    study_uid: str


class Outbox:
    """Results of jobs, in a folder each that is complete once it has its name."""

    def __init__(self, folder: Path) -> None:
        """Open the outbox; what a killed process had not completed is removed."""
        self._folder = folder
        for path in folder.glob("*.part"):
            shutil.rmtree(path, ignore_errors=True)

    def find(self, name: str) -> list[Result] | None:
        """Return the results of a job, or None if it was not computed yet."""
        folder = self._folder / name
        if not folder.is_dir():
            return None
        return [read_result(path) for path in sorted(folder.rglob("*.dcm"))]

    def make(self, name: str, write: Callable[[Path], object]) -> list[Result]:
        """Let ``write`` put files into a new folder, and make it the job's when it returns.

        Raises what ``write`` does, and `OutputError` when the disk is full; then nothing is left.
        """
        part, whole = self._folder / f"{name}.part", self._folder / name
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(mode=0o700)
            write(part)
            for path in [*part.rglob("*"), part]:
                sync(path)
            part.rename(whole)
            sync(self._folder)
        except OSError as error:
            raise OutputError(
                f"results cannot be written ({error.strerror}); check the disk"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return self.find(name) or []

    def remove(self, name: str) -> None:
        """Forget the results of a job."""
        shutil.rmtree(self._folder / name, ignore_errors=True)


def read_result(path: Path) -> Result:
    """Read the UIDs of a result; raises `DecodeError` for what is no DICOM file."""
    from pydicom import dcmread

    with foreign("a result", "cannot be read back"):
        found = dcmread(
            path, specific_tags=["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
        )
        return Result(
            path,
            str(found.SOPInstanceUID),
            str(found.SeriesInstanceUID),
            str(found.StudyInstanceUID),
        )
