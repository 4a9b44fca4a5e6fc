"""``tumorlens report``: the page of a finished run, or of each series of a study."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE, require
from tumorlens.cli.output import (
    PlaneChoice,
    chosen_planes,
    create_folder,
    report_failures,
    unique_name,
)
from tumorlens.errors import ConfigError, UnsupportedFormatError

# What a run or a cross-validation has, and no study.
_OF_A_RUN = ("config.yaml", "crossval.json")


def report(
    path: Annotated[
        Path,
        typer.Argument(
            help="Run folder written by train or crossval; or a volume, or a folder or zip of "
            "DICOM files."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to write to.  [default: RUN, or . for a series]"
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model file for a series.  [default: $TUMORLENS_MODEL, or the packaged]"),
    ] = None,
    plane: Annotated[
        PlaneChoice | None,
        typer.Option(help="Cut a series in this plane.  [default: the plane of acquisition]"),
    ] = None,
    with_identifiers: Annotated[
        bool,
        typer.Option(
            "--with-identifiers", help="Name the patient and the study of a DICOM series."
        ),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Write one self-contained page: of a run, or of each series.

    A run gets report.html and report.json: all metrics with intervals, plots, settings, data and
    limitations (needs the extra 'train'). A series gets NAME.report.html: the answer, key slices
    with outlines, measurements, geometry and what was set aside; no name of a patient or file
    unless asked for.
    """
    if any((path / name).is_file() for name in _OF_A_RUN):
        require("train", "tumorlens report", "torch", "lightning", "hydra", "matplotlib", "seaborn")
        with redirect_stdout(sys.stderr):
            from tumorlens.reporting.run_report import report_run

            page = report_run(path, output)
        typer.echo(page)
        return
    if not path.exists():
        raise ConfigError(f"{path}: neither a run folder nor a series; check the path")
    _report_series(path, output or Path(), model, plane, with_identifiers, threads)


def _report_series(
    path: Path, output: Path, model: Path | None, plane: PlaneChoice | None, named: bool,
    threads: int | None,
) -> None:  # fmt: skip
    from tumorlens.atomic import write_text
    from tumorlens.inference.predictor import Predictor
    from tumorlens.inference.series_batch import run_series
    from tumorlens.seriesreport import series_report
    from tumorlens.volumes.dicom.headers import read_identifiers

    predictor = Predictor.open(model, threads=threads)
    failed: list[str] = []
    used: set[str] = set()
    written = 0
    results = run_series(predictor, [path], planes=chosen_planes(plane))
    for result in report_failures(results, failed):
        if result.run is None:
            continue
        identifiers = read_identifiers(result.run.volume) if named else None
        text = series_report(result.run, identifiers=identifiers)
        create_folder(output)
        page = output / f"{unique_name(result.path, used)}.report.html"
        write_text(page, text)
        typer.echo(page)
        written += 1
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)
    if not written:
        raise UnsupportedFormatError(
            f"{path}: no series, only single pictures; give a volume or a folder of DICOM slices"
        )
