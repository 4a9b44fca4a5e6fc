"""The seam to libraries that read files: what they raise, warn and log stays on their side.

Their messages may quote the file's values, a patient's name among them.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tumorlens.errors import DecodeError, InputError, MissingExtraError

_LIBRARIES = "pydicom|pylibjpeg|libjpeg|openjpeg|PIL|tifffile|nibabel"
_MODULES = rf"({_LIBRARIES})(\.|$)"
# nibabel.global has a handler and a level of its own.
_LOGGERS = (*_LIBRARIES.split("|"), "nibabel.global")
_NEVER = logging.CRITICAL + 1


@contextmanager
def foreign(name: str, damaged: str) -> Iterator[None]:
    """Run a library on the content of one file.

    Whatever it raises becomes a `DecodeError` that says ``damaged`` of the input called ``name``,
    without the library's own message. Warnings and log records of the libraries named here are
    dropped until the last thread has left. Our own errors pass.

    Raises:
        DecodeError: the library raised anything.
    """
    _silence.enter()
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    # Any error of a reader or codec is this file's and no other's: nothing may take a run down.
    except Exception:  # noqa: BLE001
        # Without the cause on purpose: it may quote patient data.
        raise DecodeError(f"{name}: {damaged}") from None
    finally:
        _silence.leave()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log records of these libraries while many files are read.

    Inside, `foreign` finds the levels set, which takes a twentieth of reading a small picture.
    """
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


class _Silence:
    """Counts the threads inside, so that the last one out restores warnings and levels.

    Not `warnings.catch_warnings`, which restores the filters that it found, those of another
    thread among them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._levels: dict[str, int] = {}

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            warnings.filterwarnings("ignore", module=_MODULES)
            if self._inside == 1:
                self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}
                _set_levels(dict.fromkeys(_LOGGERS, _NEVER))

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            _set_levels(self._levels)
            filters: list[tuple[object, ...]] = warnings.filters  # type: ignore[assignment]
            for entry in [each for each in filters if _is_ours(each)]:
                filters.remove(entry)


def _set_levels(levels: dict[str, int]) -> None:
    """Set the levels of loggers: one ``setLevel`` drops what all loggers cache, which is slow."""
    for name, level in levels.items():
        logging.getLogger(name).level = level
    last = next(reversed(levels))
    logging.getLogger(last).setLevel(levels[last])


def _is_ours(entry: tuple[object, ...]) -> bool:
    return getattr(entry[3], "pattern", None) == _MODULES


_silence = _Silence()
