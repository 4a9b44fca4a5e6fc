"""``tumorlens deidentify``: copies of DICOM images without what identifies the patient."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_UNREADABLE, print_error

if TYPE_CHECKING:
    from tumorlens.deidentification.report import Report
    from tumorlens.deidentification.run import Outcome


def deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM image, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Folder for the copies; made if missing.")],
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with a secret: the same one gives the same UIDs in every run."),
    ] = None,
    keep_burned_in: Annotated[
        bool, typer.Option("--keep-burned-in", help="Write images that say they hold text, too.")
    ] = False,
    mapping: Annotated[
        Path | None,
        typer.Option(help="CSV of each source path and its copy; keep it as you keep the source."),
    ] = None,
) -> None:
    """Write copies of DICOM images without what identifies the patient (PS3.15, Basic Profile).

    TARGET/deidentification.json says what was removed, without values and names of files. A file
    that cannot be de-identified is not copied; it is named by its number, and the exit code is 3.
    """
    from tumorlens.deidentification.pseudonyms import read_key
    from tumorlens.deidentification.run import deidentify as run

    rows: list[tuple[int, str, str, str]] = []

    def note(path: Path, outcome: Outcome) -> None:
        copy, reason = ("", str(outcome)) if isinstance(outcome, Exception) else (outcome.path, "")
        rows.append((len(rows) + 1, str(path), copy, reason))
        if reason:
            print_error(reason)

    key = None if key_file is None else read_key(key_file)
    report = run(source, target, key=key, keep_burned_in=keep_burned_in, progress=note)
    if mapping is not None:
        _write_mapping(mapping, rows)
    _show(report, target)
    if report.set_aside:
        raise typer.Exit(EXIT_UNREADABLE)


def _show(report: Report, target: Path) -> None:
    typer.echo(f"{report.written} of {report.read} files written to {target}")
    for warning, files in sorted(report.warnings.items()):
        typer.echo(f"look at {files}: {warning}")
    if not report.stable:
        typer.echo("UIDs are consistent within this run only; use --key-file for several runs")


def _write_mapping(path: Path, rows: list[tuple[int, str, str, str]]) -> None:
    before = os.umask(0o077)  # readable by its owner only, from the first byte
    try:
        with atomic_file(path) as file:
            _write_rows(file, rows)
    finally:
        os.umask(before)


def _write_rows(file: BinaryIO, rows: list[tuple[int, str, str, str]]) -> None:
    text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text)
    writer.writerow(("file", "source", "copy", "set_aside"))
    writer.writerows(rows)
    text.detach()
