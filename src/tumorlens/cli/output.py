"""Predictions as a table, JSON lines or CSV, on stdout or in an atomically written file."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_BROKEN_PIPE, print_error
from tumorlens.cli.tables import open_console, show_table
from tumorlens.errors import InputError, OutputError, UnsupportedFormatError

if TYPE_CHECKING:
    from tumorlens.dicom import Kind
    from tumorlens.imaging.anatomy import Plane
    from tumorlens.inference.batch import Result
    from tumorlens.inference.prediction import Prediction
    from tumorlens.inference.series.answer import SeriesPrediction


class Format(StrEnum):
    """Output format of predictions."""

    table = "table"
    jsonl = "jsonl"
    csv = "csv"


class PlaneChoice(StrEnum):
    """Planes that volumes are cut in."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"
    all = "all"


def chosen_planes(choice: PlaneChoice | None) -> tuple[Plane | None, ...]:
    """Return the planes of an option ``--plane``; None is the plane of acquisition."""
    planes: dict[PlaneChoice | None, tuple[Plane | None, ...]] = {
        None: (None,),
        PlaneChoice.axial: ("axial",),
        PlaneChoice.coronal: ("coronal",),
        PlaneChoice.sagittal: ("sagittal",),
        PlaneChoice.all: ("axial", "coronal", "sagittal"),
    }
    return planes[choice]


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open stdout, or a UTF-8 file that is created only if the block succeeds.

    When the reader of stdout closes the pipe (as `head` does), the command ends quietly.
    """
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Otherwise Python flushes stdout again at exit and prints an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(EXIT_BROKEN_PIPE) from error
        return
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", errors="backslashreplace", newline="")
        yield text
        text.detach()  # flushes, and leaves closing to atomic_file


def unique_name(path: str, used: set[str]) -> str:
    """Name files after an input, with a number when two share the name; adds it to ``used``."""
    base = "stdin" if path == "-" else re.sub(r"[^\w.+-]", "_", Path(path).name).lstrip(".")
    name, number = base, 2
    while name.casefold() in used:
        name, number = f"{base}-{number}", number + 1
    used.add(name.casefold())
    return name


def create_folder(folder: Path) -> None:
    """Create a folder for results; raises `OutputError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be created ({error.strerror}); give another --output"
        ) from error


def chosen_kinds(names: str) -> tuple[Kind, ...]:
    """Return the kinds of DICOM results that an option ``--as`` names, with commas.

    Raises `ConfigError` for an unknown one and `MissingExtraError` without the extra.
    """
    from tumorlens.dicom import check_kinds, require_extra

    kinds = tuple(each.strip() for each in names.split(",") if each.strip())
    check_kinds(kinds)
    require_extra()
    return cast("tuple[Kind, ...]", kinds)


def save_as_dicom(
    results: Iterable[Result], folder: Path, kinds: tuple[Kind, ...], failed: list[str]
) -> Iterator[Result]:
    """Yield all results; write each DICOM series' answer into a subfolder of ``folder``.

    What is no DICOM series is reported as `report_failures` does.
    """
    from tumorlens.dicom import write_results as write_dicom

    used: set[str] = set()
    for result in results:
        if result.error is None:
            try:
                if result.run is None:
                    raise UnsupportedFormatError(
                        f"{result.path}: a single picture, no series, so that there is no result "
                        "as DICOM"
                    )
                write_dicom(result.run, folder / unique_name(result.path, used), kinds)
            except InputError as error:
                failed.append(result.path)
                print_error(str(error))
        yield result


def write_fhir(
    results: Iterable[Result], out: TextIO, with_identifiers: bool, failed: list[str]
) -> None:
    """Write a FHIR Bundle a line for each series; what is none is reported as a failure."""
    from tumorlens.fhir import fhir_bundle

    for result in results:
        if result.error is not None:
            continue
        try:
            if result.run is None:
                raise UnsupportedFormatError(
                    f"{result.path}: a single picture, no series, so that there is no FHIR report"
                )
            bundle = fhir_bundle(result.run, with_identifiers=with_identifiers)
        except InputError as error:
            failed.append(result.path)
            print_error(str(error))
            continue
        out.write(json.dumps(bundle, ensure_ascii=False) + "\n")
        out.flush()


def write_results(
    results: Iterable[Result], output_format: Format, out: TextIO, *, series: bool = False
) -> None:
    """Write the results: JSON lines and CSV one by one, a table at the end.

    With ``series`` CSV has the columns of a series too.
    """
    match output_format:
        case Format.table:
            _write_table(results, out)
        case Format.jsonl:
            _write_jsonl(results, out)
        case Format.csv:
            _write_csv(results, out, series)


def report_failures(results: Iterable[Result], failed: list[str]) -> Iterator[Result]:
    """Yield all results; print the error of each failed input and append its path to ``failed``."""
    for result in results:
        if result.error is not None:
            failed.append(result.path)
            message = str(result.error)
            print_error(message if result.path in message else f"{result.path}: {message}")
        yield result


def _write_jsonl(results: Iterable[Result], out: TextIO) -> None:
    from tumorlens.inference.rows import to_record

    for result in results:
        out.write(json.dumps(to_record(result), ensure_ascii=False) + "\n")
        out.flush()


def _write_csv(results: Iterable[Result], out: TextIO, series: bool) -> None:
    from tumorlens.inference.rows import columns, csv_cell, to_row

    writer = csv.DictWriter(out, (*columns(series), "error"), restval="", lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = to_row(result) | {"error": result.error and str(result.error)}
        writer.writerow({column: csv_cell(value) for column, value in row.items()})
        out.flush()


def _write_table(results: Iterable[Result], out: TextIO) -> None:
    rows = []
    disclaimer = ""
    for result in results:
        answer = result.series or result.prediction
        if answer is None:
            rows.append([result.path, "-", "-", f"not read: {result.error}"])
            continue
        disclaimer = answer.disclaimer
        prob = "-" if answer.prob is None else f"{answer.prob:.3f}"
        note = _series_note(result.series) if result.series else _note(answer)
        rows.append([result.path, answer.decision, prob, note])
    console = open_console(out)
    show_table(console, ["image", "decision", "P(tumour)", "note"], rows)
    if disclaimer:
        console.print(f"\n{disclaimer}")


def _note(prediction: Prediction | SeriesPrediction) -> str:
    if not prediction.in_domain:
        return f"not a usable head slice: {prediction.in_domain_reason}"
    if prediction.decision == "uncertain":
        return "cannot rule out " + (" or ".join(prediction.prediction_set) or "either")
    return ""


def _series_note(series: SeriesPrediction) -> str:
    if not series.in_domain:
        return f"not a usable series of a head: {series.in_domain_reason}"
    answered = sum(each.set_aside is None for each in series.slices)
    parts = [f"{series.plane}, {answered} of {len(series.slices)} slices"]
    if uncertain := _note(series):
        parts.append(uncertain)
    for finding in series.findings[:1]:
        side = "" if finding.laterality == "unknown" else f", {finding.laterality}"
        parts.append(
            f"finding in {finding.first} to {finding.last}{side}, {finding.diameter_mm:.0f} mm, "
            f"{finding.volume_ml:.1f} ml"
        )
    if len(series.findings) > 1:
        parts.append(f"{len(series.findings) - 1} more")
    return "; ".join(parts)
