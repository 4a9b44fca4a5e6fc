"""Files and folders on the machine or behind a URL of fsspec."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from tumorlens.errors import ConfigError, InputError, MissingExtraError, UnreadableFileError

# What file systems of fsspec call the thing that changes with the content, the best first.
_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "VersionId", "version_id",
           "mtime", "LastModified", "last_modified", "updated", "modified", "created")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """What is at a place.

    Attributes:
        location: absolute path, or URL.
        kind: ``other`` is a pipe, a device or the like.
        size: bytes of a file.
        stamp: changes when a file does.
    """

    location: str
    kind: Literal["file", "folder", "other"]
    size: int = 0
    stamp: str = ""


def is_url(location: str) -> bool:
    """Whether fsspec reads it."""
    return "://" in location


def look(location: str) -> Found:
    """Tell what is at a place; raises `UnreadableFileError` if there is nothing to be seen."""
    if is_url(location):
        system, path = _system(location)
        with _translated(location):
            return _remote(location, system.info(path))
    try:
        return _local(os.path.abspath(location), os.stat(location))  # noqa: PTH100, PTH116
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFileError(f"{location}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise _unreadable(location) from error


def entries(folder: str) -> Iterator[tuple[str, Found | InputError]]:
    """Yield name and place of everything in a folder, sorted by name, hidden things left out.

    A link that leads nowhere comes with its error. Raises `UnreadableFileError` for a folder that
    cannot be listed.
    """
    if is_url(folder):
        system, path = _system(folder)
        with _translated(folder):
            listed = system.ls(path, detail=True)
        for info in sorted(listed, key=lambda each: str(each["name"])):
            url = str(system.unstrip_protocol(info["name"]))
            name = url.rstrip("/").rpartition("/")[2]
            if name and not name.startswith(".") and url.rstrip("/") != folder.rstrip("/"):
                yield name, _remote(url, info)
        return
    try:
        with os.scandir(folder) as scan:
            # Names alone: entries with their state would take six times the memory.
            names = sorted(each.name for each in scan if not each.name.startswith("."))
    except OSError as error:
        raise _unreadable(folder) from error
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118
        try:
            yield name, _local(path, os.stat(path))  # noqa: PTH116
        except OSError:
            yield name, UnreadableFileError(f"{path}: no such file; check the link")


def open_binary(location: str) -> IO[bytes]:
    """Open a file to read and seek in; raises `UnreadableFileError`."""
    if is_url(location):
        system, path = _system(location)
        with _translated(location):
            return cast("IO[bytes]", system.open(path, "rb"))
    try:
        return Path(location).open("rb")
    except (OSError, ValueError) as error:
        raise _unreadable(location) from error


def real(location: str) -> str:
    """Return the place without symbolic links, to notice folders that contain themselves."""
    return location if is_url(location) else os.path.realpath(location)


def _local(location: str, status: os.stat_result) -> Found:
    if stat.S_ISDIR(status.st_mode):
        return Found(location, "folder")
    kind: Literal["file", "other"] = "file" if stat.S_ISREG(status.st_mode) else "other"
    return Found(location, kind, status.st_size, str(status.st_mtime_ns))


def _remote(location: str, info: dict[str, Any]) -> Found:
    if info.get("type") == "directory":
        return Found(location.rstrip("/"), "folder")
    stamp = next((str(info[each]) for each in _STAMPS if info.get(each) is not None), "")
    return Found(location, "file", int(info.get("size") or 0), stamp)


def _system(location: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        MissingExtraError: fsspec is not installed.
        ConfigError: no such protocol, or the package of this one is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingExtraError("reading URLs", "tables") from error
    protocol = location.partition("://")[0]
    try:
        system, path = url_to_fs(location)
    except ImportError as error:
        raise ConfigError(f"{protocol}://: needs another package of fsspec ({error})") from error
    except ValueError as error:
        raise ConfigError(f"{protocol}://: fsspec knows no such protocol") from error
    return system, str(path)


@contextmanager
def _translated(location: str) -> Iterator[None]:
    """Turn what a file system of fsspec raises into our errors, without its own message."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise UnreadableFileError(f"{location}: no such file; check the URL") from None
    # Each protocol has exceptions of its own, and a bad URL is no other's.
    except Exception as error:  # noqa: BLE001
        raise UnreadableFileError(
            f"{location}: cannot be read ({type(error).__name__}); check the URL, the network and "
            "the permissions"
        ) from None


def _unreadable(location: str) -> UnreadableFileError:
    return UnreadableFileError(f"{location}: cannot be read; check the path and its permissions")
