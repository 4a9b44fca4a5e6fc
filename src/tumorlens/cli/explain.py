"""``tumorlens explain``: pictures and a JSON prediction for each series and picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tumorlens.atomic import atomic_file
from tumorlens.cli.app import EXIT_UNREADABLE
from tumorlens.cli.output import (
    Format,
    PlaneChoice,
    chosen_planes,
    create_folder,
    open_output,
    report_failures,
    unique_name,
    write_results,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tumorlens.inference.batch import Result
    from tumorlens.inference.series.run import SeriesRun


def explain(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, DICOM, NIfTI, folders and zips of them, or - for standard input."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the pictures; created if absent.")] = (
        Path("explained")
    ),
    output_format: Annotated[
        Format, typer.Option("--format", help="Format of the predictions on stdout.")
    ] = Format.table,
    model: Annotated[
        Path | None, typer.Option(help="Model file.  [default: $TUMORLENS_MODEL, or the packaged]")
    ] = None,
    slices: Annotated[
        bool, typer.Option("--slices", help="Explain each slice by itself, not the series.")
    ] = False,
    plane: Annotated[
        PlaneChoice | None,
        typer.Option(help="Cut volumes in this plane.  [default: the plane of acquisition]"),
    ] = None,
    opacity: Annotated[
        float, typer.Option(min=0, max=1, help="Opacity of the heat map over the scan.")
    ] = 0.5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network.  [default: all cores]")
    ] = None,
) -> None:
    """Show the evidence for each prediction: pictures and a JSON file per series and picture.

    A picture gets an overlay (NAME.png). A series gets a montage of its key slices (NAME.png), the
    probability along its slices (NAME.curve.png) and the evidence on its voxels (NAME.map.nii.gz).
    Exit codes as for predict.
    """
    from tumorlens.inference.batch import run_explain
    from tumorlens.inference.predictor import Predictor
    from tumorlens.inference.series_batch import run_series

    predictor = Predictor.open(model, threads=threads)
    predictor.require_map()
    create_folder(output)
    failed: list[str] = []
    planes = chosen_planes(plane)
    results = (
        run_explain(predictor, paths, planes=planes)
        if slices
        else run_series(predictor, paths, planes=planes, explain=True)
    )
    with open_output(None) as out:
        saved = _save(report_failures(results, failed), output, opacity)
        write_results(saved, output_format, out, series=not slices)
    if failed:
        raise typer.Exit(EXIT_UNREADABLE)


def _save(results: Iterable[Result], folder: Path, opacity: float) -> Iterator[Result]:
    from tumorlens.inference.rows import to_record

    used_names: set[str] = set()
    for result in results:
        if result.explanation is not None or result.run is not None:
            name = unique_name(result.path, used_names)
            if result.run is not None:
                details = _save_series(result.run, folder, name, opacity)
            else:
                details = _save_overlay(result, folder, name, opacity)
            with atomic_file(folder / f"{name}.json") as file:
                file.write(json.dumps(to_record(result) | details, indent=2).encode() + b"\n")
        yield result


def _save_overlay(result: Result, folder: Path, name: str, opacity: float) -> dict[str, Any]:
    from tumorlens.inference.overlay import encode_png, render_overlay

    assert result.explanation is not None
    scan, heatmap = result.explanation.scan, result.explanation.heatmap
    with atomic_file(folder / f"{name}.png") as file:
        file.write(encode_png(render_overlay(scan, heatmap, opacity)))
    return {"overlay": f"{name}.png", "opacity": opacity, "heat_peak": float(heatmap.max())}


def _save_series(run: SeriesRun, folder: Path, name: str, opacity: float) -> dict[str, Any]:
    from tumorlens.inference.overlay import encode_png
    from tumorlens.inference.series.evidence_map import DESCRIPTION, evidence_volume
    from tumorlens.inference.series.pictures import draw_curve, draw_montage
    from tumorlens.volumes.write import write_nifti

    with atomic_file(folder / f"{name}.png") as file:
        file.write(encode_png(draw_montage(run, opacity)))
    with atomic_file(folder / f"{name}.curve.png") as file:
        file.write(encode_png(draw_curve(run)))
    with atomic_file(folder / f"{name}.map.nii.gz") as file:
        write_nifti(file, evidence_volume(run), run.volume.affine, DESCRIPTION)
    return {
        "montage": f"{name}.png", "curve": f"{name}.curve.png", "map": f"{name}.map.nii.gz",
        "opacity": opacity,
    }  # fmt: skip
