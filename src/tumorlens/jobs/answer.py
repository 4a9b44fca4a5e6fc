"""One shard from its items to the bytes of its results: what each process and actor does."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from tumorlens import errors
from tumorlens.errors import EmptyInputError, InputError
from tumorlens.imaging.anatomy import Plane
from tumorlens.imaging.foreign import foreign, quiet
from tumorlens.imaging.image import Limits
from tumorlens.inference.batch import Result, run_slices
from tumorlens.inference.engine import Provider
from tumorlens.inference.predictor import Predictor
from tumorlens.inference.read_ahead import read_ahead
from tumorlens.inference.series_batch import run_entries
from tumorlens.jobs.archives import read_member, stream_members
from tumorlens.jobs.encode import (
    ERROR_COLUMNS,
    OutputFormat,
    answer_row,
    error_row,
    open_table,
    result_columns,
)
from tumorlens.jobs.items import FileItem, FolderItem, Item, RowsItem, Shard, StreamItem
from tumorlens.jobs.storage import is_url, open_binary
from tumorlens.jobs.tables import read_rows
from tumorlens.volumes.discover import discover
from tumorlens.volumes.entries import Entry, Unreadable
from tumorlens.volumes.source import Source, bytes_source, file_source
from tumorlens.volumes.volume import VOLUME_LIMITS

# Threads that fetch pictures ahead: a disk needs few, a store of objects many.
_DISK_READERS, _URL_READERS = 1, 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What answers depend on besides the inputs.

    Attributes:
        model: SHA-256 of the model file.
        output: format of results and errors.
        slices: every DICOM file and slice by itself, not the series.
        planes: planes that volumes are cut in; None: their plane of acquisition.
        batch_size: images per forward pass.
        column: as asked for; "" to find it.
        id_column: as asked for.
        shard_size: inputs a shard.
        provider: what the network runs on.
    """

    model: str
    output: OutputFormat
    slices: bool = False
    planes: tuple[Plane | None, ...] = (None,)
    batch_size: int = 8
    column: str = ""
    id_column: str = ""
    shard_size: int = 1000
    provider: Provider = "cpu"

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of a shard.

    Attributes:
        index: the shard's.
        key: the shard's.
        inputs: number of its inputs.
        size: bytes of its inputs.
        answered: rows in ``results``.
        failed: rows in ``errors``.
        results: the table of answers; empty without any.
        errors: the table of inputs that could not be read; empty without any.
        seconds: time that it took.
    """

    index: int
    key: str
    inputs: int
    size: int
    answered: int
    failed: int
    results: bytes
    errors: bytes
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by their names."""
        return asdict(self)


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
    for sources in read_ahead(shard.items, _open, readers, 2 * readers + 1):
        for each in sources:
            if isinstance(each, Unreadable):
                yield each
            else:
                yield from discover(each, group_slices=not settings.slices)


Opened = Iterator[list[Source] | Unreadable]


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


def _picture(item: FileItem) -> list[Source] | Unreadable:
    if not item.size:
        return [bytes_source(item.name, b"")]
    try:
        return [bytes_source(item.name, _read(item))]
    except InputError as error:
        return Unreadable(item.name, error)


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
                yield [bytes_source(name, content)]
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
            yield [bytes_source(name, content)]
        else:
            folder = here
            together.append(bytes_source(name, content))
    if together:
        yield together
