"""The files of a series request as sources of `tumorlens.volumes`, under names of our own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO

from tumorlens.errors import DecodeError, InputError, TooLargeError, UnsupportedFormatError
from tumorlens.serving.problems import UPLOAD_NAME, ProblemError
from tumorlens.serving.settings import Settings
from tumorlens.serving.uploads.archive import files
from tumorlens.serving.uploads.form import Upload
from tumorlens.volumes.contents import suffix_of
from tumorlens.volumes.source import Source

_ERRORS: dict[str, type[InputError]] = {
    "too-large": TooLargeError,
    "unsupported-format": UnsupportedFormatError,
}


def study_sources(uploads: Iterable[Upload], settings: Settings) -> list[Source]:
    """Return the files of the form and of its archives.

    Names may hold a patient's name, so that files are numbered: ``upload/3.nii.gz``. Of a name only
    the suffix of a volume stays, and that two files differ in nothing else (a pair). Raises the
    413 problem for too many files, and the 422 problem for an archive that cannot be read.
    """
    most, largest = settings.series_max_files, settings.batch_max_bytes
    numbers: dict[tuple[int, str], int] = {}
    sources: list[Source] = []
    for at, upload in enumerate(uploads):
        for member in files([upload], most - len(sources), largest, largest):
            suffix = suffix_of(member.name)
            stem = member.name[: len(member.name) - len(suffix)]
            number = numbers.setdefault((at, stem), len(numbers) + 1)
            name = f"{UPLOAD_NAME}/{number}{suffix}"
            content = _kept(member.load) if not member.name else member.load
            sources.append(Source(name, member.size, partial(_open, content, name)))
    return sources


def _kept(load: Callable[[], bytes]) -> Callable[[], bytes]:
    """Return a function that may be called again: an upload gives its bytes away only once."""
    content = load()
    return lambda: content


def _open(load: Callable[[], bytes], name: str) -> IO[bytes]:
    try:
        return io.BytesIO(load())
    except ProblemError as problem:
        error = _ERRORS.get(problem.kind.slug, DecodeError)
        raise error(f"{name}: {problem.detail}") from problem
