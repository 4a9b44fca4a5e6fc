"""``tumorlens explain``: an overlay PNG and a JSON prediction for each image."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import Format, open_output, report_failures, to_record, write_results
from tumorlens.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tumorlens.inference.batch import Result


def explain(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, DICOM, NIfTI, folders of them, or - for standard input."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the overlays; created if absent.")] = (
        Path("explained")
    ),
    output_format: Annotated[
        Format, typer.Option("--format", help="Format of the predictions on stdout.")
    ] = Format.table,
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Opacity of the heat map over the scan.")
    ] = 0.5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Show the evidence for each prediction: an overlay PNG and a JSON file per image.

    Exit codes as for predict.
    """
    from tumorlens.inference.batch import run_explain
    from tumorlens.inference.predictor import Predictor

    predictor = Predictor.open(model, threads=threads)
    _create_folder(output)
    failed: list[str] = []
    results = report_failures(run_explain(predictor, paths), failed)
    with open_output(None) as out:
        write_results(_save_overlays(results, output, opacity), output_format, out)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)


def _save_overlays(results: Iterable[Result], folder: Path, opacity: float) -> Iterator[Result]:
    from tumorlens.inference.overlay import encode_png, render_overlay

    used_names: set[str] = set()
    for result in results:
        if (explanation := result.explanation) is not None:
            name = _unique_name(result.path, used_names)
            with atomic_file(folder / f"{name}.png") as file:
                file.write(
                    encode_png(render_overlay(explanation.scan, explanation.heatmap, opacity))
                )
            peak = float(explanation.heatmap.max())
            details = {"overlay": f"{name}.png", "opacity": opacity, "heat_peak": peak}
            with atomic_file(folder / f"{name}.json") as file:
                file.write(json.dumps(to_record(result) | details, indent=2).encode() + b"\n")
        yield result


def _unique_name(path: str, used: set[str]) -> str:
    """Name the files after the image, with a number when two images share the name."""
    base = "stdin" if path == "-" else re.sub(r"[^\w.+-]", "_", Path(path).name).lstrip(".")
    name, number = base, 2
    while name.casefold() in used:
        name, number = f"{base}-{number}", number + 1
    used.add(name.casefold())
    return name


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be created ({error.strerror}); give another --output"
        ) from error
