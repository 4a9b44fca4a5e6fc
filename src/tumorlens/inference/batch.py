"""Predictions for many files, folders and volumes.

A few threads read and preprocess the next images while the network runs on a batch; the read-ahead
is bounded, so memory use does not grow with the folder. Results come in input order, one per input:
a prediction or an error.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from tumorlens.errors import ConfigError, InputError, UnreadableFileError
from tumorlens.imaging.decode import Image, Limits, decode
from tumorlens.inference.prediction import Explanation, Prediction
from tumorlens.inference.predictor import NetworkInput, Predictor

STDIN = "-"
_VOLUME_SUFFIXES = (".nii", ".nii.gz")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Result:
    """The outcome for one input: exactly one of ``prediction`` and ``error`` is set.

    ``path`` is the file's path; a slice of a volume is ``scan.nii.gz#axial:45``, standard input
    is ``-``.
    """

    path: str
    prediction: Prediction | None
    error: InputError | None
    explanation: Explanation | None = None


@dataclass(frozen=True)
class _Source:
    path: str
    read: Callable[[], Image]


@dataclass(frozen=True, eq=False)
class _Prepared:
    path: str
    input: NetworkInput
    read_ms: float


def iter_inputs(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files that ``paths`` denote.

    A folder yields every file below it, sorted by name, except hidden files and folders. Missing
    paths and folders without files are yielded unchanged: reading them raises an error, so that
    no input is dropped silently.
    """
    for path in map(Path, paths):
        files = iter(_walk(path) if path.is_dir() else ())
        yield next(files, path)
        yield from files


def run_batch(
    predictor: Predictor,
    paths: Iterable[str | Path],
    *,
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
) -> Iterator[Result]:
    """Predict every image in ``paths``, lazily and in order.

    Reads files, folders, NIfTI volumes (all axial slices that contain head) and ``-`` for standard
    input. An unreadable input gives a `Result` with its `InputError`; any other error, such as a
    failing model, is raised.

    Args:
        predictor: The model.
        paths: Files and folders.
        batch_size: Images per forward pass.
        readers: Threads that read images while the network runs.
        limits: Byte and pixel limits per file.
    """
    if batch_size < 1 or readers < 1:
        raise ConfigError(f"batch_size {batch_size} and readers {readers} must be 1 or more")
    read = partial(_prepare, predictor)
    prepared = _read_ahead(_sources(paths, limits), read, readers, batch_size + readers)
    while batch := list(islice(prepared, batch_size)):
        yield from _forward(predictor, batch)


def run_explain(
    predictor: Predictor, paths: Iterable[str | Path], *, limits: Limits | None = None
) -> Iterator[Result]:
    """Explain every image in ``paths``, like `run_batch` but one image at a time."""
    for source in _sources(paths, limits):
        try:
            explanation = predictor.explain(source.read())
        except InputError as error:
            yield Result(source.path, None, error)
        else:
            yield Result(source.path, explanation.prediction, None, explanation)


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


def _read_ahead(
    sources: Iterator[_Source], read: Callable[[_Source], _T], readers: int, ahead: int
) -> Iterator[_T]:
    """Yield ``read(source)`` in order, with at most ``ahead`` sources read in advance."""
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        pending: deque[Future[_T]] = deque()
        for source in sources:
            pending.append(pool.submit(read, source))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _sources(paths: Iterable[str | Path], limits: Limits | None) -> Iterator[_Source]:
    for path in paths:
        if str(path) == STDIN:
            yield _Source(STDIN, partial(_read_stdin, limits or Limits()))
            continue
        for file in iter_inputs([path]):
            if file.name.lower().endswith(_VOLUME_SUFFIXES) and file.is_file():
                yield from _slices(file)
            elif file.is_dir():
                empty = UnreadableFileError(f"{file}: the folder contains no readable file")
                yield _Source(str(file), partial(_raise, empty))
            else:
                yield _Source(str(file), partial(decode, file, name=str(file), limits=limits))


def _slices(path: Path) -> Iterator[_Source]:
    # Imported late: nibabel is slow to import.
    from tumorlens.imaging.volume import head_extent, load_volume, take_slice

    try:
        volume = load_volume(path)
        first, last = head_extent(volume, "axial")
    except InputError as error:
        yield _Source(str(path), partial(_raise, error))
        return
    for index in range(first, last + 1):
        name = f"{path}#axial:{index}"

        def read(index: int = index, name: str = name) -> Image:
            return Image(take_slice(volume, "axial", index), "nifti", name)

        yield _Source(name, read)


def _walk(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[Path]:
    resolved = folder.resolve()
    if resolved in parents:  # a symbolic link to a parent folder
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, parents | {resolved})
        else:
            yield entry


def _read_stdin(limits: Limits) -> Image:
    # One byte over the limit suffices to detect an input that is too large.
    return decode(sys.stdin.buffer.read(limits.max_bytes + 1), name="stdin", limits=limits)


def _raise(error: InputError) -> Image:
    raise error
