"""The members of zip and tar archives as items, each read by itself where that is possible."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from tumorlens.errors import (
    DecodeError,
    InputError,
    TooLargeError,
    UnsupportedFormatError,
)
from tumorlens.imaging.foreign import foreign
from tumorlens.imaging.image import Limits
from tumorlens.jobs.items import BrokenItem, FileItem, StreamItem
from tumorlens.jobs.storage import Found, open_binary

_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGED = "the archive is truncated or damaged; make it again"
_LOCAL_HEADER = 30  # bytes before the name (APPNOTE.TXT 6.3.10, 4.3.7)


def archive_items(name: str, found: Found) -> Iterator[FileItem | StreamItem | BrokenItem] | None:
    """Return the members of an archive, told by its suffix, without hidden ones; None: no archive.

    What is damaged is a `BrokenItem` after the members before it.
    """
    lower = name.lower()
    if lower.endswith(_COMPRESSED_TARS):
        return iter([StreamItem(name, found.location, found.size, found.stamp)])
    if lower.endswith(".tar"):
        return _or_broken(name, _tar(name, found))
    if lower.endswith(".zip"):
        return _or_broken(name, _zip(name, found))
    return None


def read_member(item: FileItem, limits: Limits) -> bytes:
    """Return a member's bytes.

    Raises:
        TooLargeError: more than ``limits`` allows.
        UnreadableFileError: the archive cannot be opened.
        UnsupportedFormatError: a compression of zip that is not read.
        DecodeError: truncated or damaged.
    """
    limits.check_bytes(item.size, item.name)
    with foreign(item.name, _DAMAGED), open_binary(item.location) as stream:
        stream.seek(item.start)
        content = stream.read(item.size) if item.packing == "tar" else _unzipped(item, stream)
        if len(content) != item.size:
            raise DecodeError(f"{item.name}: {_DAMAGED}")
    return content


def stream_members(item: StreamItem, limits: Limits) -> Iterator[tuple[str, bytes | InputError]]:
    """Yield name and bytes of each member of a compressed tar archive, or why it is not read.

    Raises `InputError` where the archive cannot be read on.
    """
    try:
        stream = open_binary(item.location)
        with foreign(item.name, _DAMAGED):
            archive = tarfile.open(fileobj=stream, mode="r|*")  # noqa: SIM115
    except InputError as error:
        yield item.name, error
        return
    with stream, archive:
        while True:
            name = item.name
            try:
                with foreign(item.name, _DAMAGED):
                    member = archive.next()
                    if member is None:
                        return
                    _forget(archive)
                    if not member.isfile() or _is_hidden(member.name):
                        continue
                    name = f"{item.name}/{member.name}"
                    content: bytes | InputError = _member(archive, member, name, limits)
            except InputError as error:
                yield name, error
                return
            yield name, content


def _member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, limits: Limits
) -> bytes | InputError:
    try:
        limits.check_bytes(member.size, name)
    except TooLargeError as error:
        return error
    reader = archive.extractfile(member)
    content = reader.read() if reader is not None else b""
    if len(content) != member.size:
        raise DecodeError(f"{name}: {_DAMAGED}")
    return content


def _or_broken(
    name: str, members: Iterator[FileItem | BrokenItem]
) -> Iterator[FileItem | StreamItem | BrokenItem]:
    count = 0
    try:
        for each in members:
            count += 1
            yield each
        if not count:
            raise UnsupportedFormatError(f"{name}: the archive has no files in it")
    except InputError as error:
        yield BrokenItem(name, type(error).__name__, str(error))


def _tar(name: str, found: Found) -> Iterator[FileItem | BrokenItem]:
    with open_binary(found.location) as stream:
        with foreign(name, _DAMAGED):
            archive = tarfile.open(fileobj=stream, mode="r:")  # noqa: SIM115
        while True:
            with foreign(name, _DAMAGED):
                member = archive.next()
            if member is None:
                return
            _forget(archive)
            if not member.isfile() or _is_hidden(member.name):
                continue
            path = f"{name}/{member.name}"
            if member.issparse():
                error = UnsupportedFormatError(f"{path}: a sparse file; make the archive again")
                yield BrokenItem(path, type(error).__name__, str(error))
                continue
            yield FileItem(path, found.location, member.size, found.stamp, os.path.dirname(path),  # noqa: PTH120
                           "tar", member.offset_data)  # fmt: skip


def _zip(name: str, found: Found) -> Iterator[FileItem | BrokenItem]:
    with open_binary(found.location) as stream, foreign(name, _DAMAGED):
        members = zipfile.ZipFile(stream).infolist()
    members = [each for each in members if not each.is_dir() and not _is_hidden(each.filename)]
    if any(each.flag_bits & 1 for each in members):
        raise UnsupportedFormatError(f"{name}: has a password; give an archive without one")
    for each in sorted(members, key=lambda each: each.filename):
        path = f"{name}/{each.filename}"
        yield FileItem(path, found.location, each.file_size, found.stamp, os.path.dirname(path),  # noqa: PTH120
                       "zip", each.header_offset, each.compress_size, each.compress_type,
                       each.CRC)  # fmt: skip


def _forget(archive: tarfile.TarFile) -> None:
    """Drop the members read so far, which tarfile keeps to the end of the archive."""
    archive.members = []  # type: ignore[attr-defined]


def _unzipped(item: FileItem, stream: IO[bytes]) -> bytes:
    header = stream.read(_LOCAL_HEADER)
    if not header.startswith(b"PK\x03\x04") or len(header) < _LOCAL_HEADER:
        raise DecodeError(f"{item.name}: {_DAMAGED}")
    # The central directory has the sizes; here are only the lengths of the name and the extra.
    beside = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    stream.seek(item.start + _LOCAL_HEADER + beside)
    stored = stream.read(item.stored)
    if item.method == zipfile.ZIP_STORED:
        content = stored
    elif item.method == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, max(item.size, 1))
    else:
        raise UnsupportedFormatError(
            f"{item.name}: compressed by a method other than deflate; make the archive again"
        )
    if zlib.crc32(content) != item.crc:
        raise DecodeError(f"{item.name}: {_DAMAGED}")
    return content


def _is_hidden(member: str) -> bool:
    parts = member.removeprefix("./").split("/")
    return any(part.startswith((".", "__MACOSX")) for part in parts)
