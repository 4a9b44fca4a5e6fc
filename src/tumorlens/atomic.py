"""Atomic writing of files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tumorlens.errors import OutputError


@contextmanager
def atomic_file(path: Path, *, parents: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that replaces ``path`` if the block succeeds.

    A hidden temporary file in the same folder is flushed to disk and renamed, so that readers see
    either the old or the new content. If the block raises, the old content stays. Special files
    (``/dev/null``, a pipe) are written directly. ``parents`` creates missing folders.
    Raises `OutputError` when the file cannot be written.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give a file in it")
        special = path.exists() and not path.is_file()
        with path.open("wb") if special else _renamed(path) as file:
            yield file
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "check that the folder exists, is writable and has space"
        ) from error


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # "x" never overwrites an existing file.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # also on Ctrl-C
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, parents: bool = False) -> None:
    """Write text as UTF-8 by `atomic_file`; raises `OutputError` likewise."""
    with atomic_file(path, parents=parents) as file:
        file.write(text.encode())
