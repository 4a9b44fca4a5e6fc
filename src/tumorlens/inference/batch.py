"""Many files at once: folders are walked, volumes cut into slices, and nothing is lost.

While the network runs on one batch, a few threads already read the next images; how far they
run ahead is bounded, so memory does not grow with the folder. Results come in the order of the
inputs, one for each: a prediction or the reason why there is none.
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
    """What became of one input: exactly one of ``prediction`` and ``error`` is set.

    ``path`` names the input as given or found; a slice of a volume is
    ``scan.nii.gz#axial:45``, standard input is ``-``.
    """

    path: str
    prediction: Prediction | None
    error: InputError | None
    explanation: Explanation | None = None


@dataclass(frozen=True)
class _Item:
    path: str
    read: Callable[[], Image]


@dataclass(frozen=True, eq=False)
class _Ready:
    path: str
    input: NetworkInput
    ms: float


def iter_inputs(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files that ``paths`` stand for.

    A folder gives every file below it, sorted by name, without hidden files and folders. All
    else is passed on as it is, also what does not exist, and a folder in which nothing can be
    found: reading it tells why, so that no input vanishes silently.
    """
    for path in map(Path, paths):
        if path.is_dir():
            found = False
            for file in _walk(path):
                found = True
                yield file
            if not found:
                yield path
        else:
            yield path


def run_batch(
    predictor: Predictor,
    paths: Iterable[str | Path],
    *,
    batch_size: int = 8,
    readers: int = 2,
    limits: Limits | None = None,
) -> Iterator[Result]:
    """Predict every image below ``paths``, lazily and in order.

    Files, folders, NIfTI volumes (all axial slices that hold head) and ``-`` for standard input.
    An input that cannot be read gives a `Result` with its `InputError`; anything else that goes
    wrong, such as a failing model, is raised.

    Args:
        predictor: The opened model.
        paths: What to read.
        batch_size: Images in one forward pass.
        readers: Threads that read images while the network runs.
        limits: Byte and pixel limits of one file.
    """
    if batch_size < 1 or readers < 1:
        raise ConfigError(f"batch_size {batch_size} and readers {readers} must be 1 or more")
    read = partial(_prepare, predictor)
    loaded = _read_ahead(_items(paths, limits), read, readers, batch_size + readers)
    while group := list(islice(loaded, batch_size)):
        yield from _forward(predictor, group)


def run_explain(
    predictor: Predictor, paths: Iterable[str | Path], *, limits: Limits | None = None
) -> Iterator[Result]:
    """Explain every image below ``paths``; as `run_batch`, one image at a time."""
    for item in _items(paths, limits):
        try:
            explanation = predictor.explain(item.read())
        except InputError as error:
            yield Result(item.path, None, error)
        else:
            yield Result(item.path, explanation.prediction, None, explanation)


def _forward(predictor: Predictor, group: list[_Ready | Result]) -> Iterator[Result]:
    ready = [entry for entry in group if isinstance(entry, _Ready)]
    inputs, ms = [each.input for each in ready], [each.ms for each in ready]
    answers = predictor.answer(inputs, ms) if ready else iter(())
    for entry in group:
        yield entry if isinstance(entry, Result) else Result(entry.path, next(answers), None)


def _prepare(predictor: Predictor, item: _Item) -> _Ready | Result:
    start = perf_counter()
    try:
        ready = predictor.prepare(item.read())
    except InputError as error:
        return Result(item.path, None, error)
    return _Ready(item.path, ready, (perf_counter() - start) * 1000)


def _read_ahead(
    items: Iterator[_Item], read: Callable[[_Item], _T], readers: int, ahead: int
) -> Iterator[_T]:
    """Yield ``read(item)`` in order, with at most ``ahead`` items read or being read."""
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        waiting: deque[Future[_T]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _items(paths: Iterable[str | Path], limits: Limits | None) -> Iterator[_Item]:
    for path in paths:
        if str(path) == STDIN:
            yield _Item(STDIN, partial(_read_stdin, limits or Limits()))
            continue
        for file in iter_inputs([path]):
            if file.name.lower().endswith(_VOLUME_SUFFIXES) and file.is_file():
                yield from _slices(file)
            elif file.is_dir():
                yield _Item(str(file), partial(_refuse_folder, file))
            else:
                yield _Item(str(file), partial(decode, file, name=str(file), limits=limits))


def _slices(path: Path) -> Iterator[_Item]:
    # Imported late: nibabel is slow to import and most inputs are no volumes.
    from tumorlens.imaging.volume import head_extent, load_volume, take_slice

    try:
        volume = load_volume(path)
        first, last = head_extent(volume, "axial")
    except InputError as error:
        yield _Item(str(path), partial(_raise, error))
        return
    for index in range(first, last + 1):
        name = f"{path}#axial:{index}"

        def read(index: int = index, name: str = name) -> Image:
            return Image(take_slice(volume, "axial", index), "nifti", name)

        yield _Item(name, read)


def _walk(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:  # a link that leads back up: its files come anyway
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
            yield from _walk(entry, above | {here})
        else:
            yield entry


def _read_stdin(limits: Limits) -> Image:
    # One byte more than allowed, so that too much is noticed without reading all of it.
    return decode(sys.stdin.buffer.read(limits.max_bytes + 1), name="stdin", limits=limits)


def _refuse_folder(folder: Path) -> Image:
    raise UnreadableFileError(f"{folder}: the folder holds no file that can be read")


def _raise(error: InputError) -> Image:
    raise error
