"""Parquet tables: a column of paths or URLs, or of the images' bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from tumorlens.errors import ConfigError, MissingExtraError
from tumorlens.imaging.foreign import foreign
from tumorlens.jobs.items import RowsItem
from tumorlens.jobs.storage import Found, open_binary

SUFFIXES = (".parquet", ".pq")
_DAMAGED = "the table is truncated or damaged; write it again"
_BATCH = 16  # rows in memory at a time
_PATHS_BATCH = 4096
# Where several columns would do, the first of these is taken.
_USUAL = ("image.bytes", "image", "bytes", "content", "image.path", "path", "file", "filename",
          "file_name", "url", "uri")  # fmt: skip


def is_table(name: str) -> bool:
    """Whether a file is called as a Parquet file."""
    return name.lower().endswith(SUFFIXES)


def table_items(
    name: str, found: Found, column: str = "", id_column: str = ""
) -> Iterator[RowsItem | tuple[str, str]]:
    """Return the row groups of a table of images, or ``(path, name)`` of each row of paths.

    Args:
        name: what the results call the table.
        found: its place.
        column: name of the column; "": the one that holds bytes, or is called ``path`` or alike.
        id_column: column with the names of the rows; "": ``table.parquet#7``, or the path.

    Raises:
        ConfigError: no such column, or none that fits.
        InputError: the table cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    with _opened(name, found.location) as table:
        kinds = {each: kind for each, kind in _leaves(table.schema_arrow) if kind != "other"}
        chosen = column or _choose(kinds, name)
        for wanted in filter(None, (chosen, id_column)):
            if wanted not in dict(_leaves(table.schema_arrow)):
                raise ConfigError(
                    f"{name}: no column {wanted}; its columns are "
                    f"{', '.join(each for each, _ in _leaves(table.schema_arrow))}"
                )
        if chosen not in kinds:
            raise ConfigError(f"{name}: column {chosen} holds neither bytes nor text")
        if kinds[chosen] == "text":
            yield from _paths(table, name, chosen, id_column)
            return
        first = 0
        for group in range(table.num_row_groups):
            about = table.metadata.row_group(group)
            yield RowsItem(name, found.location, about.total_byte_size, found.stamp, group, first,
                           about.num_rows, chosen, id_column)  # fmt: skip
            first += about.num_rows


def read_rows(item: RowsItem) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and bytes of each row, None where the cell is empty; raises `InputError`."""
    columns = [item.column, *filter(None, (item.id_column,))]
    row = item.first
    with _opened(item.name, item.location) as table:
        batches = table.iter_batches(_BATCH, row_groups=[item.group], columns=columns)
        while True:
            with foreign(item.name, _DAMAGED):
                batch = next(batches, None)
            if batch is None:
                return
            names = _cells(batch, item.id_column) if item.id_column else [None] * len(batch)
            for name, cell in zip(names, _cells(batch, item.column), strict=True):
                yield (f"{item.name}#{row}" if name is None else str(name)), cell
                row += 1


def _paths(table: Any, name: str, column: str, id_column: str) -> Iterator[tuple[str, str]]:
    columns = [column, *filter(None, (id_column,))]
    row = 0
    batches = table.iter_batches(_PATHS_BATCH, columns=columns)
    while True:
        with foreign(name, _DAMAGED):
            batch = next(batches, None)
        if batch is None:
            return
        paths = _cells(batch, column)
        ids = _cells(batch, id_column) if id_column else paths
        for path, known_as in zip(paths, ids, strict=True):
            yield path or "", str(known_as) if known_as else f"{name}#{row}"
            row += 1


def _choose(kinds: Mapping[str, str], name: str) -> str:
    usual = [each for each in _USUAL if each in kinds]
    binary = [each for each, kind in kinds.items() if kind == "bytes"]
    for found in ([each for each in usual if each in binary], binary, usual):
        if found and (len(found) == 1 or found is not binary):
            return found[0]
    raise ConfigError(
        f"{name}: which column holds the images or their paths? Name it with --column: "
        f"{', '.join(kinds) or 'none fits'}"
    )


def _leaves(schema: Any) -> Iterator[tuple[str, Literal["bytes", "text", "other"]]]:
    import pyarrow.types as types

    for field in schema:
        inside = field.type if types.is_struct(field.type) else None
        for each in inside or (field,):
            name = f"{field.name}.{each.name}" if inside else field.name
            kind = each.type
            if types.is_dictionary(kind):
                kind = kind.value_type
            if types.is_binary(kind) or types.is_large_binary(kind):
                yield name, "bytes"
            elif types.is_string(kind) or types.is_large_string(kind):
                yield name, "text"
            else:
                yield name, "other"


def _cells(batch: Any, column: str) -> list[Any]:
    outer, _, inner = column.partition(".")
    if column in batch.schema.names:
        cells: list[Any] = batch.column(column).to_pylist()
        return cells
    return [None if each is None else each[inner] for each in batch.column(outer).to_pylist()]


@contextmanager
def _opened(name: str, location: str) -> Iterator[Any]:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("reading Parquet tables", "tables") from error
    with open_binary(location) as stream:
        with foreign(name, _DAMAGED):
            table = ParquetFile(stream)
        with table:
            yield table
