"""Paths → files, in order, none lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path


def iter_inputs(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files that ``paths`` denote.

    A folder yields every file below it, sorted by name, except hidden files and folders. Missing
    paths and folders without files are yielded unchanged: reading them raises an error, so that
    no input is dropped silently.
    """
    for path in map(Path, paths):
        files = iter(_walk(path) if is_folder(path) else ())
        yield next(files, path)
        yield from files


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder; False where the system cannot tell."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


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
        if is_folder(entry):
            yield from _walk(entry, parents | {resolved})
        else:
            yield entry
