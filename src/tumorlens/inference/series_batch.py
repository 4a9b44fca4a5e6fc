"""Predictions for files, folders and archives: one answer a series, one a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tumorlens.errors import ConfigError, InputError
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.decode import Limits
from tumorlens.inference.batch import (
    STDIN,
    Result,
    explain_pictures,
    run_batch,
    run_explain,
    run_pictures,
)
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.series.source import load
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Picture, Unreadable


def run_series(
    predictor: Predictor,
    paths: Iterable[str | Path],
    *,
    planes: Sequence[Plane | None] = (None,),
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
    explain: bool = False,
) -> Iterator[Result]:
    """Predict every series and picture in ``paths``, lazily and in order.

    Files of one DICOM series make up one result, also when they are given one by one. An input
    that cannot be read is a result with its error, and the others go on; any other error, such as
    a failing model, is raised.

    Args:
        predictor: The model.
        paths: Files, folders, zip archives, ``-`` for a picture on standard input.
        planes: Planes that each series is answered in; None: its plane of acquisition. With
            several, each is a result of its own, named ``scan.nii.gz#axial``.
        batch_size: Slices or pictures per forward pass.
        readers: Threads that read while the network runs.
        limits: Byte and pixel limits of a picture.
        explain: Whether pictures come with their heat map; a series' run has its maps anyway.
    """
    if batch_size < 1 or readers < 1:
        raise ConfigError(f"batch_size {batch_size} and readers {readers} must be 1 or more")
    for from_stdin, group in groupby(paths, key=lambda path: str(path) == STDIN):
        if from_stdin:
            yield from (run_explain if explain else run_batch)(predictor, group, limits=limits)
            continue
        yield from run_entries(predictor, discover(group), planes=planes, batch_size=batch_size,
                               readers=readers, limits=limits, explain=explain)  # fmt: skip


def run_entries(
    predictor: Predictor,
    entries: Iterable[Entry],
    *,
    planes: Sequence[Plane | None] = (None,),
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
    explain: bool = False,
) -> Iterator[Result]:
    """Predict what `discover` found, like `run_series`; ``entries`` may be lazy.

    Without readers everything happens in the caller's thread.
    """
    for pictures, group in groupby(entries, key=lambda each: isinstance(each, Picture)):
        if pictures:
            found = (each for each in group if isinstance(each, Picture))
            if explain:
                yield from explain_pictures(predictor, found, limits=limits)
            else:
                yield from run_pictures(predictor, found, batch_size=batch_size,
                                        readers=readers, limits=limits)  # fmt: skip
            continue
        for entry in group:
            yield from _results(predictor, entry, planes, batch_size, readers)


def _results(
    predictor: Predictor,
    entry: Entry,
    planes: Sequence[Plane | None],
    batch_size: int,
    readers: int,
) -> Iterator[Result]:
    if isinstance(entry, Unreadable):
        yield Result(entry.name, None, entry.error)
        return
    assert not isinstance(entry, Picture)  # grouped apart
    try:
        loaded = load(entry)
    except InputError as error:
        yield Result(entry.name, None, error)
        return
    for plane in planes:
        run = loaded.run(predictor, plane, batch_size=batch_size, readers=readers)
        for _ in run:
            pass
        name = entry.name if len(planes) == 1 else f"{entry.name}#{run.plane}"
        yield Result(name, None, None, run=run)
