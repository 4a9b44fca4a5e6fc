"""Open one series: a volume, an entry that `discover` found, or a path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from tumorlens.errors import InputError, MissingExtraError, UnsupportedFormatError
from tumorlens.imaging.anatomy import Plane
from tumorlens.inference.series.run import SeriesRun
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Picture, SeriesInput, Unreadable, VolumeInput
from tumorlens.volumes.volume import Volume

if TYPE_CHECKING:
    from tumorlens.inference.predictor import Predictor

SeriesEntry = VolumeInput | SeriesInput
SeriesSource = Volume | SeriesEntry | str | Path


def open_series(
    predictor: Predictor,
    source: SeriesSource,
    plane: Plane | None = None,
    *,
    batch_size: int = 8,
    readers: int = 2,
) -> SeriesRun:
    """Read a series and prepare its run; arguments as for `SeriesRun`.

    Raises:
        InputError: It cannot be read, or a path holds no or several series.
        ConfigError: Another plane.
    """
    entry = _only_series(source) if isinstance(source, str | Path) else source
    loaded = Loaded(entry, None, perf_counter()) if isinstance(entry, Volume) else load(entry)
    return loaded.run(predictor, plane, batch_size=batch_size, readers=readers)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A volume, what its header says against it, and when reading it began."""

    volume: Volume
    refusal: str | None
    started: float

    def run(
        self, predictor: Predictor, plane: Plane | None, *, batch_size: int, readers: int
    ) -> SeriesRun:
        """Return a run in ``plane``, None: the plane of acquisition."""
        return SeriesRun(
            predictor, self.volume, plane, refusal=self.refusal, batch_size=batch_size,
            readers=readers, started=self.started,
        )  # fmt: skip


def load(entry: SeriesEntry) -> Loaded:
    """Read an entry's voxels; what is unusual about the series becomes remarks of the volume.

    Raises `InputError`; a missing extra is an `UnsupportedFormatError` of this file.
    """
    started = perf_counter()
    try:
        volume = entry.load()
    except MissingExtraError as error:
        raise UnsupportedFormatError(f"{entry.name}: {error}") from error
    if not isinstance(entry, SeriesInput):
        return Loaded(volume, None, started)
    set_aside = (f"{name}: {reason}" for name, reason in entry.set_aside)
    remarks = dict.fromkeys((*volume.remarks, *entry.remarks, *set_aside))
    volume = replace(volume, remarks=tuple(remarks), set_aside=entry.set_aside)
    return Loaded(volume, entry.header.refusal, started)


def _only_series(path: str | Path) -> SeriesEntry:
    entries = discover([path])
    found = [each for each in entries if isinstance(each, VolumeInput | SeriesInput)]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise UnsupportedFormatError(
            f"{path}: {len(found)} series ({found[0].name}, …, {found[-1].name}); give one of "
            "them, or read all with run_series"
        )
    for each in entries:
        if isinstance(each, Unreadable):
            raise each.error
        if isinstance(each, Picture):
            raise UnsupportedFormatError(
                f"{path}: a single picture, no series; give a volume or a folder of DICOM slices"
            )
    raise InputError(f"{path}: holds no series; give a volume or a folder of DICOM slices")
