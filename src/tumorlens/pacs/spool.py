"""Received objects on disk: ``spool/<key of the series>/<key of the object>.dcm``.

The files are the record of what was received; the queue is told of them later, and again after a
start. A file appears under its name when it is whole and flushed to disk.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from tumorlens.pacs.queue import key_of
from tumorlens.pacs.state import sync

_PART = ".part"


class Spool:
    """The received series. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Open the spool; half-written files of a killed process are removed."""
        self._folder = folder
        self._lock = Lock()
        self._last: dict[str, float] = {}
        for path in folder.glob(f"*/*{_PART}"):
            path.unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.is_dir():
                self._last[path.name] = time.monotonic()

    def add(self, series_uid: str, object_uid: str, content: bytes) -> None:
        """Write one object and flush it to disk; raises OSError when that fails.

        The same object again replaces the file.
        """
        series = key_of(series_uid)
        folder = self._folder / series
        new = not folder.is_dir()
        if new:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync(self._folder)
        part = folder / f"{secrets.token_hex(8)}{_PART}"
        try:
            with part.open("xb", buffering=0) as file:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            part.replace(folder / f"{key_of(object_uid)}.dcm")
            sync(folder)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        finally:
            self.touch(series)

    def touch(self, series: str) -> None:
        """Note that something came for a series just now."""
        with self._lock:
            self._last[series] = time.monotonic()

    def settled(self, seconds: float) -> list[str]:
        """Return the keys of series for which nothing came for so long, each once until touched."""
        until = time.monotonic() - seconds
        with self._lock:
            found = [series for series, last in self._last.items() if last <= until]
            for series in found:
                del self._last[series]
        return sorted(found)

    def folder(self, series: str) -> Path:
        """Return the folder of a series."""
        return self._folder / series

    def files(self, series: str) -> list[Path]:
        """Return the whole files of a series."""
        return sorted(self.folder(series).glob("*.dcm"))

    def series(self) -> list[str]:
        """Return the keys of all series that are kept."""
        return sorted(path.name for path in self._folder.iterdir() if path.is_dir())

    def remove(self, series: str) -> None:
        """Remove a series."""
        shutil.rmtree(self.folder(series), ignore_errors=True)
