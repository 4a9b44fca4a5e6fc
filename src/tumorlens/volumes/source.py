"""Where bytes come from: a file, an upload, or a member of a zip archive."""

from __future__ import annotations

import bz2
import gzip
import io
import mmap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

from tumorlens.errors import (
    DecodeError,
    EmptyInputError,
    TooLargeError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits

HEAD = 4096  # bytes; all headers that are looked at fit
_BLOCK = 2**20
# A study of a whole day has fewer slices.
_MAX_MEMBERS = 20_000
_MAX_UNPACKED = 4 * 2**30


@dataclass(frozen=True, eq=False)
class Source:
    """Something to read from.

    Attributes:
        name: path, or name in messages; a member of an archive is ``study.zip/folder/1.dcm``.
        size: bytes, as the file system or the archive says.
        open: opens it for reading bytes, from the start; raises `UnreadableFileError`, or what a
            damaged archive does.
        path: the file's place, None for uploads and members of archives.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    path: Path | None = None

    def read(self, limits: Limits) -> bytes:
        """Return all bytes, at most ``limits.max_bytes``.

        Raises:
            EmptyInputError, TooLargeError: none, or too many.
            UnreadableFileError: it cannot be opened.
            DecodeError: a damaged member of an archive.
        """
        self.check(limits)
        with foreign(self.name, "cannot be read whole; copy it again"), self.open() as stream:
            content = stream.read(limits.max_bytes + 1)
        limits.check_bytes(len(content), self.name)
        return content

    def check(self, limits: Limits) -> None:
        """Raise `EmptyInputError` or `TooLargeError` by the size alone."""
        if not self.size:
            raise EmptyInputError(
                f"{self.name}: the file is empty; check that it was saved completely"
            )
        limits.check_bytes(self.size, self.name)


def file_source(path: Path, name: str | None = None) -> Source:
    """Return the source of a regular file; raises `UnreadableFileError` for anything else."""
    try:
        size = path.stat().st_size
        regular = path.is_file()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFileError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        raise UnreadableFileError(
            f"{path}: cannot be read; check the path and its permissions"
        ) from error
    if not regular:
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise UnreadableFileError(f"{path}: {kind}; give the path of an image or volume")
    return Source(name or str(path), size, partial(_open, path), path)


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read; check the path and its permissions"
        ) from error


def bytes_source(name: str, content: bytes) -> Source:
    """Return the source of an upload."""
    return Source(name, len(content), partial(io.BytesIO, content))


def zip_members(source: Source) -> list[Source]:
    """Return the files in a zip archive, in order of their names, without hidden ones.

    Raises:
        DecodeError: not a whole zip archive.
        UnsupportedFormatError: with a password.
        TooLargeError: too many members, or too many bytes unpacked.
    """
    with foreign(source.name, "the zip archive is truncated or damaged; make it again"):
        archive = zipfile.ZipFile(_mapped(source))
        members = [info for info in archive.infolist() if not info.is_dir()]
    if len(members) > _MAX_MEMBERS or sum(each.file_size for each in members) > _MAX_UNPACKED:
        raise TooLargeError(
            f"{source.name}: {len(members):,} files, or more than {_MAX_UNPACKED:,} bytes "
            "unpacked; give an archive of one study"
        )
    if any(each.flag_bits & 1 for each in members):
        raise UnsupportedFormatError(f"{source.name}: has a password; give an archive without one")
    shown = [each for each in members if not _is_hidden(each.filename)]
    return [
        Source(f"{source.name}/{each.filename}", each.file_size, partial(archive.open, each))
        for each in sorted(shown, key=lambda each: each.filename)
    ]


class _MappedFile(mmap.mmap):
    """A file in memory for as long as a member may be read: nobody has to close it."""

    def seekable(self) -> bool:  # mmap has it from Python 3.13 on
        return True


def _mapped(source: Source) -> IO[bytes]:
    with source.open() as stream:
        if source.path is None:
            return io.BytesIO(stream.read())
        return cast("IO[bytes]", _MappedFile(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _is_hidden(member: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in member.split("/"))


def unpacked(stream: IO[bytes]) -> IO[bytes]:
    """Return the stream, decompressed if it starts as gzip or bzip2; whatever its name."""
    start = stream.read(3)
    stream.seek(0)
    if start[:2] == b"\x1f\x8b":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    if start == b"BZh":
        return bz2.BZ2File(stream)
    return stream


class _OwnGzip(gzip.GzipFile):
    """A gzip stream that closes the file below it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(fileobj=stream)
        self._below = stream

    def close(self) -> None:
        super().close()
        self._below.close()


def unpacked_source(source: Source) -> Source:
    """Return the content of a gzip file as a source of the same name."""
    return Source(source.name, source.size, lambda: cast("IO[bytes]", _OwnGzip(source.open())))


def read_exactly(stream: IO[bytes], n_bytes: int, name: str) -> bytes:
    """Return ``n_bytes`` bytes; raises `DecodeError` if there are fewer."""
    content = stream.read(n_bytes)
    if len(content) < n_bytes:
        raise DecodeError(f"{name}: the file is truncated; copy or export it again")
    return content


def skip(stream: IO[bytes], n_bytes: int, name: str) -> None:
    """Read past ``n_bytes`` bytes, a block at a time."""
    while n_bytes > 0:
        n_bytes -= len(read_exactly(stream, min(n_bytes, _BLOCK), name))
