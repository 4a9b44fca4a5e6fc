"""``tumorlens explain``: for each image the overlay as PNG, and the answer as JSON beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import Format, open_output, record, write_results
from tumorlens.cli.predict import report_failures
from tumorlens.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tumorlens.inference.batch import Result


def explain(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, DICOM, NIfTI, folders of them, or - for standard input."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the pictures; made when absent.")] = (
        Path("explained")
    ),
    form: Annotated[
        Format, typer.Option("--format", help="How the results are listed on stdout.")
    ] = Format.table,
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Of the heat map over the scan.")
    ] = 0.5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Show where the model looked: an overlay PNG and a JSON file for each image.

    Exit codes are those of predict.
    """
    from tumorlens.inference.batch import run_explain
    from tumorlens.inference.predictor import Predictor

    predictor = Predictor.open(model, threads=threads)
    _make_folder(output)
    failed: list[str] = []
    results = report_failures(run_explain(predictor, paths), failed)
    with open_output(None) as out:
        write_results(_saved(results, output, opacity), form, out)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)


def _saved(results: Iterable[Result], folder: Path, opacity: float) -> Iterator[Result]:
    taken: set[str] = set()
    for result in results:
        if result.explanation is not None:
            _save(result, folder / _free_name(result.path, taken), opacity)
        yield result


def _save(result: Result, stem: Path, opacity: float) -> None:
    from tumorlens.inference.overlay import encode_png, render_overlay

    explanation = result.explanation
    assert explanation is not None  # _saved passes no other
    overlay = render_overlay(explanation.scan, explanation.heatmap, opacity)
    picture = stem.with_name(f"{stem.name}.png")
    with atomic_file(picture) as file:
        file.write(encode_png(overlay))
    peak = float(explanation.heatmap.max())
    facts = record(result) | {"overlay": picture.name, "opacity": opacity, "heat_peak": peak}
    with atomic_file(stem.with_name(f"{stem.name}.json")) as file:
        file.write(json.dumps(facts, indent=2).encode() + b"\n")


def _free_name(path: str, taken: set[str]) -> str:
    """Name the pictures after the image, with a number when two images share the name."""
    base = "stdin" if path == "-" else re.sub(r"[^\w.+-]", "_", Path(path).name).lstrip(".")
    name, number = base, 2
    while name.casefold() in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name.casefold())
    return name


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be made ({error.strerror}); name another with --output"
        ) from error
