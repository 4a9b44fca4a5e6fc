"""``tumorlens predict``: one prediction per image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import Format, open_output, report_failures, write_results


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, DICOM, NIfTI, folders of them, or - for standard input."),
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
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Predict for each image whether it shows a tumour, with a calibrated probability.

    The exit code is 0 whatever the predictions, and 3 when some inputs could not be read: they
    are listed on stderr, and the others are still predicted.
    """
    from tumorlens.inference.batch import run_batch
    from tumorlens.inference.predictor import Predictor

    predictor = Predictor.open(model, threads=threads)
    failed: list[str] = []
    with open_output(output) as out:
        results = run_batch(predictor, paths, batch_size=batch_size)
        write_results(report_failures(results, failed), output_format, out)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)
