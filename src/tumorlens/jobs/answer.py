"""One shard from its items to the bytes of its results: what each process and actor does."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter

from tumorlens import errors
from tumorlens.errors import EmptyInputError, InputError
from tumorlens.imaging.foreign import foreign, quiet
from tumorlens.imaging.formats import detect_format
from tumorlens.imaging.image import Limits
from tumorlens.inference.batch import Result, run_slices
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.read_ahead import read_ahead
from tumorlens.inference.series_batch import run_entries
from tumorlens.jobs.archives import read_member, stream_members
from tumorlens.jobs.encode import (
    ERROR_COLUMNS,
    answer_row,
    error_row,
    open_table,
    result_columns,
)
from tumorlens.jobs.items import FileItem, FolderItem, Item, RowsItem, Shard, StreamItem
from tumorlens.jobs.settings import Settings, ShardResult
from tumorlens.jobs.storage import is_url, open_binary
from tumorlens.jobs.tables import read_rows
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Picture, Unreadable
from tumorlens.volumes.source import Source, bytes_source, file_source
from tumorlens.volumes.volume import VOLUME_LIMITS

# Threads that fetch pictures ahead: a disk needs few, a store of objects many.
_DISK_READERS, _URL_READERS = 1, 16
_FILES_AT_ONCE, _BYTES_AT_ONCE = 16, 2**20
_HEAD = 512
_PICTURES = frozenset({"jpeg", "png", "bmp", "webp", "tiff"})


def answer_shard(predictor: Predictor, shard: Shard, settings: Settings) -> ShardResult:
    """Answer all items of a shard in the caller's thread; raises what a failing model raises."""
    start = perf_counter()
    results = open_table(settings.output, result_columns(series=not settings.slices))
    failed = open_table(settings.output, ERROR_COLUMNS)
    with quiet():
        for result in _results(predictor, shard, settings):
            if result.error is None:
                results.add(answer_row(result, settings.output))
            else:
                failed.add(error_row(result))
    return ShardResult(
        shard.index, shard.key, shard.inputs, shard.size, results.rows, failed.rows,
        results.finish() if results.rows else b"", failed.finish() if failed.rows else b"",
        perf_counter() - start,
    )  # fmt: skip


def _results(predictor: Predictor, shard: Shard, settings: Settings) -> Iterator[Result]:
    run = run_slices if settings.slices else run_entries
    entries = _entries(shard, settings)
    yield from run(predictor, entries, planes=settings.planes, batch_size=settings.batch_size,
                   readers=0)  # fmt: skip


def _entries(shard: Shard, settings: Settings) -> Iterator[Entry]:
    remote = any(is_url(getattr(each, "location", "")) for each in shard.items)
    readers = _URL_READERS if remote else _DISK_READERS
    together = _together(shard.items, 1 if remote else _FILES_AT_ONCE)
    for opened in read_ahead(together, _open_all, readers, 2 * readers + 1):
        for each in chain.from_iterable(opened):
            if isinstance(each, Unreadable | Picture):
                yield each
            else:
                yield from discover(each, group_slices=not settings.slices)


def _together(items: Sequence[Item], most: int) -> Iterator[list[Item]]:
    """Cut items into runs of few bytes, since handing one to a thread costs as much as its read."""
    run, size = list[Item](), 0
    for item in items:
        if run and (len(run) >= most or size + item.size > _BYTES_AT_ONCE):
            yield run
            run, size = [], 0
        run.append(item)
        size += item.size
    if run:
        yield run


Opened = Iterator[list[Source] | Picture | Unreadable]


def _open_all(items: list[Item]) -> list[Opened]:
    return [_open(each) for each in items]


def _open(item: Item) -> Opened:
    """Open an item; only the bytes of a picture are read here, ahead of their turn."""
    match item:
        case FileItem() if item.is_alone and item.size <= Limits().max_bytes:
            return iter([_picture(item)])
        case FileItem():
            return _lazily(item)
        case FolderItem():
            return _folder(item)
        case RowsItem():
            return _rows(item)
        case StreamItem():
            return _members(item)
    kind = getattr(errors, item.error, InputError)
    return iter([Unreadable(item.name, kind(item.message))])


def _picture(item: FileItem) -> list[Source] | Picture | Unreadable:
    try:
        return _looked_at(item.name, _read(item) if item.size else b"")
    except InputError as error:
        return Unreadable(item.name, error)


def _looked_at(name: str, content: bytes) -> list[Source] | Picture:
    """Return a picture where the content says so at once, else a source to be discovered."""
    source = bytes_source(name, content)
    return Picture(source) if detect_format(content[:_HEAD]) in _PICTURES else [source]


def _read(item: FileItem) -> bytes:
    if item.packing != "file":
        return read_member(item, VOLUME_LIMITS)
    damaged = "cannot be read whole; copy it again"
    with foreign(item.name, damaged), open_binary(item.location) as stream:
        content = stream.read(VOLUME_LIMITS.max_bytes + 1)
    VOLUME_LIMITS.check_bytes(len(content), item.name)
    return content


def _lazily(item: FileItem) -> Opened:
    try:
        yield [_source(item)]
    except InputError as error:
        yield Unreadable(item.name, error)


def _source(item: FileItem) -> Source:
    if item.packing == "file" and not is_url(item.location):
        return file_source(Path(item.location), item.name)
    return Source(item.name, item.size, lambda: io.BytesIO(_read(item)))


def _folder(item: FolderItem) -> Opened:
    sources = []
    for each in item.files:
        try:
            sources.append(_source(each))
        except InputError as error:
            yield Unreadable(each.name, error)
    yield sources


def _rows(item: RowsItem) -> Opened:
    try:
        for name, content in read_rows(item):
            if content is None:
                error = EmptyInputError(f"{name}: the table has no image in this row")
                yield Unreadable(name, error)
            else:
                yield _looked_at(name, content)
    except InputError as error:
        yield Unreadable(item.name, error)


def _members(item: StreamItem) -> Opened:
    """Open the files of a compressed archive, those of one folder that may be slices together."""
    together: list[Source] = []
    folder = ""
    for name, content in stream_members(item, VOLUME_LIMITS):
        here = name.rpartition("/")[0]
        if together and here != folder:
            yield together
            together = []
        if isinstance(content, InputError):
            yield Unreadable(name, content)
        elif FileItem(name, name, len(content), "").is_alone:
            yield _looked_at(name, content)
        else:
            folder = here
            together.append(bytes_source(name, content))
    if together:
        yield together
