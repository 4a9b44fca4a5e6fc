"""Files that are written whole or not at all."""

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
    """Open a new file that takes the place of ``path`` when the block ends well.

    It stands beside the target under a hidden name, is flushed to the disk and renamed, so a
    reader sees the old content or the new one, never half of it. When the block raises, the
    old content stays. What is no regular file (``/dev/null``, a pipe) is written directly.
    ``parents`` makes missing folders above it.
    Raises `OutputError` when the place cannot be written, also in the middle.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        opened = _special(path) if path.exists() and not path.is_file() else _renamed(path)
        with opened as file:
            yield file
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "check that the folder exists, is writable and has space"
        ) from error


@contextmanager
def _special(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        yield file


@contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # "x" so that nobody else's file is touched; the umask decides who may read it.
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:  # also Ctrl-C: no half a file is left behind
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
