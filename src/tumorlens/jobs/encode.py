"""Answers and errors as the bytes of a shard: Parquet, CSV or JSON Lines.

The same results give the same bytes, on whichever machine: times are left out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from tumorlens.errors import MissingExtraError
from tumorlens.inference.batch import Result
from tumorlens.inference.rows import columns, csv_cell, to_record, to_row
from tumorlens.jobs.settings import OutputFormat

ERROR_COLUMNS = ("path", "error", "message")
_TIME = "latency_ms"
_FLOATS = {"prob", "threshold", "area_mm2", "volume_ml", "diameter_mm"}
_INTEGERS = {"n_slices", "n_answered", "n_tumor", "n_findings", "first", "last"}
_ROWS_AT_ONCE = 1024
_ROW_GROUP = 2**16


class Table(Protocol):
    """A table that is written row by row."""

    rows: int

    def add(self, row: dict[str, Any]) -> None:
        """Add one row."""

    def finish(self) -> bytes:
        """Return the whole table."""


def result_columns(*, series: bool) -> tuple[str, ...]:
    """Return the columns of the results, with ``series`` those of series too."""
    return tuple(each for each in columns(series) if each != _TIME)


def open_table(kind: OutputFormat, names: Sequence[str]) -> Table:
    """Start a table; raises `MissingExtraError` for Parquet without pyarrow."""
    if kind == "parquet":
        return _Parquet(names)
    return _Csv(names) if kind == "csv" else _JsonLines()


def answer_row(result: Result, kind: OutputFormat) -> dict[str, Any]:
    """Return the row of an answered input: in JSON Lines all of it, else its columns."""
    row = to_record(result) if kind == "jsonl" else to_row(result)
    row.pop(_TIME)
    row.pop("error", None)
    return row


def error_row(result: Result) -> dict[str, Any]:
    """Return the row of an input that could not be read."""
    assert result.error is not None
    values = (result.path, type(result.error).__name__, str(result.error))
    return dict(zip(ERROR_COLUMNS, values, strict=True))


class _Csv:
    def __init__(self, names: Sequence[str]) -> None:
        self.rows = 0
        self._text = io.StringIO(newline="")
        self._writer = csv.DictWriter(self._text, names, restval="", lineterminator="\n")
        self._writer.writeheader()

    def add(self, row: dict[str, Any]) -> None:
        self._writer.writerow({name: csv_cell(value) for name, value in row.items()})
        self.rows += 1

    def finish(self) -> bytes:
        return self._text.getvalue().encode("utf-8", "backslashreplace")


class _JsonLines:
    def __init__(self) -> None:
        self.rows = 0
        self._text = io.StringIO(newline="")

    def add(self, row: dict[str, Any]) -> None:
        self._text.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows += 1

    def finish(self) -> bytes:
        return self._text.getvalue().encode("utf-8", "backslashreplace")


class _Parquet:
    def __init__(self, names: Sequence[str]) -> None:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise MissingExtraError("writing Parquet", "tables") from error
        self.rows = 0
        self._schema = pa.schema([pa.field(name, _arrow_type(pa, name)) for name in names])
        self._waiting: list[dict[str, Any]] = []
        self._batches: list[Any] = []

    def add(self, row: dict[str, Any]) -> None:
        row["path"] = row["path"].encode("utf-8", "backslashreplace").decode()
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) >= _ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> bytes:
        import pyarrow as pa
        from pyarrow.parquet import write_table

        self._flush()
        sink = pa.BufferOutputStream()
        table = pa.Table.from_batches(self._batches, self._schema)
        write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP)
        return bytes(sink.getvalue().to_pybytes())

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._batches.append(pa.RecordBatch.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []


def _arrow_type(pa: Any, name: str) -> Any:
    if name in _FLOATS:
        return pa.float64()
    if name in _INTEGERS:
        return pa.int64()
    if name == "in_domain":
        return pa.bool_()
    return pa.list_(pa.string()) if name == "prediction_set" else pa.string()
