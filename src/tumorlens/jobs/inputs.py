"""Paths and URLs of files, folders, lists, archives and tables → items, as a stream."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tumorlens.errors import ConfigError, DecodeError, InputError, UnreadableFileError
from tumorlens.jobs.archives import archive_items
from tumorlens.jobs.items import BrokenItem, FileItem, FolderItem, Item, RowsItem
from tumorlens.jobs.storage import Found, entries, look, open_binary, real
from tumorlens.jobs.tables import is_table, table_items

LIST_SUFFIXES = (".txt", ".lst")
_PARTS = (".hdr", ".hdr.gz", ".img", ".img.gz", ".mhd", ".nhdr", ".raw", ".zraw")
# A study of a whole day has fewer; more are single images, which need not be read together.
_MOST_TOGETHER = 20_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How inputs are read.

    Attributes:
        slices: every DICOM file and every slice of a volume by itself.
        column: column of a Parquet table with bytes or paths; "" to find it.
        id_column: column with the names of the rows, or "".
    """

    slices: bool = False
    column: str = ""
    id_column: str = ""


def job_items(paths: Iterable[str], reading: Reading) -> Iterator[Item]:
    """Yield everything that is to be answered, in an order that depends on names alone.

    A folder stands for the files below it and the archives and tables among them, a ``.txt`` or
    ``.lst`` that is named itself for the paths and URLs in its lines, which count from the current
    folder. What is missing or damaged is a `BrokenItem`.

    Raises:
        ConfigError: a table without the column, a protocol that fsspec does not know, or too many
            files of one folder that could be slices of series.
        MissingExtraError: Parquet or a URL without pyarrow or fsspec.
    """
    yield from _together(_all(paths, reading), reading)


def _all(paths: Iterable[str], reading: Reading) -> Iterator[Item]:
    for path in paths:
        if path.lower().endswith(LIST_SUFFIXES):
            yield from _list(path, reading)
        else:
            yield from _path(path, path, reading)


def _path(path: str, name: str, reading: Reading) -> Iterator[Item]:
    try:
        found = look(path)
    except InputError as error:
        yield _broken(name, error)
        return
    if found.kind == "folder":
        yield from _folder(found.location, name, reading, frozenset())
    else:
        yield from _file(found, name, reading)


def _file(found: Found, name: str, reading: Reading) -> Iterator[Item]:
    if found.kind == "other":
        yield _broken(name, UnreadableFileError(f"{name}: not a regular file"))
        return
    members = archive_items(name, found)
    if members is not None:
        yield from members
    elif is_table(name):
        yield from _table(found, name, reading)
    else:
        folder = os.path.dirname(found.location)  # noqa: PTH120
        yield FileItem(name, found.location, found.size, found.stamp, folder)


def _folder(location: str, name: str, reading: Reading, parents: frozenset[str]) -> Iterator[Item]:
    here = real(location)
    if here in parents:  # a symbolic link to a parent folder
        return
    count = 0
    inside: list[tuple[str, str]] = []
    try:
        for each, found in entries(location):
            count += 1
            path = os.path.join(name, each)  # noqa: PTH118
            if isinstance(found, InputError):
                yield _broken(path, found)
            elif found.kind == "folder":
                inside.append((found.location, path))
            else:
                yield from _file(found, path, reading)
    except InputError as error:
        yield _broken(name, error)
        return
    if not count and not parents:
        yield _broken(name, UnreadableFileError(f"{name}: the folder contains no readable file"))
    for place, path in inside:
        yield from _folder(place, path, reading, parents | {here})


def _list(path: str, reading: Reading) -> Iterator[Item]:
    try:
        with open_binary(look(path).location) as lines:
            for line in lines:
                each = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
                if each.strip() and not each.startswith("#"):
                    yield from _path(each, each, reading)
    except InputError as error:
        yield _broken(path, error)
    except OSError:
        yield _broken(path, DecodeError(f"{path}: the list cannot be read to its end"))


def _table(found: Found, name: str, reading: Reading) -> Iterator[Item]:
    try:
        for each in table_items(name, found, reading.column, reading.id_column):
            if isinstance(each, RowsItem):
                yield each
            elif each[0]:
                yield from _path(each[0], each[1], reading)
            else:
                yield _broken(each[1], UnreadableFileError(f"{each[1]}: the table has no path"))
    except InputError as error:
        yield _broken(name, error)


def _together(items: Iterator[Item], reading: Reading) -> Iterator[Item]:
    """Put files of one folder together that may be slices of one series or parts of one volume."""
    waiting: list[FileItem] = []
    for item in items:
        if waiting and not (isinstance(item, FileItem) and item.folder == waiting[0].folder):
            yield _as_one(waiting)
            waiting = []
        if isinstance(item, FileItem) and _may_be_part(item, reading):
            waiting.append(item)
            if len(waiting) > _MOST_TOGETHER:
                raise ConfigError(
                    f"{item.folder}: more than {_MOST_TOGETHER:,} files that may be slices of "
                    "series; answer each by itself with --slices, or part the folder by studies"
                )
        else:
            yield item
    if waiting:
        yield _as_one(waiting)


def _may_be_part(item: FileItem, reading: Reading) -> bool:
    if reading.slices:
        return item.file_name.lower().endswith(_PARTS)
    return not item.is_alone


def _as_one(files: list[FileItem]) -> Item:
    if len(files) == 1:
        return files[0]
    return FolderItem(files[0].folder, tuple(files))


def _broken(name: str, error: InputError) -> BrokenItem:
    return BrokenItem(name, type(error).__name__, str(error))
