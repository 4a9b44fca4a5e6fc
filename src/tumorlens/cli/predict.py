"""``tumorlens predict``: one line an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.cli.app import EXIT_UNREADABLE, complain
from tumorlens.cli.output import Format, open_output, write_results

if TYPE_CHECKING:
    from tumorlens.inference.batch import Result


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, DICOM, NIfTI, folders of them, or - for standard input."),
    ],
    form: Annotated[Format, typer.Option("--format", help="How results are written.")] = (
        Format.table
    ),
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of stdout.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in one forward pass.")] = 8,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Tell for each image whether it shows a tumour, and how sure that is.

    Exits with 0 also when tumours are found, and with 3 when some inputs could not be read;
    these are named on stderr and the rest is done.
    """
    from tumorlens.inference.batch import run_batch
    from tumorlens.inference.predictor import Predictor

    predictor = Predictor.open(model, threads=threads)
    failed: list[str] = []
    with open_output(output) as out:
        results = run_batch(predictor, paths, batch_size=batch_size)
        write_results(report_failures(results, failed), form, out)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)


def report_failures(results: Iterable[Result], failed: list[str]) -> Iterator[Result]:
    """Pass results on, name those that failed on stderr, and collect their paths."""
    for result in results:
        if result.error is not None:
            failed.append(result.path)
            complain(_named(result))
        yield result


def _named(result: Result) -> str:
    message = str(result.error)
    return message if result.path in message else f"{result.path}: {message}"
