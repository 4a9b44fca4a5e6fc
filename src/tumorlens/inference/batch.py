"""Predictions for many files, folders and volumes.

A few threads read and preprocess the next images while the network runs on a batch; the read-ahead
is bounded, so memory use does not grow with the folder. Results come in input order, one per input:
a prediction or an error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter

from tumorlens.errors import ConfigError, InputError
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.inference.network_input import NetworkInput
from tumorlens.inference.prediction import Explanation, Prediction
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.read_ahead import read_ahead
from tumorlens.inference.series.answer import SeriesPrediction
from tumorlens.inference.series.run import SeriesRun
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Picture, SeriesInput, VolumeInput
from tumorlens.volumes.slices import SeriesSlice, cut, head_extent

STDIN = "-"


@dataclass(frozen=True)
class Result:
    """The outcome for one input: exactly one of ``prediction``, ``run`` and ``error`` is set.

    ``path`` is the file's path; a slice of a volume is ``scan.nii.gz#axial:45``, standard input
    is ``-``. ``run`` is a series that was run to its end.
    """

    path: str
    prediction: Prediction | None
    error: InputError | None
    explanation: Explanation | None = None
    run: SeriesRun | None = None

    @property
    def series(self) -> SeriesPrediction | None:
        """The answer of a series."""
        return self.run.answer if self.run else None


@dataclass(frozen=True)
class _Source:
    path: str
    read: Callable[[], Image]


@dataclass(frozen=True, eq=False)
class _Prepared:
    path: str
    input: NetworkInput
    read_ms: float


def run_batch(
    predictor: Predictor,
    paths: Iterable[str | Path],
    *,
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
    planes: Sequence[Plane | None] = (None,),
) -> Iterator[Result]:
    """Predict every image in ``paths``, lazily and in order.

    Reads files, folders, zip archives, volumes and DICOM files of several frames (the slices of
    their plane of acquisition that contain head) and ``-`` for standard input. An unreadable
    input gives a `Result` with its `InputError`; any other error, such as a failing model, is
    raised.

    Args:
        predictor: The model.
        paths: Files and folders.
        batch_size: Images per forward pass.
        readers: Threads that read images while the network runs.
        limits: Byte and pixel limits per file.
        planes: Planes that volumes are cut in; None: their plane of acquisition.
    """
    if batch_size < 1 or readers < 1:
        raise ConfigError(f"batch_size {batch_size} and readers {readers} must be 1 or more")
    yield from _run(predictor, _sources(paths, limits, planes), batch_size, readers)


def run_pictures(
    predictor: Predictor,
    pictures: Iterable[Picture],
    *,
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
) -> Iterator[Result]:
    """Predict pictures that `discover` found, like `run_batch`."""
    yield from _run(predictor, _picture_sources(pictures, limits), batch_size, readers)


def run_slices(
    predictor: Predictor,
    entries: Iterable[Entry],
    *,
    planes: Sequence[Plane | None] = (None,),
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
) -> Iterator[Result]:
    """Predict every picture and slice of what `discover` found, like `run_batch`.

    Without readers everything happens in the caller's thread.
    """
    yield from _run(predictor, _entry_sources(entries, limits, planes), batch_size, readers)


def _run(
    predictor: Predictor, sources: Iterator[_Source], batch_size: int, readers: int
) -> Iterator[Result]:
    read = partial(_prepare, predictor)
    prepared = read_ahead(sources, read, readers, batch_size + readers)
    while batch := list(islice(prepared, batch_size)):
        yield from _forward(predictor, batch)


def run_explain(
    predictor: Predictor,
    paths: Iterable[str | Path],
    *,
    limits: Limits | None = None,
    planes: Sequence[Plane | None] = (None,),
) -> Iterator[Result]:
    """Explain every image in ``paths``, like `run_batch` but one image at a time."""
    yield from _explain(predictor, _sources(paths, limits, planes))


def explain_pictures(
    predictor: Predictor, pictures: Iterable[Picture], *, limits: Limits | None = None
) -> Iterator[Result]:
    """Explain pictures that `discover` found, one at a time."""
    yield from _explain(predictor, _picture_sources(pictures, limits))


def _explain(predictor: Predictor, sources: Iterable[_Source]) -> Iterator[Result]:
    for source in sources:
        try:
            explanation = predictor.explain(source.read())
        except InputError as error:
            yield Result(source.path, None, error)
        else:
            yield Result(source.path, explanation.prediction, None, explanation)


def _picture_sources(pictures: Iterable[Picture], limits: Limits | None) -> Iterator[_Source]:
    for each in pictures:
        yield _Source(each.name, partial(each.decode, limits or Limits()))


def _forward(predictor: Predictor, batch: list[_Prepared | Result]) -> Iterator[Result]:
    prepared = [entry for entry in batch if isinstance(entry, _Prepared)]
    inputs, read_ms = [each.input for each in prepared], [each.read_ms for each in prepared]
    predictions = predictor.predict_prepared(inputs, read_ms) if prepared else iter(())
    for entry in batch:
        yield entry if isinstance(entry, Result) else Result(entry.path, next(predictions), None)


def _prepare(predictor: Predictor, source: _Source) -> _Prepared | Result:
    start = perf_counter()
    try:
        network_input = predictor.prepare(source.read())
    except InputError as error:
        return Result(source.path, None, error)
    return _Prepared(source.path, network_input, (perf_counter() - start) * 1000)


def _sources(
    paths: Iterable[str | Path], limits: Limits | None, planes: Sequence[Plane | None]
) -> Iterator[_Source]:
    for path in paths:
        if str(path) == STDIN:
            yield _Source(STDIN, partial(_read_stdin, limits or Limits()))
            continue
        yield from _entry_sources(discover([path], group_slices=False), limits, planes)


def _entry_sources(
    entries: Iterable[Entry], limits: Limits | None, planes: Sequence[Plane | None]
) -> Iterator[_Source]:
    for entry in entries:
        if isinstance(entry, (VolumeInput, SeriesInput)):
            yield from _slices(entry, planes)
        elif isinstance(entry, Picture):
            yield _Source(entry.name, partial(entry.decode, limits or Limits()))
        else:
            yield _Source(entry.name, partial(_raise, entry.error))


def _slices(entry: VolumeInput | SeriesInput, planes: Sequence[Plane | None]) -> Iterator[_Source]:
    try:
        volume = entry.load()
    except InputError as error:
        yield _Source(entry.name, partial(_raise, error))
        return
    header = entry.header if isinstance(entry, SeriesInput) else None
    for plane in planes:
        first, last = head_extent(volume, plane or volume.plane)
        for each in islice(cut(volume, plane), first, last + 1):

            def read(each: SeriesSlice = each) -> Image:
                return Image(each.pixels(), "dicom" if header else "nifti", each.name, header)

            yield _Source(each.name, read)


def _read_stdin(limits: Limits) -> Image:
    # One byte over the limit suffices to detect an input that is too large.
    return decode(sys.stdin.buffer.read(limits.max_bytes + 1), name="stdin", limits=limits)


def _raise(error: InputError) -> Image:
    raise error
