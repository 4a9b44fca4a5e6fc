"""``tumorlens predict``: one prediction per series and per picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import (
    Format,
    PlaneChoice,
    chosen_planes,
    open_output,
    report_failures,
    write_results,
)


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, DICOM, NIfTI, folders and zips of them, or - for standard input."
        ),
    ],
    output_format: Annotated[Format, typer.Option("--format", help="Output format.")] = (
        Format.table
    ),
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Answer for each slice by itself, not for the series.")
    ] = False,
    plane: Annotated[
        PlaneChoice | None,
        typer.Option(help="Cut volumes in this plane.  [default: the plane of acquisition]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Predict for each series and picture whether it shows a tumour, with a calibrated probability.

    DICOM files of one series are one answer, as is each volume; --slices answers for every slice.

    The exit code is 0 whatever the predictions, and 3 when some inputs could not be read: they
    are listed on stderr, and the others are still predicted.
    """
    from tumorlens.inference.batch import run_batch
    from tumorlens.inference.predictor import Predictor
    from tumorlens.inference.series_batch import run_series

    predictor = Predictor.open(model, threads=threads)
    failed: list[str] = []
    run = run_batch if slices else run_series
    with open_output(output) as out:
        results = run(predictor, paths, planes=chosen_planes(plane), batch_size=batch_size)
        write_results(report_failures(results, failed), output_format, out, series=not slices)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)
