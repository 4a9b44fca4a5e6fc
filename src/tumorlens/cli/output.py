"""Results as a table, JSON lines or CSV, on stdout or in a file that is written whole."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_BROKEN_PIPE

if TYPE_CHECKING:
    from tumorlens.inference.batch import Result

# A spreadsheet takes a cell that starts so for a formula and would run it.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """How results are written."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open stdout, or a UTF-8 file that appears only when the block ends well.

    When the reader of stdout has left (as `head` does), the command ends quietly.
    """
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Python would try to flush once more, and complain, when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_BROKEN_PIPE) from error
        return
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
        yield text
        text.detach()  # flushes, and leaves closing to atomic_file


def write_results(results: Iterable[Result], form: Format, out: TextIO) -> None:
    """Write every result as it comes (a table: when all are there)."""
    writers: dict[Format, Callable[[Iterable[Result], TextIO], None]] = {
        Format.table: _write_table,
        Format.jsonl: _write_jsonl,
        Format.csv: _write_csv,
    }
    writers[form](results, out)


def record(result: Result) -> dict[str, Any]:
    """Return one JSON-ready object; every field of the answer is null for a failed input."""
    from tumorlens.inference.prediction import Prediction

    empty = dict.fromkeys(Prediction.model_fields)
    answer = result.prediction.to_dict() if result.prediction else empty
    error = str(result.error) if result.error else None
    return {"path": result.path, **answer, "error": error}


def _write_jsonl(results: Iterable[Result], out: TextIO) -> None:
    for result in results:
        out.write(json.dumps(record(result), ensure_ascii=False) + "\n")
        out.flush()


def _write_csv(results: Iterable[Result], out: TextIO) -> None:
    from tumorlens.inference.prediction import Prediction

    writer = csv.DictWriter(
        out, ("path", *Prediction.columns(), "error"), restval="", lineterminator="\n"
    )
    writer.writeheader()
    for result in results:
        row = result.prediction.to_row() if result.prediction else {}
        row |= {"path": result.path, "error": result.error and str(result.error)}
        writer.writerow({column: _cell(value) for column, value in row.items()})
        out.flush()


def _cell(value: Any) -> Any:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return " ".join(value)
        case str() if value.startswith(_FORMULA_STARTS):
            return f"'{value}"
        case _:
            return value


def _write_table(results: Iterable[Result], out: TextIO) -> None:
    # Imported late: the other two forms do without rich.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("image", "answer", "P(tumour)", "note", box=None, pad_edge=False, header_style="")
    disclaimer = ""
    for result in results:
        answer = result.prediction
        if answer is None:
            table.add_row(Text(result.path), "-", "-", Text(f"not read: {result.error}"))
            continue
        disclaimer = answer.disclaimer
        table.add_row(Text(result.path), answer.decision, f"{answer.prob:.3f}", Text(_note(result)))
    # A terminal wraps; a pipe gets each row on one line, however long.
    console = Console(
        file=out, width=None if out.isatty() else 10_000, highlight=False, markup=False, emoji=False
    )
    console.print(table)
    if disclaimer:
        console.print(f"\n{disclaimer}")


def _note(result: Result) -> str:
    answer = result.prediction
    if answer is None:
        return ""
    if not answer.in_domain:
        return f"not a usable head slice: {answer.in_domain_reason}"
    if answer.decision == "uncertain":
        return "cannot rule out " + (" or ".join(answer.prediction_set) or "either")
    return ""
